"""EL2N: norm of the error vector, ‖softmax − one-hot‖₂, early in training (Paul et al., NeurIPS 2021).

The paper averages ten networks at epoch 10 or 20 of 200: make `proxy` a committee for that. Here the error is that of
the augmented image as it passes in training, in train mode; the paper tests the plain image after the epoch.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from condhpc.coresets.base_scored import DynamicsCoreset, DynamicsParams, Member, early_error

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class El2nParams(DynamicsParams, frozen=True):
    """Parameters of EL2N."""

    epoch_share: Annotated[float, Meta(gt=0.0, le=1.0, description="share of the epochs after which it is taken")] = 0.1


class El2n(DynamicsCoreset):
    """Large errors early are hard images. Deterministic: the set seed changes nothing."""

    dynamics = ("el2n",)
    Params = El2nParams

    def of_member(self, member: Member, params: Any) -> NDArray[np.float64]:
        """The error in the early epoch."""
        return early_error(member, params.epoch_share)


PLUGIN = El2n()
