"""Hierarchical bootstrap over set seed, student seed and test image, and intervals that hold all at once. Pure numpy.

Shapes: B resamples, R runs, N test images. All condensers share the draws of a seed and of an image: comparisons are
paired. Test images are drawn with replacement. Few seeds would give few different draws, so they get random weights
that add up to one (the Bayesian bootstrap, Rubin 1981). The bootstrap gives the joint distribution of several
differences; their scale is that of `spread`, because resampling two or three seeds says too little of it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from functools import cache, lru_cache
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from condhpc import keys
from condhpc.intervals import t_quantile
from condhpc.paper import spread
from condhpc.paper.spread import Seeds, Spread

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 2000
CONFIDENCE = 0.95
_NO_SPREAD = 1e-12
"""Standard deviation of a fraction below which resamples are all the same."""
_AT_A_TIME = 250
"""Resamples whose image counts are in memory together."""


class Arm(NamedTuple):
    """A condenser's runs under one protocol, for one comparison."""

    top1: Mapping[Seeds, float]
    """Accuracies, fractions."""
    correct: Mapping[Seeds, NDArray[np.uint8]] | None
    """One 0 or 1 per test image (N,); None where a run's are missing: then seeds alone are resampled."""
    sums: Mapping[Seeds, NDArray[np.float64]] | None
    """Accuracies on resampled test images (B,), see `resampled`."""
    alike: Mapping[Seeds, object]
    """What two runs must share to be compared: teachers, training, test images."""


class Difference(NamedTuple):
    """Between two arms, over the runs that they share; fractions."""

    value: float
    low: float | None
    """Of the simultaneous interval; None where nothing could be resampled."""
    high: float | None
    n: int
    """Pairs of runs."""
    n_sets: int
    over: tuple[str, ...]
    unlike: int
    """Pairs left out because their teachers or trainings differ."""

    @property
    def seeded(self) -> bool:
        """Whether it says anything of other seeds."""
        return bool({spread.SETS, spread.STUDENTS} & set(self.over))

    @property
    def holds_zero(self) -> bool:
        """Whether the two may be alike; so they are as long as nobody knows."""
        return self.low is None or self.high is None or self.low <= 0.0 <= self.high


@cache
def stream(*names: str | int) -> int:
    """A random stream's key by its name: what is drawn depends on it alone."""
    return int(keys.digest(keys.encode(["paper", *names])), 16)


def generator(*names: str | int) -> np.random.Generator:
    """The stream of that name at its beginning."""
    return np.random.Generator(np.random.Philox(key=stream(*names)))


@lru_cache(maxsize=2)
def image_counts(name: str, images: int) -> NDArray[np.uint8]:
    """How often each test image was drawn (B, N), with replacement; the same draws for all runs of that name."""
    draw = generator("images", name, images)
    counts = np.empty((RESAMPLES, images), dtype=np.uint8)
    for row in counts:
        row[:] = np.bincount(draw.integers(0, images, size=images, dtype=np.int32), minlength=images)
    return counts


def resampled(correct_RN: NDArray[np.uint8], name: str) -> NDArray[np.float64]:
    """Accuracies (B, R) on drawn test images.

    Counts times bits are whole numbers below 2^24, which float32 adds up exactly in any order.
    """
    runs, images = correct_RN.shape
    counts = image_counts(name, images)
    right_NR = np.ascontiguousarray(correct_RN.T, dtype=np.float32)
    found = np.empty((RESAMPLES, runs))
    for start in range(0, RESAMPLES, _AT_A_TIME):
        found[start : start + _AT_A_TIME] = counts[start : start + _AT_A_TIME].astype(np.float32) @ right_NR
    found /= images
    return found


@cache
def seed_weights(what: str, seed: int | None) -> NDArray[np.float64]:
    """Weights (B,) of one seed before they are divided by the sum over the seeds at hand."""
    return generator(what, str(seed)).standard_exponential(RESAMPLES)


def run_weights(seeds: Sequence[Seeds]) -> NDArray[np.float64]:
    """Weights (B, R) of runs: that of their set, times that of their student among the set's students."""
    sets = [of_set for of_set, _ in seeds]
    by_set = {of_set: seed_weights("set", of_set) for of_set in sets}
    students = [seed_weights("student", of_student) for _, of_student in seeds]
    in_set: dict[int | None, NDArray[np.float64]] = {}
    for of_set, drawn in zip(sets, students, strict=True):
        in_set[of_set] = in_set.get(of_set, 0.0) + drawn
    all_sets = np.sum(list(by_set.values()), axis=0)
    columns = [by_set[s] / all_sets * drawn / in_set[s] for s, drawn in zip(sets, students, strict=True)]
    return np.stack(columns, axis=1)


class _Contrast(NamedTuple):
    """A difference before its interval is known."""

    value: float
    seeds: Spread | None
    images: tuple[float, int] | None
    """Variance from the draw of test images, and how many there are."""
    replicates_B: NDArray[np.float64] | None
    n: int
    n_sets: int
    unlike: int


def differences(pairs: Sequence[tuple[Arm, Arm]]) -> list[Difference | None]:
    """First minus second of each pair, with intervals that hold all at once; None where two share no runs."""
    contrasts = _pooled([_contrast(*pair) for pair in pairs])
    known = [(one, pair) for one, pair in zip(contrasts, pairs, strict=True) if one is not None]
    level = _level([one for one, _ in known], [pair for _, pair in known])
    return [None if one is None else _with_interval(one, level) for one in contrasts]


def paired(first: Arm, second: Arm) -> tuple[list[tuple[Seeds, Seeds, Seeds]], int]:
    """(Seeds of the pair, of the first run, of the second): equal student seed, equal set seed where both have one.

    A set that does not depend on a seed stands beside every set of the other. With the number of unlike pairs.
    """
    seconds: dict[int | None, list[Seeds]] = {}
    for held in second.top1:
        seconds.setdefault(held[1], []).append(held)
    found, unlike = [], 0
    for one in first.top1:
        for other in seconds.get(one[1], ()):
            if one[0] is not None and other[0] is not None and one[0] != other[0]:
                continue
            if first.alike.get(one) != second.alike.get(other):
                unlike += 1
                continue
            found.append(((one[0] if one[0] is not None else other[0], one[1]), one, other))
    return found, unlike


def _contrast(first: Arm, second: Arm) -> _Contrast | None:
    pairs, unlike = paired(first, second)
    if not pairs:
        return None
    seeds = [pair for pair, _, _ in pairs]
    values = np.array([first.top1[one] - second.top1[other] for _, one, other in pairs])
    weights_R = spread.weights(seeds)
    of_seeds = spread.over_seeds(dict(zip(seeds, values.tolist(), strict=True)))
    of_images = None
    on_images_BR: NDArray[np.float64] = np.broadcast_to(values, (RESAMPLES, len(values)))
    if first.correct is not None and second.correct is not None and first.sums and second.sums:
        differing_RN = np.stack(
            [first.correct[one].view(np.int8) - second.correct[other].view(np.int8) for _, one, other in pairs]
        )
        of_images = spread.over_images(differing_RN, weights_R), differing_RN.shape[1]
        on_images_BR = np.stack([first.sums[one] - second.sums[other] for _, one, other in pairs], axis=1)
    nothing = of_seeds is None and of_images is None
    replicates = None if nothing else (run_weights(seeds) * on_images_BR).sum(axis=1)
    value = float(weights_R @ values)
    return _Contrast(value, of_seeds, of_images, replicates, len(pairs), len({of_set for of_set, _ in seeds}), unlike)


def _pooled(contrasts: Sequence[_Contrast | None]) -> list[_Contrast | None]:
    """Seed variances at their mean over like comparisons where that is larger than their own, with all their df.

    As in Dunnett's test: the spread of three seeds alone has a t quantile beyond 4, and is small by luck in one
    comparison of ten. A comparison whose own spread is larger keeps it.
    """
    alike: dict[tuple[str, ...], list[tuple[Spread, int]]] = {}
    for one in contrasts:
        if one is not None and one.seeds is not None:
            alike.setdefault(one.seeds.over, []).append((one.seeds, _units(one)))
    return [
        one
        if one is None or one.seeds is None
        else one._replace(seeds=_with_others(one.seeds, _units(one), alike[one.seeds.over]))
        for one in contrasts
    ]


def _units(one: _Contrast) -> int:
    """By which the variance of a mean falls: sets, else students."""
    return one.n_sets if one.n_sets > 1 else one.n


def _with_others(own: Spread, units: int, alike: Sequence[tuple[Spread, int]]) -> Spread:
    """Variances of differences that share an arm correlate by 1/4: so much fewer df stand behind their mean."""
    df = sum(held.df for held, _ in alike)
    mean = sum(held.variance * count * held.df for held, count in alike) / df / units
    return own._replace(variance=max(mean, own.variance), df=max(own.df, df / (1 + (len(alike) - 1) / 4)))


def _level(contrasts: Sequence[_Contrast], pairs: Sequence[tuple[Arm, Arm]]) -> float:
    """Confidence of each interval, such that all hold at once with CONFIDENCE: the studentised maximum's quantile.

    Replicates of three seeds lie in a plane, so that ten differences look more alike than they are: the maximum is at
    least that of independent arms of equal spread, as Dunnett's and Tukey's tests have it.
    """
    replicates = [one.replicates_B for one in contrasts if one.replicates_B is not None]
    deviations = [(found - found.mean()) / found.std() for found in replicates if found.std() > _NO_SPREAD]
    if len(deviations) < 2:
        return CONFIDENCE
    bound = max(_bound(deviations), _bound(_independent(pairs)))
    return max(math.erf(bound / math.sqrt(2.0)), CONFIDENCE)


def _bound(deviations_B: Sequence[NDArray[np.float64]]) -> float:
    """Below it the largest of all is in CONFIDENCE of the resamples."""
    return float(np.quantile(np.abs(np.stack(deviations_B)).max(axis=0), CONFIDENCE, method="higher"))


def _independent(pairs: Sequence[tuple[Arm, Arm]]) -> list[NDArray[np.float64]]:
    """Standardised differences (B,) of arms that have nothing in common."""
    arms = list(dict.fromkeys(id(arm) for pair in pairs for arm in pair))
    drawn = dict(zip(arms, _normal(len(arms), RESAMPLES), strict=True))
    return [(drawn[id(one)] - drawn[id(other)]) / math.sqrt(2.0) for one, other in pairs]


@cache
def _normal(arms: int, resamples: int) -> NDArray[np.float64]:
    return generator("arms").standard_normal((arms, resamples))


def _with_interval(one: _Contrast, level: float) -> Difference:
    low = high = None
    over: tuple[str, ...] = ()
    whole = spread.together(one.seeds, one.images)
    if whole is not None:
        half = t_quantile(min(level, 1 - 1e-6), whole.df) * math.sqrt(whole.variance)
        low, high, over = one.value - half, one.value + half, whole.over
    return Difference(one.value, low, high, one.n, one.n_sets, over, one.unlike)
