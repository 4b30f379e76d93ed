"""What is compared with what: condensers under one protocol at one ipc, each with the runs of its seeds."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from condhpc.cell_statistics import Evaluation, Statistics, cell_statistics
from condhpc.cells_tables import head
from condhpc.errors import first_few
from condhpc.paper import bits, bootstrap
from condhpc.paper.bits import BitsError
from condhpc.paper.bootstrap import Arm
from condhpc.paper.spread import Seeds
from condhpc.references import REFERENCES
from condhpc.runs import PlanLine
from condhpc.sets_table import Kinds
from condhpc.study import Study

if TYPE_CHECKING:
    from numpy.typing import NDArray

REFERENCE = "reference"
RANDOM = "random"
_KINDS = (RANDOM, "coreset", "method", "external", "", REFERENCE)
"""The order of rows."""
_NOT_TEACHERS = {"set", "labels"}


class Place(NamedTuple):
    """Where condensers are compared."""

    dataset: str
    protocol: str
    student: str

    def __str__(self) -> str:
        return f"{self.dataset}, {self.protocol}, {self.student}"


class Runs(NamedTuple):
    """A condenser at one ipc, as planned and as far as recorded."""

    condenser: str
    kind: str
    planned: int
    keys: tuple[str, ...]
    """Of recorded evaluations."""
    statistics: Statistics
    arm: Arm


class Block(NamedTuple):
    """The condensers of one place at one ipc, rows in the order of tables."""

    place: Place
    ipc: int | None
    cells: dict[str, Runs]


class _Line(NamedTuple):
    seeds: Seeds
    key: str
    top1_pct: float
    alike: object


def blocks(study: Study, kinds: Kinds) -> Iterator[Block]:
    """All of a plan, by dataset; one at a time, because bits and resamples of all would fill the memory.

    Bits that cannot be used are said in `study.problems`.
    """
    found: dict[tuple[Place, int | None], dict[str, list[PlanLine]]] = defaultdict(lambda: defaultdict(list))
    for line in study.plan:
        if line.stage == "evaluate":
            cell = head(line.label)
            place = Place(cell.dataset, cell.protocol, cell.student)
            found[place, cell.ipc][cell.condenser].append(line)
    lines = {line.key: line for line in study.plan}
    for which, of_block in sorted(found.items(), key=_order):
        yield _block(study, kinds, lines, *which, of_block)


def without_bits(block: Block) -> Block:
    """What tables and figures need of a block that has been judged."""
    cells = {name: one._replace(arm=one.arm._replace(correct=None, sums=None)) for name, one in block.cells.items()}
    return block._replace(cells=cells)


def _order(item: tuple[tuple[Place, int | None], object]) -> tuple[Place, int]:
    (place, ipc), _ = item
    return place, -1 if ipc is None else ipc


def kind_of(kinds: Kinds, condenser: str) -> str:
    """`random`, `coreset`, `method`, `external`, `reference`; empty where nothing recorded tells."""
    if condenser in REFERENCES:
        return REFERENCE
    return RANDOM if condenser == RANDOM else kinds.of(condenser)


def written_kind(kind: str) -> str:
    """As `results.csv` and `sets.csv` write it: random images are drawn by a coreset strategy of that name."""
    return "coreset" if kind == RANDOM else kind


def in_order(kinds: Kinds, condensers: Sequence[str]) -> list[str]:
    """Random first, then coresets, methods, sets made elsewhere, references; by name within."""
    return sorted(condensers, key=lambda name: (_KINDS.index(kind_of(kinds, name)), name))


def _block(
    study: Study,
    kinds: Kinds,
    lines: dict[str, PlanLine],
    place: Place,
    ipc: int | None,
    of_block: dict[str, list[PlanLine]],
) -> Block:
    held = {name: list(_recorded(study, lines, of_block[name])) for name in in_order(kinds, list(of_block))}
    correct = _correct(study, place, [one.key for of_cell in held.values() for one in of_cell])
    sums = _sums(place, correct)
    cells = {}
    for name, of_cell in held.items():
        evaluations = [Evaluation(one.seeds[0], one.top1_pct) for one in of_cell]
        cells[name] = Runs(
            condenser=name,
            kind=kind_of(kinds, name),
            planned=len(of_block[name]),
            keys=tuple(one.key for one in of_cell),
            statistics=cell_statistics(evaluations),
            arm=_arm(of_cell, correct, sums),
        )
    return Block(place, ipc, cells)


def _recorded(study: Study, lines: dict[str, PlanLine], of_cell: Sequence[PlanLine]) -> Iterator[_Line]:
    for line in of_cell:
        values = study.evaluations.get(line.key)
        if values is None:
            continue
        labels = lines.get(line.inputs.get("labels", ""))
        roles = {**(labels.inputs if labels is not None else {}), **line.inputs}
        teachers = tuple(sorted(item for item in roles.items() if item[0] not in _NOT_TEACHERS))
        alike = (teachers, values.test_count, values.steps, values.batch, values.resolution)
        yield _Line((line.label.set_seed, line.label.student_seed), line.key, values.top1_pct, alike)


def _correct(study: Study, place: Place, keys: Sequence[str]) -> dict[str, NDArray[np.uint8]]:
    """Bits of all runs of a block, or of none: where some are missing, seeds alone are compared."""
    found: dict[str, NDArray[np.uint8]] = {}
    spoilt: list[str] = []
    for key in keys:
        try:
            held = bits.read(study.layout, key)
        except BitsError as error:
            spoilt.append(str(error))
        else:
            if held is not None:
                found[key] = held
    if len({len(held) for held in found.values()}) > 1:
        spoilt.append("its students were tested on different numbers of images")
    if spoilt:
        study.problems.append(f"paper, {place}: intervals are over seeds alone: {first_few(spoilt, 2)}")
    return {} if spoilt or len(found) < len(keys) else found


def _sums(place: Place, correct: dict[str, NDArray[np.uint8]]) -> dict[str, NDArray[np.float64]]:
    """Accuracies on drawn test images by key."""
    if not correct:
        return {}
    found_BR = bootstrap.resampled(np.stack(list(correct.values())), place.dataset)
    return dict(zip(correct, np.ascontiguousarray(found_BR.T), strict=True))


def _arm(of_cell: Sequence[_Line], correct: dict[str, NDArray[np.uint8]], sums: dict[str, NDArray[np.float64]]) -> Arm:
    return Arm(
        top1={one.seeds: one.top1_pct / 100 for one in of_cell},
        correct={one.seeds: correct[one.key] for one in of_cell} if correct else None,
        sums={one.seeds: sums[one.key] for one in of_cell} if correct else None,
        alike={one.seeds: one.alike for one in of_cell},
    )
