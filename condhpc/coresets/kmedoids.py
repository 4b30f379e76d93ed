"""k-medoids: the images with the smallest sum of distances from every image of the class to its nearest pick.

Starts from the greedy choice of `facility_location` (PAM's BUILD) and swaps a pick for another image, at once wherever
that lowers the sum, until no swap does (FasterPAM, Schubert and Rousseeuw 2021). Never worse than its start.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from condhpc.coresets.base import ClassImages, PairwiseCoreset, require_enough
from condhpc.coresets.facility_location import dissimilarity, represent_batch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class KMedoids(PairwiseCoreset):
    """Minimises the k-median cost of each class. Deterministic: the set seed changes nothing."""

    seeded = False

    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Positions, those that were never swapped in the order picked; O(N²·D) and swaps of O(N²) a round."""
        from condhpc import medoids

        del params
        require_enough(images.count, ipc)
        distance, start = dissimilarity(images, "distance", "cpu")
        distance_NN = distance.numpy()
        return medoids.swapped(distance_NN, medoids.greedy(distance_NN, start, ipc))

    def select_batch(
        self, classes: Sequence[ClassImages], ipc: int, params: Any, device: str
    ) -> list[NDArray[np.int64]]:
        """All classes take each step together."""
        del params
        from condhpc import medoids

        return list(medoids.swapped_batch(*represent_batch(classes, ipc, "distance", device)).cpu().numpy())


PLUGIN = KMedoids()
