"""Facility location: the set that represents all images best, Σ_x max_{s∈S} sim(x, s), by the greedy rule.

Greedy is within 1 − 1/e of the best set (Nemhauser et al. 1978). With `distance` the similarity is the largest distance
of the class less the distance, so that the objective is the k-median cost turned round; with `cosine` it is 1 + cos.
Ties go to the lowest position.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from condhpc.coresets.base import ClassImages, EmbeddingParams, PairwiseCoreset, require_enough

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class FacilityLocationParams(EmbeddingParams, frozen=True):
    """Parameters of facility location."""

    similarity: Annotated[
        Literal["distance", "cosine"],
        Meta(description="`distance`: largest Euclidean distance of the class − distance; `cosine`: 1 + cos"),
    ] = "distance"


class FacilityLocation(PairwiseCoreset):
    """Represents every image by a near one. Deterministic: the set seed changes nothing."""

    seeded = False
    Params = FacilityLocationParams

    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Positions in the order picked; O(N²·D) for the distances, a lazy greedy after that."""
        from condhpc import medoids

        require_enough(images.count, ipc)
        distance_NN, start = dissimilarity(images, params.similarity, "cpu")
        return medoids.greedy(distance_NN.numpy(), start, ipc)

    def select_batch(
        self, classes: Sequence[ClassImages], ipc: int, params: Any, device: str
    ) -> list[NDArray[np.int64]]:
        """All classes take each pick together."""
        return list(represent_batch(classes, ipc, params.similarity, device)[-1].cpu().numpy())


def dissimilarity(images: ClassImages, similarity: str, device: str) -> tuple[Tensor, float]:
    """What is 0 between equal images (N, N), float32, and the value at which the similarity is 0."""
    from condhpc import vectors

    vectors_ND = vectors.of_class(images).to(device)
    if similarity == "cosine":
        return vectors.cosine_distances(vectors_ND), 2.0
    distance_NN = vectors.distances(vectors.in_range(vectors_ND))  # the unit changes no choice
    return distance_NN, float(distance_NN.max())


def represent_batch(
    classes: Sequence[ClassImages], ipc: int, similarity: str, device: str
) -> tuple[Tensor, Tensor, Tensor]:
    """Distances (C, N, N) padded with zeros, sizes (C,) and picks (C, ipc) of C classes at a time."""
    import torch

    from condhpc import medoids

    longest = max(images.count for images in classes)
    distance_CNN = torch.zeros(len(classes), longest, longest, device=device)
    starts = []
    for row, images in enumerate(classes):
        distance_NN, start = dissimilarity(images, similarity, device)
        distance_CNN[row, : images.count, : images.count] = distance_NN
        starts.append(start)
    count_C = torch.tensor([images.count for images in classes], device=device)
    start_C = torch.tensor(starts, device=device)
    return distance_CNN, count_C, medoids.greedy_batch(distance_CNN, start_C, count_C, ipc)


PLUGIN = FacilityLocation()
