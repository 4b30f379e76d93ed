"""Forgetting events: how often an image goes from right to wrong in training (Toneva et al., ICLR 2019).

Never learned counts as the number of epochs, as in the paper's code. Most counts of a class are equal, and file order
is no neutral choice among them: ties are broken by the set seed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.coresets.base_scored import DynamicsCoreset, Member, forgetting_count

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Forgetting(DynamicsCoreset):
    """Images that are forgotten often are hard; unforgettable ones are easy."""

    seeded = True
    dynamics = ("margin", "correct")

    def of_member(self, member: Member, params: Any) -> NDArray[np.float64]:
        """The count."""
        del params
        return forgetting_count(member)


PLUGIN = Forgetting()
