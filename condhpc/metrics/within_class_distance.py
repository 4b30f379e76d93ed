"""Within-class distance: mean of 1 − cosine over the pairs of set points of a class."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.metrics._cosine import WithinSet

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class WithinClassDistance(WithinSet):
    """Mean over classes; no value where a class has one set point."""

    def of(self, unit_MD: NDArray[np.float64], device: str) -> float:
        """The square norm of the sum of M unit vectors is M and twice the cosines of all pairs."""
        del device
        count = len(unit_MD)
        cosine = float((unit_MD.sum(axis=0) ** 2).sum() - count) / (count * (count - 1))
        return max(0.0, 1.0 - cosine)  # rounding makes equal vectors a little more than equal


PLUGIN = WithinClassDistance()
