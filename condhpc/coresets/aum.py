"""AUM: area under the margin, the mean over training of true logit − largest other (Pleiss et al., NeurIPS 2020).

A low mean is hard; negative ones are often wrong labels. The margin is that of the augmented image as it passes in
training.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.coresets.base_scored import DynamicsCoreset, Member, mean_margin

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Aum(DynamicsCoreset):
    """Small mean margins are hard images. Deterministic: the set seed changes nothing."""

    dynamics = ("margin",)

    def of_member(self, member: Member, params: Any) -> NDArray[np.float64]:
        """The negated mean."""
        del params
        return -mean_margin(member)


PLUGIN = Aum()
