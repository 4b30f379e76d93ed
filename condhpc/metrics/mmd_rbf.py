"""MMD² with a Gaussian kernel whose width is the median distance of two real points: unbiased, so it may be below 0.

Per class in its own bandwidth. A set point that is a real one makes no pair with itself.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.metrics._mmd import Mmd

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.kernels import Kernel
    from condhpc.metrics.base import Points


class MmdRbf(Mmd):
    """exp(−‖x − y‖² / 2σ²), σ the median over pairs of real points (of 2,000 drawn ones where there are more)."""

    name = "mmd rbf median=2000"

    def kernel(self, setting: float) -> Kernel:
        """Of that variance."""
        from condhpc import kernels

        return kernels.Rbf(setting)

    def setting(self, real_ND: NDArray[np.float64], draw: np.random.Generator) -> float:
        """σ²; 0 where more than half of the pairs coincide."""
        from condhpc import kernels

        return kernels.median_square(real_ND, draw)

    def _placed(self, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Around the real mean: the kernel does not notice, and distances keep more digits."""
        real_ND, set_MD = super()._placed(points)
        mean_D = real_ND.mean(axis=0)
        return real_ND - mean_D, set_MD - mean_D


PLUGIN = MmdRbf()
