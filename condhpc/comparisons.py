"""Scores of condensed sets against random ones and against all training data, across the records of a run.

Formulas of DD-Ranking (arXiv 2505.13300), on fractions, not on percentages, which overflow its exponential; and
without its search for a learning rate and an epoch on test data.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from condhpc.cell_statistics import Evaluation, Statistics, cell_statistics, independent
from condhpc.intervals import difference_interval
from condhpc.references import REFERENCES
from condhpc.spec import Protocol

BASELINE = "random"
"""The condenser whose sets are the zero of every gain."""
HARD = "erm"
"""The hard-label protocol of cells whose own labels are soft."""
FULL = ("full_schedule", "full_same_steps")
"""Reference lines with all training data; the first of them that a dataset and student have counts."""
LABEL_WEIGHT = 0.5
"""w: of the gain over random against the hard-label recovery."""
AUGMENTATION_WEIGHT = 0.5
"""γ: of the gain with augmentation against the gain without."""
_DECIMALS = 8
"""Of fractions, as many as the percentages of cells have."""
_RAW = {
    "cutmix_alpha": 0.0,
    "mixup_alpha": 0.0,
    "crop_scale_min": 1.0,
    "patch_shuffle": 1,
    "randaugment": None,
    "color_jitter": 0.0,
    "lighting_std": 0.0,
    "mirror": False,
}
"""The fields of a protocol that augment, and what turns them off."""


class CellId(NamedTuple):
    """Which line of the table of cells."""

    dataset: str
    condenser: str
    ipc: int | None
    protocol: str
    student: str

    def __str__(self) -> str:
        """As reasons name it; dataset and student are those of the row."""
        ipc = "" if self.ipc is None else f" ipc {self.ipc}"
        return f"{self.condenser}{ipc} {self.protocol}"


class CellResult:
    """A planned cell and what is recorded of it."""

    def __init__(
        self,
        planned: int,
        evaluations: Iterable[Evaluation] = (),
        known: tuple[Statistics, list[float]] | None = None,
    ) -> None:
        """Of its evaluations; or of `known`, their statistics and independent values as they were computed before."""
        self.planned = planned
        self._evaluations = list(evaluations)
        self.statistics = cell_statistics(self._evaluations) if known is None else known[0]
        self._independent: list[float] | None = None if known is None else known[1]

    def independent(self) -> list[float]:
        """What its interval is taken over, percent."""
        if self._independent is None:
            self._independent = independent(self._evaluations)
        return self._independent


class Scores(NamedTuple):
    """Of one cell with a condensed set, as fractions; None where a cell that it takes has no record."""

    status: str
    """`complete`, `partial` where planned records are still missing, `missing` without any score."""
    hlr: float | None
    """Hard-label recovery: accuracy of all training data minus the set's, both with hard labels; lower is better."""
    ior: float | None
    """Improvement over random sets under the same protocol."""
    ior_low: float | None
    ior_high: float | None
    ior_over: str
    """`set_seed` where both sides have two sets or more, else `student_seed`; empty without an interval."""
    lrs: float | None
    """Label-robust score, of `ior` and `hlr`."""
    ars: float | None
    """Augmentation-robust score, of the gains over random with and without augmentation."""
    gap_to_full: float | None
    """Accuracy of all training data minus the set's under the same protocol; lower is better."""
    hard_protocol: str
    raw_protocol: str
    full_reference: str
    reason: str


Known = Callable[[str], Protocol | None]
"""A protocol by its name; None where nobody knows it here."""


def normalised(gain: float) -> float:
    """From -1..1 to 0..1, as DD-Ranking does: (e^x − e^−1) / (e − e^−1)."""
    return (math.exp(gain) - math.exp(-1.0)) / (math.e - math.exp(-1.0))


def without_augmentation(name: str, names: Iterable[str], known: Known) -> str | None:
    """The protocol among `names` that is this one with all augmentation off, perhaps itself; None where none is."""
    own = known(name)
    if own is None:
        return None
    raw = msgspec.structs.replace(own, **_RAW)
    candidates = (name, *sorted(set(names) - {name}))
    return next((n for n in candidates if known(n) == msgspec.structs.replace(raw, name=n)), None)


class Comparison:
    """The cells of a run, and the scores of those that have a condensed set."""

    def __init__(self, cells: Mapping[CellId, CellResult], known: Known) -> None:
        self._cells = cells
        self._known = known
        self._raw: dict[tuple[str, str, str], str | None] = {}
        protocols: dict[tuple[str, str], set[str]] = {}
        full: dict[tuple[str, str], set[str]] = {}
        for cell in cells:
            protocols.setdefault((cell.dataset, cell.student), set()).add(cell.protocol)
            full.setdefault((cell.dataset, cell.student), set()).add(cell.condenser)
        self._protocols = protocols
        self._full = {where: next((name for name in FULL if name in found), "") for where, found in full.items()}

    def rows(self) -> Iterator[tuple[CellId, Scores]]:
        """In the order of the plan; reference lines have no row."""
        for cell in self._cells:
            if cell.condenser not in REFERENCES:
                yield cell, self._scores(cell)

    def _scores(self, cell: CellId) -> Scores:
        look = _Look(self._cells)
        baseline = cell._replace(condenser=BASELINE)
        gain = look.difference(cell, baseline, "ior", "lrs", "ars")
        hard, full = self._hard(cell, look), self._reference(cell, look)
        recovery = look.difference(_full(cell, hard, full), cell._replace(protocol=hard), "hlr", "lrs")
        gap = look.difference(_full(cell, cell.protocol, full), cell, "gap_to_full")
        raw = self._without_augmentation(cell, look)
        raw_gain = look.difference(cell._replace(protocol=raw), baseline._replace(protocol=raw), "ars")
        low, high, over = self._interval(cell, baseline)
        missing = (gain, recovery, gap) == (None, None, None)
        return Scores(
            status="missing" if missing else "partial" if look.waiting else "complete",
            hlr=_rounded(recovery),
            ior=_rounded(gain),
            ior_low=_rounded(low),
            ior_high=_rounded(high),
            ior_over=over,
            lrs=_combined(gain, LABEL_WEIGHT, None if recovery is None else -recovery),
            ars=_combined(gain, AUGMENTATION_WEIGHT, raw_gain),
            gap_to_full=_rounded(gap),
            hard_protocol=hard,
            raw_protocol=raw,
            full_reference=full,
            reason=look.reason(),
        )

    def _reference(self, cell: CellId, look: _Look) -> str:
        """The reference line of the cell's dataset and student; empty where the plan has none."""
        found = self._full[cell.dataset, cell.student]
        if not found:
            look.note(f"neither {' nor '.join(FULL)} is planned", "hlr", "lrs", "gap_to_full")
        return found

    def _hard(self, cell: CellId, look: _Look) -> str:
        """The protocol with hard labels that belongs to the cell's own; empty where that is not known here."""
        own = self._known(cell.protocol)
        if own is None:
            look.note(f"protocol {cell.protocol} is not installed here", "hlr", "lrs")
            return ""
        return cell.protocol if own.labels == "hard" else HARD

    def _without_augmentation(self, cell: CellId, look: _Look) -> str:
        which = cell.dataset, cell.student, cell.protocol
        if which not in self._raw:
            self._raw[which] = without_augmentation(cell.protocol, self._protocols[which[:2]], self._known)
        found = self._raw[which]
        if found == cell.protocol:
            look.note(f"{found} does not augment", "ars")
            return ""
        if found is None:
            look.note(f"no protocol is planned that is {cell.protocol} with augmentation off", "ars")
        return found or ""

    def _interval(self, cell: CellId, baseline: CellId) -> tuple[float | None, float | None, str]:
        """Of the improvement over random, which has none over itself."""
        if cell == baseline or baseline not in self._cells:
            return None, None, ""
        sides = self._cells[cell], self._cells[baseline]
        interval = difference_interval(sides[0].independent(), sides[1].independent())
        if interval is None:
            return None, None, ""
        both = all(side.statistics.over == "set_seed" for side in sides)
        return interval[0] / 100, interval[1] / 100, "set_seed" if both else "student_seed"


class _Look:
    """Accuracies that a row takes, and why others are not there."""

    def __init__(self, cells: Mapping[CellId, CellResult]) -> None:
        self._cells = cells
        self._missing: dict[str, list[str]] = {}
        self.waiting = False
        """Whether a planned record is still to come."""

    def difference(self, cell: CellId, other: CellId, *scores: str) -> float | None:
        """Accuracy of one cell minus that of another, as a fraction; None where a name is empty or a mean missing."""
        if "" in cell or "" in other:
            return None  # whoever left it empty has said why
        means = [self._mean(which, scores) for which in (cell, other)]
        return None if means[0] is None or means[1] is None else (means[0] - means[1]) / 100

    def _mean(self, cell: CellId, scores: Sequence[str]) -> float | None:
        found = self._cells.get(cell)
        if found is None:
            self.note(f"{cell} is not planned", *scores)
            return None
        self.waiting |= found.statistics.n < found.planned
        if found.statistics.mean is None:
            self.note(f"{cell} is not recorded", *scores)
        return found.statistics.mean

    def note(self, why: str, *scores: str) -> None:
        """Say why scores are missing."""
        held = self._missing.setdefault(why, [])
        held += [score for score in scores if score not in held]

    def reason(self) -> str:
        """All that was said, in the order in which it came up."""
        return "; ".join(f"{' '.join(scores)}: {why}" for why, scores in self._missing.items())


def _full(cell: CellId, protocol: str, reference: str) -> CellId:
    """The reference line of a cell; a whole schedule has no ipc."""
    return cell._replace(condenser=reference, protocol=protocol, ipc=None if reference == FULL[0] else cell.ipc)


def _combined(first: float | None, weight: float, second: float | None) -> float | None:
    if first is None or second is None:
        return None
    return _rounded(normalised(weight * first + (1 - weight) * second))


def _rounded(value: float | None) -> float | None:
    return None if value is None else round(value, _DECIMALS)
