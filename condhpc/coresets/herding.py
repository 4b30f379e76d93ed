"""Herding: a greedy set whose mean follows the class mean (Welling 2009; Rebuffi et al. 2017, iCaRL, alg. 4).

With mean μ and sum w of the t picks so far, the next one is argmin_x ‖(t+1)μ − (w + f(x))‖, no repeats, ties to
the lowest position. (Some published code takes the argmax, which picks outliers.)
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from condhpc.coresets.base import ClassImages, EmbeddingCoreset, EmbeddingParams, finite_embeddings, require_enough

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class HerdingParams(EmbeddingParams, frozen=True):
    """Parameters of herding."""

    normalize: Annotated[bool, Meta(description="scale embeddings to unit length first (zero vectors stay)")] = True


class Herding(EmbeddingCoreset):
    """Matches the mean of each class. Deterministic: the set seed changes nothing."""

    seeded = False
    Params = HerdingParams

    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Positions in the order picked; O(N·ipc·D), one matrix-vector product per pick."""
        require_enough(images.count, ipc)
        vectors_ND = finite_embeddings(images)
        if params.normalize:
            vectors_ND = unit_length(vectors_ND)
        return herd(vectors_ND, ipc)


def unit_length(vectors_ND: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows scaled to length 1; zero rows stay zero."""
    import numpy as np

    norms_N = np.sqrt((vectors_ND**2).sum(axis=1))
    return vectors_ND / np.where(norms_N > 0, norms_N, 1.0)[:, None]


def herd(vectors_ND: NDArray[np.float64], ipc: int) -> NDArray[np.int64]:
    """The greedy rule on finite vectors.

    ‖r − f‖² = ‖r‖² + ‖f‖² − 2 f·r with r = (t+1)μ − w: a single-precision product ranks all candidates, and those
    within its rounding error of the best are compared again in double precision, row by row, so that neither
    the BLAS nor the number of threads decides a close call.
    """
    import numpy as np

    dimensions = vectors_ND.shape[1]
    mean_D = vectors_ND.mean(axis=0)
    sq_N = (vectors_ND**2).sum(axis=1)
    scale = float(np.sqrt(sq_N.max())) or 1.0
    vectors_ND, mean_D, sq_N = vectors_ND / scale, mean_D / scale, sq_N / scale**2  # keeps single precision in range
    single_ND = vectors_ND.astype(np.float32)
    penalty_N = sq_N.copy()
    error = 4.0 * (dimensions + 4) * float(np.finfo(np.float32).eps)
    sum_D = np.zeros(dimensions)
    picks = np.empty(ipc, dtype=np.int64)
    for t in range(ipc):
        target_D = (t + 1) * mean_D - sum_D
        score_N = penalty_N - 2.0 * (single_ND @ target_D.astype(np.float32))
        close = np.flatnonzero(score_N <= score_N.min() + error * (1.0 + float(np.sqrt(target_D @ target_D))))
        exact = ((target_D - vectors_ND[close]) ** 2).sum(axis=1)
        picks[t] = close[np.argmin(exact)]
        sum_D += vectors_ND[picks[t]]
        penalty_N[picks[t]] = np.inf
    return picks


PLUGIN = Herding()
