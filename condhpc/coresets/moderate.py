"""Moderate: images whose distance to the class prototype is nearest to the median distance (Xia et al., ICLR 2023).

The paper's text calls the prototype a mean; the published code, from which its numbers come, takes the median of each
coordinate, which is the default. The code also ranks all classes together, which unbalances them; here each class
gives ipc images.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from condhpc.coresets.base import ClassImages, EmbeddingCoreset, EmbeddingParams, require_enough

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class ModerateParams(EmbeddingParams, frozen=True):
    """Parameters of moderate."""

    prototype: Annotated[
        Literal["median", "mean"],
        Meta(description="class centre: coordinate-wise `median` (code) or `mean` (text)"),
    ] = "median"


class Moderate(EmbeddingCoreset):
    """Neither the easiest nor the hardest images. Deterministic: the set seed changes nothing."""

    seeded = False
    Params = ModerateParams

    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Positions by how far their distance is from the median distance; ties to the lowest position."""
        import numpy as np

        from condhpc import vectors

        require_enough(images.count, ipc)
        vectors_ND = vectors.in_range(vectors.of_class(images))
        distance_N = vectors.norms(vectors_ND.double() - _prototype(vectors_ND, params.prototype)).numpy()
        oddness_N = np.abs(distance_N - np.median(distance_N))
        return vectors.ranked(oddness_N, vectors.TIE * float(distance_N.max()))[:ipc]


def _prototype(vectors_ND: Tensor, kind: str) -> Tensor:
    """(D,) in double precision; the median of an even number of values is the mean of the middle two."""
    import numpy as np
    import torch

    if kind == "mean":
        return vectors_ND.double().mean(dim=0)
    middle = sorted({(len(vectors_ND) - 1) // 2, len(vectors_ND) // 2})
    halved_DN = np.partition(vectors_ND.T.contiguous().numpy(), middle, axis=1)
    return torch.from_numpy(halved_DN[:, middle].astype(np.float64).mean(axis=1))


PLUGIN = Moderate()
