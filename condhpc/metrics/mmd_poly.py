"""MMD² with the kernel (x·y/D + 1)³ of the kernel inception distance (Bińkowski et al. 2018): unbiased, maybe below 0.

Over all points, not averaged over subsets of 1,000. A set point that is a real one makes no pair with itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.metrics._mmd import Mmd

if TYPE_CHECKING:
    from condhpc.kernels import Kernel


class MmdPoly(Mmd):
    """No bandwidth; not the same after a shift of all points."""

    name = "mmd poly"

    def kernel(self, setting: float) -> Kernel:
        """The one kernel."""
        from condhpc import kernels

        del setting
        return kernels.Cubic()


PLUGIN = MmdPoly()
