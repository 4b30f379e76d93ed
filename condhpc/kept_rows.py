"""Finished rows of a run's tables, kept in its folder with what the records looked like that they were made of.

So that of 100,000 records only those that changed, and those that share a cell, a set or an element with them, are
looked into again (`renewal`). The file is derived and may be deleted. Nothing is kept of a run in which something is
odd: rows are independent of each other only where all is as it should be.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

import msgspec

from condhpc import csv_text, files, kept_costs, kept_lines, results_table, unchanged
from condhpc.accounting_tables import Account, Books
from condhpc.cell_statistics import Evaluation, Statistics
from condhpc.cells_tables import head
from condhpc.charges import Charge
from condhpc.comparisons import CellId, CellResult
from condhpc.cost_table import FULL
from condhpc.kept_costs import KeptCosts
from condhpc.kept_lines import KeptLines
from condhpc.layout import RunFolder
from condhpc.runs import PlanLine
from condhpc.sets_table import Kinds
from condhpc.spec import STAGES
from condhpc.student_costs import Students
from condhpc.study import Study
from condhpc.tables import Cell
from condhpc.tries import Try
from condhpc.unchanged import Look
from condhpc.waste import Purpose, Spent

_VERSION = 2
NONE = -1
"""Of a task without a cell or a set."""
ENTRY, VALUES = 1, 2
"""What is known of a task: its record, and, of an evaluation, values that fit."""


class KeptCell(msgspec.Struct, array_like=True, gc=False):
    """A planned cell over its seeds."""

    cell: CellId
    planned: int
    statistics: Statistics
    independent: list[float]
    evaluated: bytes
    """Its recorded students, which only a change has decoded: their places and what is known of them."""

    def result(self) -> CellResult:
        """As it was computed."""
        return CellResult(self.planned, known=(self.statistics, self.independent))


class KeptCharge(msgspec.Struct, array_like=True, gc=False):
    """Where the time of a charge went."""

    element: str
    made_of: bytes
    seconds: dict[Purpose, float]
    line: bytes
    """Of `attempts.csv`."""


class Skeleton(msgspec.Struct, array_like=True):
    """What a plan alone decides. Tasks are named by their place in it."""

    keys: list[str]
    stages: bytes
    """Numbers in STAGES."""
    starts: bytes
    """Where the lines of the plan start in its file, and where it ends."""
    fixed: bytes
    """1 for a task whose record rows of others may rest on: all but students, and those of a full training."""
    always: bytes
    """Tasks that are part of every look: the fixed ones, and one student for each way in which sets are consumed."""
    cells: bytes
    """Number of each student's cell."""
    sets: bytes
    """The task that made the set of each task that has one."""
    labels: bytes
    """The task that wrote the labels of each student that reads some."""


class KeptRows(msgspec.Struct, array_like=True):
    """The file."""

    version: int
    made_by: Look
    of_run: list[Look]
    skeleton: Skeleton
    looks: bytes
    """Modification time and size of the record of each task."""
    known: bytes
    """0, ENTRY or VALUES for each task."""
    lines: KeptLines
    """Of `results.csv`."""
    elements: bytes
    """Of each task: in which elements of this run it was tried, by the number in `tried`."""
    tried: list[str]
    """Elements with spaces between."""
    kinds: dict[str, str]
    cells: list[KeptCell]
    costs: list[tuple[Cell, ...]]
    of_tasks: KeptCosts
    """What each task cost."""
    students: dict[str, Students]
    """Of each set."""
    charges: list[KeptCharge]


Student = tuple[int, Evaluation]
"""Place in the plan."""
_decoder = msgspec.msgpack.Decoder(KeptRows)
_students = msgspec.msgpack.Decoder(list[Student])


def load(run: RunFolder) -> KeptRows | None:
    """What was kept; None where there is nothing, or where it was made by other code or of another plan."""
    try:
        kept = _decoder.decode(run.rows.read_bytes())
    except (OSError, ValueError):
        return None
    return kept if (kept.version, kept.made_by, kept.of_run) == (_VERSION, unchanged.code(), _of_run(run)) else None


def save(run: RunFolder, kept: KeptRows) -> None:
    """Write it; where that cannot be, everything is made from all records the next time."""
    try:
        files.replace(run.rows, msgspec.msgpack.encode(kept))
    except (OSError, UnicodeEncodeError):  # a colleague's run; text of a stranger that is none
        return


def keep(
    study: Study, account: Account, books: Books, kinds: Kinds, results: Mapping[CellId, CellResult]
) -> KeptRows | None:
    """What was made of a whole study; None where its rows cannot be told apart."""
    run, plan = study.run, study.plan
    if account.is_odd or not sets_are_recorded(study):
        return None
    places = {cell: number for number, cell in enumerate(results)}
    cells = array("q", [places[head(p.label)] if p.stage == "evaluate" else NONE for p in plan])
    skeleton = _skeleton(run, plan, cells)
    if skeleton is None:
        return None
    lines = dict(rendered(study, kinds, plan))
    tried = elements_of(account.own)
    numbers = {told: number for number, told in enumerate(dict.fromkeys(["", *tried.values()]))}
    return KeptRows(
        version=_VERSION,
        made_by=unchanged.code(),
        of_run=_of_run(run),
        skeleton=skeleton,
        looks=study.looks.tobytes(),
        known=bytes(known(study, line.key) for line in plan),
        lines=kept_lines.keep(lines.get(line.key, b"") for line in plan),
        elements=array("i", [numbers[tried.get(line.key, "")] for line in plan]).tobytes(),
        tried=list(numbers),
        kinds=kinds.told(),
        cells=list(_kept_cells(study, results, cells)),
        costs=account.costs,
        of_tasks=kept_costs.keep([account.productive.get(line.key) for line in plan]),
        students=dict(account.students),
        charges=list(kept_charges(account, books)),
    )


def tasks(plan: Sequence[PlanLine]) -> tuple[list[str], bytes]:
    """Keys, and numbers of stages."""
    return [line.key for line in plan], bytes(STAGES.index(line.stage) for line in plan)


def sets_are_recorded(study: Study) -> bool:
    """Whether the sets of all recorded students are: else what a name's kind is depends on students."""
    sets = {line.inputs["set"] for line in study.plan if line.key in study.evaluations and "set" in line.inputs}
    return all(key in study.entries for key in sets)


def known(study: Study, key: str) -> int:
    """ENTRY, VALUES or 0."""
    entry = study.entries.get(key)
    if entry is None:
        return 0
    return VALUES if entry.stage != "evaluate" or key in study.evaluations else ENTRY


def rendered(study: Study, kinds: Kinds, plan: Sequence[PlanLine]) -> Iterator[tuple[str, bytes]]:
    """Key and line in `results.csv` of every recorded student among these lines of the plan."""
    keys = [line.key for line in plan if line.key in study.evaluations]
    lines = csv_text.lines(results_table.columns(study, kinds, plan))
    yield from ((key, csv_text.encoded(line)) for key, line in zip(keys, lines, strict=True))


def elements_of(own: Iterable[Try]) -> dict[str, str]:
    """By key: the elements of its attempts."""
    found: dict[str, dict[str, None]] = defaultdict(dict)
    for one in own:
        found[one.key][one.element] = None
    return {key: " ".join(elements) for key, elements in found.items()}


def kept_cell(cell: CellId, result: CellResult, students: Sequence[Student]) -> KeptCell:
    """To be kept."""
    encoded = msgspec.msgpack.encode(students)
    return KeptCell(cell, result.planned, result.statistics, result.independent(), encoded)


def students_of(kept: KeptCell) -> list[Student]:
    """In the order of the plan."""
    return _students.decode(kept.evaluated)


def _kept_cells(study: Study, results: Mapping[CellId, CellResult], cells: Sequence[int]) -> Iterator[KeptCell]:
    students: list[list[Student]] = [[] for _ in results]
    for i, line in enumerate(study.plan):
        found = study.evaluations.get(line.key)
        if found is not None:
            students[cells[i]].append((i, Evaluation(line.label.set_seed, found.top1_pct)))
    return (kept_cell(*cell, held) for cell, held in zip(results.items(), students, strict=True))


def kept_charges(account: Account, books: Books) -> Iterator[KeptCharge]:
    """Where the time of charges went, with their rows."""
    for one, line in zip(account.spent, csv_text.lines(account.attempts), strict=True):
        yield KeptCharge(one.charge.element, made_of(one.charge, books), one.seconds, csv_text.encoded(line))


def made_of(charge: Charge, books: Books) -> bytes:
    """All that a charge's row is made of, beside attempts at tasks."""
    return msgspec.msgpack.encode((charge, books.stage_of(charge), books.exclusive(charge)))


def spent_again(charge: Charge, kept: KeptCharge) -> Spent:
    """Without its attempts, which its row has counted."""
    return Spent(charge, kept.seconds, ())


def _of_run(run: RunFolder) -> list[Look]:
    return list(unchanged.seen((run.plan, run.manifest, run.profile), run.path))


def _skeleton(run: RunFolder, plan: Sequence[PlanLine], cells: array[int]) -> Skeleton | None:
    data = run.plan.read_bytes() if plan else b""
    sizes = [len(line) + 1 for line in data.split(b"\n")[:-1]]
    if len(sizes) != len(plan):
        return None  # lines that are none
    starts = array("q", [0])
    for size in sizes:
        starts.append(starts[-1] + size)
    keys, stages = tasks(plan)
    at = {key: i for i, key in enumerate(keys)}
    if len(at) != len(plan) or any(p.inputs.get("labels", p.key) not in at for p in plan):
        return None
    fixed = bytes(line.stage != "evaluate" or line.label.condenser == FULL for line in plan)
    return Skeleton(
        keys=keys,
        stages=stages,
        starts=starts.tobytes(),
        fixed=fixed,
        always=array("q", _always(plan, fixed)).tobytes(),
        cells=cells.tobytes(),
        sets=array("q", [at.get(p.inputs.get("set", ""), NONE) for p in plan]).tobytes(),
        labels=array("q", [at.get(p.inputs.get("labels", ""), NONE) for p in plan]).tobytes(),
    )


def _always(plan: Sequence[PlanLine], fixed: bytes) -> Iterator[int]:
    seen: set[tuple[str, ...]] = set()
    for i, line in enumerate(plan):
        inputs = tuple(line.inputs.values())
        if fixed[i] or (line.inputs.get("set", ""), *inputs) not in seen:
            yield i
            seen.add((line.inputs.get("set", ""), *inputs))
