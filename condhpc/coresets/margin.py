"""Margin: largest minus second probability of a trained classifier (Scheffer et al. 2001), from one forward pass.

A small margin is hard. The label plays no part: an image that is surely wrong counts as easy. Probabilities, not raw
logits, and one direction for all classes, which published code gets wrong.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.coresets.base_scored import ForwardCoreset, forward_score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.coresets.base import ClassImages


class Margin(ForwardCoreset):
    """Small margins are hard images. Deterministic: the set seed changes nothing."""

    def difficulty(self, images: ClassImages, params: Any) -> NDArray[np.float64]:
        """1 − margin."""
        del params
        return forward_score(images, "nearness")


PLUGIN = Margin()
