"""Whether a classifier is good under other names for its outputs: what a wrong class order looks like.

Shapes: N test images, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_GAIN_PCT, _GAIN_CHANCES, _GAIN_MOST_PCT = 20.0, 2.0, 50.0
"""A renaming has to gain 20 points plus twice chance, at most 50: 40 points with ten classes.

Classes that a network confuses gain a few. On ten digits an untrained network, which lumps images together by looks,
gained 25, and a good one that is shown its images upside down 22: bad, but in no other order. A wrong order of most
classes gains far more. Nearness to chance is no criterion, because a wrong order leaves any number of them in place.
"""
_DEVIATIONS = 4.0
"""By how many standard deviations the images that a renaming mends outnumber those it spoils (McNemar's test)."""


class Relabelling(NamedTuple):
    """A one-to-one renaming of outputs, and what it makes of the accuracy."""

    class_of_output_K: NDArray[np.int64]
    before_pct: float
    after_pct: float
    """Each half of every class's images under the renaming that fits the other half: luck gains nothing."""
    is_mismatch: bool
    """Far better under other names, and not by chance."""


def best_relabelling(predicted_N: NDArray[np.int64], labels_N: NDArray[np.int64], classes: int) -> Relabelling:
    """The renaming under which outputs and labels agree most, and whether it shows that the class order is another."""
    half_N = np.empty(len(labels_N), dtype=np.int64)
    half_N[np.argsort(labels_N, kind="stable")] = np.arange(len(labels_N)) % 2
    after_N = np.zeros(len(labels_N), dtype=bool)
    for half in (0, 1):
        held, other = half_N == half, half_N != half
        renamed_K = matching(_counts(predicted_N[other], labels_N[other], classes))
        after_N[held] = renamed_K[predicted_N[held]] == labels_N[held]
    before_N = predicted_N == labels_N
    mended, spoilt = int((after_N & ~before_N).sum()), int((before_N & ~after_N).sum())
    gain_pct = 100.0 * (mended - spoilt) / max(len(labels_N), 1)
    return Relabelling(
        class_of_output_K=matching(_counts(predicted_N, labels_N, classes)),
        before_pct=_share_pct(before_N),
        after_pct=_share_pct(after_N),
        is_mismatch=gain_pct > _needed_gain_pct(classes) and mended - spoilt > _DEVIATIONS * (mended + spoilt) ** 0.5,
    )


def _needed_gain_pct(classes: int) -> float:
    return min(_GAIN_PCT + _GAIN_CHANCES * 100.0 / classes, _GAIN_MOST_PCT)


def matching(counts_KK: NDArray[np.int64]) -> NDArray[np.int64]:
    """Class of each output, one to one, greedily by how often they meet; ties, and outputs never seen, keep their own.

    Exact where one matching stands out, as after a permutation of classes; never better than the best one.
    """
    classes = len(counts_KK)
    weight_KK = 2 * counts_KK + np.eye(classes, dtype=np.int64)
    pairs = np.flatnonzero(weight_KK)
    pairs = pairs[np.argsort(-weight_KK.ravel()[pairs], kind="stable")]
    class_of_output_K = np.full(classes, -1, dtype=np.int64)
    taken_K = np.zeros(classes, dtype=bool)
    for pair in pairs.tolist():
        output, label = divmod(pair, classes)
        if class_of_output_K[output] < 0 and not taken_K[label]:
            class_of_output_K[output], taken_K[label] = label, True
    class_of_output_K[class_of_output_K < 0] = np.flatnonzero(~taken_K)
    return class_of_output_K


def _counts(predicted_N: NDArray[np.int64], labels_N: NDArray[np.int64], classes: int) -> NDArray[np.int64]:
    """How often each output (row) meets each class (column)."""
    pairs = np.bincount(predicted_N * classes + labels_N, minlength=classes * classes)
    return pairs.reshape(classes, classes).astype(np.int64)


def _share_pct(right_N: NDArray[np.bool_]) -> float:
    return 100.0 * float(right_N.mean()) if len(right_N) else 0.0
