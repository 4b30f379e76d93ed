"""How far a mean over seeds and test images may be off: variance components of a crossed design. Pure numpy.

Shapes: R runs, N test images. A run is one student on one set; students of one seed start alike on every set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

Seeds = tuple[int | None, int | None]
"""(set seed, student seed) of a run; None where a condenser is not seeded."""
SETS, STUDENTS, IMAGES = "set seeds", "student seeds", "test images"


class Spread(NamedTuple):
    """Variance of a mean."""

    variance: float
    df: float
    """Degrees of freedom that stand behind the variance."""
    over: tuple[str, ...]
    """What was resampled: what the interval generalises over."""


def weights(seeds: Sequence[Seeds]) -> NDArray[np.float64]:
    """Of runs (R,): every set weighs the same, and so does every student of a set."""
    counts: dict[int | None, int] = {}
    for of_set, _ in seeds:
        counts[of_set] = counts.get(of_set, 0) + 1
    return np.array([1.0 / (len(counts) * counts[of_set]) for of_set, _ in seeds])


def over_seeds(values: Mapping[Seeds, float]) -> Spread | None:
    """Of the mean of runs: sets and students as crossed random effects where every set has the same students.

    Else over the means of sets, or over the students of one set. None for one run, whose spread nobody knows.
    """
    by_set: dict[int | None, dict[int | None, float]] = {}
    for (of_set, of_student), value in values.items():
        by_set.setdefault(of_set, {})[of_student] = value
    students = {tuple(sorted(found, key=str)) for found in by_set.values()}
    names = next(iter(students), ())
    if len(by_set) > 1 and len(students) == 1 and len(names) > 1:
        return _crossed(np.array([[found[name] for name in names] for found in by_set.values()]))
    if len(by_set) > 1:
        return _plain([float(np.mean(list(found.values()))) for found in by_set.values()], SETS)
    return _plain(list(values.values()), STUDENTS)


def _plain(values: Sequence[float], over: str) -> Spread | None:
    count = len(values)
    return Spread(float(np.var(values, ddof=1)) / count, count - 1.0, (over,)) if count > 1 else None


def _crossed(values_ST: NDArray[np.float64]) -> Spread:
    """Two-way random effects: (MS sets + MS students − MS rest) / ST; a component below 0 is 0; df by Satterthwaite."""
    sets, students = values_ST.shape
    of_set, of_student, all_ = values_ST.mean(axis=1), values_ST.mean(axis=0), float(values_ST.mean())
    rest_df = (sets - 1) * (students - 1)
    rest = float(((values_ST - of_set[:, None] - of_student + all_) ** 2).sum()) / rest_df
    main = [
        (students * float(((of_set - all_) ** 2).sum()) / (sets - 1), sets - 1),
        (sets * float(((of_student - all_) ** 2).sum()) / (students - 1), students - 1),
    ]
    held = [(mean_square, df) for mean_square, df in main if mean_square > rest]
    total = rest + sum(mean_square - rest for mean_square, _ in held)
    below = float(sum(mean_square**2 / df for mean_square, df in held)) + (1 - len(held)) ** 2 * rest**2 / rest_df
    df = float(total**2 / below) if below > 0 else float(rest_df)
    return Spread(total / values_ST.size, max(df, 1.0), (SETS, STUDENTS))


def over_images(values_RN: NDArray[np.int8], weights_R: NDArray[np.float64]) -> float:
    """Variance of the weighted mean from the draw of test images; what differs from run to run is the seeds' share."""
    runs, images = values_RN.shape
    per_image_N: NDArray[np.float64] = weights_R @ values_RN.astype(np.float64)
    variance = float(per_image_N.var(ddof=1))
    if runs > 1:
        variance -= float((weights_R**2).sum()) * _interaction(values_RN)
    return max(variance, 0.0) / int(images)


def _interaction(values_RN: NDArray[np.int8]) -> float:
    """Mean square of what neither the run nor the image explains."""
    runs, images = values_RN.shape
    squares = float((values_RN != 0).sum())  # of −1, 0 and 1
    of_run = values_RN.mean(axis=1, dtype=np.float64)
    of_image = values_RN.sum(axis=0, dtype=np.int32).astype(np.float64) / runs
    rest = squares - images * (of_run**2).sum() - runs * (of_image**2).sum() + runs * images * of_run.mean() ** 2
    return float(rest / ((runs - 1) * (images - 1)))


def together(seeds: Spread | None, images: tuple[float, int] | None) -> Spread | None:
    """Both sources, of which `images` is (variance, N); degrees of freedom by Satterthwaite."""
    if images is None:
        return seeds
    variance, count = images
    if seeds is None:
        return Spread(variance, count - 1.0, (IMAGES,))
    total = seeds.variance + variance
    below = seeds.variance**2 / seeds.df + variance**2 / (count - 1.0)
    return Spread(total, total**2 / below if below > 0 else seeds.df, (*seeds.over, IMAGES))
