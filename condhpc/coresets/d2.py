"""D2: difficulty and diversity by messages on a graph of nearest neighbours (Maharana et al. 2023, "D2 Pruning").

Each image starts with a score of difficulty. Forward, it receives e^(−γ_f d) times the score of each of its k nearest
neighbours of the class; then the highest is picked again and again, and each pick lowers its neighbours by e^(−γ_r d)
times its own score. Before that the hardest share β is cut, as far as ipc images are left. The authors set k, γ_r and β
per pruning rate; at 90 % on ImageNet-1K: k = 5, γ_r = 0.1, β = 0.4, and γ_f = 1 throughout their code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from condhpc.coresets.base import ClassImages, EmbeddingParams, PairwiseCoreset, require_enough
from condhpc.coresets.base_scored import forward_score

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.spec import DatasetInfo


class D2Params(EmbeddingParams, frozen=True):
    """Parameters of D2."""

    score: Annotated[
        Literal["el2n", "grand", "entropy"], Meta(description="difficulty by the embedding's teacher; higher is harder")
    ] = "el2n"
    neighbours: Annotated[int, Meta(ge=1, description="k of the graph; published: 1 to 15, ImageNet-1K 5")] = 5
    forward: Annotated[float, Meta(ge=0.0, description="γ_f; the published code has 1")] = 1.0
    reverse: Annotated[float, Meta(ge=0.0, description="γ_r; published: 0.1 to 1, ImageNet-1K 0.1")] = 0.1
    cut: Annotated[
        float, Meta(ge=0.0, lt=1.0, description="β: share of hardest images left out; published: 0 to 0.4")
    ] = 0.4
    normalize: Annotated[
        bool,
        Meta(
            description="distances between vectors of unit length; as published they are raw, and messages may vanish"
        ),
    ] = False


class D2(PairwiseCoreset):
    """Hard images that are not alike. Deterministic: the set seed changes nothing."""

    seeded = False
    Params = D2Params

    def objection(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """As all strategies over pairs; and pixels and networks made elsewhere have no scores."""
        if params.encoder.startswith("teacher:"):
            return super().objection(params, info, ipc)
        return f"encoder '{params.encoder}' has no scores of difficulty, expected teacher:<role>"

    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Positions in the order picked; O(N²·D) for the graph. Raises StageError without finite scores."""
        import numpy as np

        from condhpc import vectors

        require_enough(images.count, ipc)
        vectors_ND, score_N = vectors.of_class(images), forward_score(images, params.score)
        cut = min(int(params.cut * images.count), images.count - ipc)
        kept_n = np.sort(vectors.ranked(score_N, 0.0)[: images.count - cut])
        distance_nn = vectors.distances((vectors.unit(vectors_ND) if params.normalize else vectors_ND)[kept_n]).numpy()
        return kept_n[_pass_messages(distance_nn, score_N[kept_n], ipc, params)]


def _pass_messages(
    distance_nn: NDArray[np.float32], score_n: NDArray[np.float64], ipc: int, params: D2Params
) -> NDArray[np.int64]:
    """Positions among those kept. Messages go along the k edges that leave an image, as in the published code."""
    import numpy as np

    from condhpc import vectors

    who_nk = neighbours(distance_nn, params.neighbours)
    far_nk = np.take_along_axis(distance_nn, who_nk, axis=1).astype(np.float64)
    message_n = score_n + (np.exp(-params.forward * far_nk) * score_n[who_nk]).sum(axis=1)
    damping_nk = np.exp(-params.reverse * far_nk)
    tie = vectors.TIE * float(np.abs(message_n).max())
    picks = np.empty(ipc, dtype=np.int64)
    for t in range(ipc):
        picks[t] = pick = int(np.argmax(message_n >= message_n.max() - tie))
        message_n[who_nk[pick]] -= damping_nk[pick] * message_n[pick]
        message_n[picks[: t + 1]] = -np.inf
    return picks


def neighbours(distance_nn: NDArray[np.float32], k: int) -> NDArray[np.int64]:
    """The k nearest others of each point (n, k), nearest first, ties to the lowest position; k ≤ n − 1."""
    import numpy as np

    others_nn = distance_nn.copy()
    np.fill_diagonal(others_nn, np.inf)
    k = min(k, len(others_nn) - 1)
    if k == 0:
        return np.empty((len(others_nn), 0), dtype=np.int64)
    limit_n1 = np.partition(others_nn, k - 1, axis=1)[:, k - 1 : k]
    row, column = np.nonzero(others_nn <= limit_n1)  # more than k where the last one is tied
    order = np.lexsort((column, others_nn[row, column], row))
    first_n = np.searchsorted(row, np.arange(len(others_nn)))
    found_nk: NDArray[np.int64] = column[order][first_n[:, None] + np.arange(k)]
    return found_nk


PLUGIN = D2()
