"""RDED's realism (Sun et al. 2024): minus the cross-entropy of an observer, which is the encoder's own classifier.

RDED picks its patches by this score, so it favours RDED where the observer is the one that picked.
Trained on the training split, a classifier knows the images of coresets, which flatters them against new images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.metrics._scored import Scored

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class RdedRealism(Scored):
    """log p_y; probabilities that float32 cannot hold count as its smallest, 2⁻¹⁴⁹ (−103.3 nats)."""

    unit = "nats"
    score = "own_probability"

    def of(self, score_M: NDArray[np.float64]) -> NDArray[np.float64]:
        """Logarithm."""
        import numpy as np

        return np.log(np.maximum(score_M, 2.0**-149))


PLUGIN = RdedRealism()
