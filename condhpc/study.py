"""A run as its tables see it: plan, records, states and what its manifest declares, read once."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from typing import Annotated, TypeVar

import msgspec

from condhpc import ledger_cache, runs, typed_toml
from condhpc.errors import InputError
from condhpc.findings import Row
from condhpc.layout import Layout, RunFolder
from condhpc.ledger import Entry
from condhpc.ledger_cache import Read
from condhpc.lineage import Lineage
from condhpc.manifest import External
from condhpc.measures import Measure
from condhpc.runs import PlanLine
from condhpc.spec import Stage

_T = TypeVar("_T")


Share = Annotated[float, msgspec.Meta(ge=0.0, le=100.0)]
"""In percent."""


class Evaluated(msgspec.Struct, frozen=True, gc=False):
    """What an evaluation's record says, beside its per-image bits."""

    top1_pct: Share
    test_count: int
    steps: int | None = None
    batch: int | None = None
    resolution: int | None = None
    train_count: int | None = None
    label_bytes: int | None = None
    top1_pct_best: Share | None = None
    """Of the tests on the way of a native protocol: chosen on test data, for comparison with publications alone."""


class Study(msgspec.Struct, frozen=True, kw_only=True):
    """What all tables of a run are made of."""

    run: RunFolder
    layout: Layout
    plan: list[PlanLine]
    """Inputs first."""
    lineage: Lineage
    entries: Mapping[str, Entry]
    """Records by key, without what is long in them (per-image bits, per-class values)."""
    states: Mapping[str, Row]
    """What became of each task, by key."""
    declared: Mapping[str, External]
    """Sets made elsewhere, by the name that the manifest gives them."""
    evaluations: Mapping[str, Evaluated]
    """Values of recorded evaluations, by key."""
    measures: Mapping[str, Measure]
    """Values of recorded analyses, by key."""
    problems: list[str]
    """One line per thing that could not be used; families of tables add theirs."""
    notes: list[str]
    """What does not concern the figures."""
    looks: array[int]
    """As `ledger_cache.look` tells them."""


def read(run: RunFolder, layout: Layout, rows: Iterable[Row], *, anew: bool = False) -> Study:
    """Read a run's plan and records; `rows` say what became of unrecorded tasks. `anew` trusts nothing kept."""
    plan = runs.plan(run)
    held = ledger_cache.read(run, layout, [(line.stage, line.key) for line in plan], anew=anew)
    states = {row.key: row for row in rows}
    return of(run, layout, plan, states, held)


def of(run: RunFolder, layout: Layout, plan: list[PlanLine], states: Mapping[str, Row], held: Read) -> Study:
    """A study of these tasks and records."""
    records = held.ledger
    problems = list(records.problems)
    return Study(
        run=run,
        layout=layout,
        plan=plan,
        lineage=Lineage(plan),
        entries=records.entries,
        states=states,
        declared=declared(run),
        evaluations=dict(_typed(layout, records.entries, "evaluate", Evaluated, problems)),
        measures=dict(_typed(layout, records.entries, "analyze", Measure, problems)),
        problems=problems,
        notes=[held.note] if held.note else [],
        looks=held.looks,
    )


def declared(run: RunFolder) -> dict[str, External]:
    """What the run's manifest says of sets made elsewhere."""
    try:
        _, tables = typed_toml.read(run.manifest)
        return msgspec.convert(tables.get("external", {}), dict[str, External])
    except (InputError, msgspec.ValidationError):
        return {}  # the run was planned from it, so it is there; costs that cannot be read are not known


def _typed(
    layout: Layout, entries: Mapping[str, Entry], stage: Stage, wanted: type[_T], problems: list[str]
) -> Iterator[tuple[str, _T]]:
    for entry in (e for e in entries.values() if e.stage == stage):
        try:
            yield entry.key, msgspec.convert(entry.values, wanted)
        except msgspec.ValidationError as error:
            folder = layout.task(stage, entry.key).path
            problems.append(f"{folder}: its record does not fit ({error}); delete the folder and submit again")
