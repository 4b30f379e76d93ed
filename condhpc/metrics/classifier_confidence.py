"""Classifier confidence: probability of the own class by an independent classifier (the encoder's own), mean.

Independent as long as the encoder neither made the set nor labels its students; tables say where that does not hold.
Trained on the training split, it knows the images of coresets, which flatters them against new images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.metrics._scored import Scored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ClassifierConfidence(Scored):
    """p_y."""

    unit = "probability"
    score = "own_probability"

    def of(self, score_M: NDArray[np.float64]) -> NDArray[np.float64]:
        """As it is."""
        return score_M


PLUGIN = ClassifierConfidence()
