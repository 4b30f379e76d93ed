"""GraNd in closed form: norm of the loss gradient in the last layer, ‖p − y‖·√(‖h‖² + 1), weights and bias.

Paul et al. (NeurIPS 2021) define the norm over all weights, early in training, in expectation over initialisations.
This is its last-layer part at one network, the teacher behind the embedding, with plain images in eval mode: no image
needs a gradient of its own. Give the teacher few epochs to come nearer to the paper.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.coresets.base_scored import ForwardCoreset, forward_score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.coresets.base import ClassImages


class Grand(ForwardCoreset):
    """Large gradients are hard images. Deterministic: the set seed changes nothing."""

    def difficulty(self, images: ClassImages, params: Any) -> NDArray[np.float64]:
        """The norm."""
        del params
        return forward_score(images, "grand")


PLUGIN = Grand()
