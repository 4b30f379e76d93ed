"""Rows of `cells.csv` and `scores.csv`, and the same for the screen: planned cells over their seeds, filled or not."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from condhpc import demands
from condhpc.cell_statistics import Evaluation
from condhpc.comparisons import CellId, CellResult, Comparison, Scores
from condhpc.errors import UnknownNameError
from condhpc.planned import Label
from condhpc.runs import PlanLine
from condhpc.spec import Protocol
from condhpc.study import Evaluated, Study
from condhpc.tables import Cell, Table

CELLS = (
    "dataset", "condenser", "ipc", "protocol", "student", "status", "n", "n_planned", "n_sets", "top1_pct_mean",
    "top1_pct_sd", "top1_pct_ci95_low", "top1_pct_ci95_high", "ci_over",
)  # fmt: skip
SCORES = (
    "dataset", "condenser", "ipc", "protocol", "student", "status", "hlr", "ior", "ior_ci95_low", "ior_ci95_high",
    "ior_ci_over", "lrs", "ars", "gap_to_full", "hard_protocol", "raw_protocol", "full_reference", "reason",
)  # fmt: skip
TABLE = ("dataset", "condenser", "ipc", "protocol", "student", "n", "top1 %", "± 95 %", "status")
SCORE_TABLE = ("dataset", "condenser", "ipc", "protocol", "student", "hlr", "ior", "lrs", "ars", "gap_to_full")


class Cells:
    """Every cell that a plan has, with its scores."""

    def __init__(self, results: Mapping[CellId, CellResult]) -> None:
        self.results = results
        self.scores = list(Comparison(self.results, _protocol).rows())

    def tables(self) -> list[Table]:
        """Both tables."""
        return [
            Table("cells", CELLS, (_cell_row(*cell) for cell in self.results.items())),
            Table("scores", SCORES, ((*which, *found) for which, found in self.scores)),
        ]

    def on_screen(self) -> list[tuple[Cell, ...]]:
        """Cells under TABLE."""
        return [_screen_row(*cell) for cell in self.results.items()]

    def scores_on_screen(self) -> list[tuple[Cell, ...]]:
        """Scores under SCORE_TABLE."""
        return [_screen_scores(*row) for row in self.scores]


def results(study: Study) -> dict[CellId, CellResult]:
    """Every cell of a plan, in its order."""
    lines: dict[tuple[object, ...], list[PlanLine]] = defaultdict(list)
    for line in study.plan:
        if line.stage == "evaluate":
            label = line.label
            lines[label.dataset, label.condenser, label.ipc, label.protocol, label.student].append(line)
    return {head(of[0].label): _cell(of, study.evaluations) for of in lines.values()}


def head(label: Label) -> CellId:
    """The cell of an evaluation."""
    return CellId(label.dataset or "", label.condenser or "", label.ipc, label.protocol or "", label.student or "")


def _protocol(name: str) -> Protocol | None:
    """By its name; None for one of a package that is not installed here."""
    try:
        return demands.protocol(name)
    except UnknownNameError:
        return None


def _cell(of_cell: Sequence[PlanLine], evaluations: Mapping[str, Evaluated]) -> CellResult:
    found = [(line.label.set_seed, evaluations.get(line.key)) for line in of_cell]
    return CellResult(len(of_cell), [Evaluation(seed, v.top1_pct) for seed, v in found if v is not None])


def _status(cell: CellResult) -> str:
    n = cell.statistics.n
    return "missing" if not n else "complete" if n == cell.planned else "partial"


def _cell_row(which: CellId, cell: CellResult) -> tuple[Cell, ...]:
    found = cell.statistics
    numbers = found.mean, found.sd, found.low, found.high
    return *which, _status(cell), found.n, cell.planned, found.n_sets, *numbers, found.over


def _screen_row(which: CellId, cell: CellResult) -> tuple[Cell, ...]:
    found = cell.statistics
    half = None if found.high is None or found.low is None else (found.high - found.low) / 2
    return *which, found.n, found.mean, half, _status(cell)


def _screen_scores(which: CellId, scores: Scores) -> tuple[Cell, ...]:
    return *which, scores.hlr, scores.ior, scores.lrs, scores.ars, scores.gap_to_full
