"""Random coreset: the first ipc images of a seeded permutation of the class."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.coresets.base import ClassImages, Coreset, require_enough

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Random(Coreset):
    """Uniform without replacement, balanced over classes; the baseline of every table.

    Nested: under one seed the set of a smaller ipc is a subset of that of a larger one, which lowers the
    variance of comparisons over ipc.
    """

    default_set_seeds = (0, 1, 2, 3, 4)

    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Positions in the order of the permutation."""
        del params
        require_enough(images.count, ipc)
        return images.rng.permutation(images.count)[:ipc]


PLUGIN = Random()
