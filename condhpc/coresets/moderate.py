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


def _prototype(vectors_ND: Any, kind: str) -> Any:
    """(D,) in double precision; the median of an even number of values is the mean of the middle two."""
    import torch

    if kind == "mean":
        return vectors_ND.double().mean(dim=0)
    ordered_DN = vectors_ND.T.contiguous().sort(dim=1).values.double()
    count = len(vectors_ND)
    return torch.add(ordered_DN[:, (count - 1) // 2], ordered_DN[:, count // 2]) / 2


PLUGIN = Moderate()
