"""Whether a classifier is good under other names for its outputs: what a wrong class order looks like.

Shapes: N test images, K classes.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

_NEAR_FACTOR, _NEAR_PCT = 2.0, 10.0
"""Near chance: below twice chance, and at most ten points above it; a wrong order leaves some classes in place."""
_GAIN_PCT, _HIGH_PCT = 20.0, 40.0
"""A relabelling that gains so much and ends so high is no luck: a guess gains a few points from it."""


class Relabelling(NamedTuple):
    """A one-to-one renaming of outputs, and what it makes of the accuracy."""

    class_of_output_K: NDArray[np.int64]
    before_pct: float
    after_pct: float

    @property
    def is_mismatch(self) -> bool:
        """Near chance as it stands, and far above it under other names."""
        chance_pct = 100.0 / len(self.class_of_output_K)
        near_chance = self.before_pct < min(_NEAR_FACTOR * chance_pct, chance_pct + _NEAR_PCT)
        return near_chance and self.after_pct - self.before_pct > _GAIN_PCT and self.after_pct > _HIGH_PCT


def best_relabelling(predicted_N: NDArray[np.int64], labels_N: NDArray[np.int64], classes: int) -> Relabelling:
    """Outputs and classes matched greedily by how often they meet, ties to the lowest numbers.

    Exact where one matching stands out, as after a permutation of classes; never better than the best one.
    """
    counts_KK = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts_KK, (predicted_N, labels_N), 1)
    class_of_output_K = np.full(classes, -1, dtype=np.int64)
    taken_K = np.zeros(classes, dtype=bool)
    for flat in np.argsort(-counts_KK, axis=None, kind="stable"):
        output, label = divmod(int(flat), classes)
        if class_of_output_K[output] < 0 and not taken_K[label]:
            class_of_output_K[output], taken_K[label] = label, True
    before, after = np.trace(counts_KK), counts_KK[np.arange(classes), class_of_output_K].sum()
    share = 100.0 / max(len(labels_N), 1)
    return Relabelling(class_of_output_K, float(before) * share, float(after) * share)
