"""Closest pair: the smallest 1 − cosine between two set points of a class; 0 where one is there twice.

One minus "minimax diversity" of the diffusion literature is the largest cosine; this is its complement.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.metrics._cosine import WithinSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ClosestPair(WithinSet):
    """Mean over classes; no value where a class has one set point."""

    def of(self, unit_MD: NDArray[np.float64], device: str) -> float:
        """1 − u·v = ‖u − v‖² / 2, which keeps its digits where vectors are close."""
        from condhpc import neighbours

        (chosen,) = neighbours.clouds(unit_MD, device=device)
        return float(neighbours.k_nearest_others(chosen, 1).sq_Qk.min()) / 2.0


PLUGIN = ClosestPair()
