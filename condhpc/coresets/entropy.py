"""Entropy of the probabilities of a trained classifier, nats, from one forward pass.

A large entropy is hard. The label plays no part: an image that is surely wrong counts as easy.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.coresets.base_scored import ForwardCoreset, forward_score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.coresets.base import ClassImages


class Entropy(ForwardCoreset):
    """Large entropies are hard images. Deterministic: the set seed changes nothing."""

    def difficulty(self, images: ClassImages, params: Any) -> NDArray[np.float64]:
        """The entropy."""
        del params
        return forward_score(images, "entropy")


PLUGIN = Entropy()
