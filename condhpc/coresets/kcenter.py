"""k-center greedy: each pick is the image farthest from all picks so far (Gonzalez 1985; Sener and Savarese 2018).

Starts at the point nearest to the class mean. Ties go to the lowest position. Covers outliers by design, and
is known to be weak at small ipc for that reason.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.coresets.base import ClassImages, EmbeddingCoreset, finite_embeddings, require_enough

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class KCenter(EmbeddingCoreset):
    """Minimises the covering radius of each class. Deterministic: the set seed changes nothing."""

    seeded = False

    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Positions in the order picked; O(N·ipc·D), one matrix-vector product per pick."""
        del params
        require_enough(images.count, ipc)
        return spread(finite_embeddings(images), ipc)


def spread(vectors_ND: NDArray[np.float64], ipc: int) -> NDArray[np.int64]:
    """The greedy rule on finite vectors.

    Running minima of ‖x‖² + ‖s‖² − 2 x·s in single precision rank all points; those within its rounding error
    of the farthest are compared again through `_Exact`, so that neither the BLAS nor the number of threads
    decides a close call.
    """
    import numpy as np

    count, dimensions = vectors_ND.shape
    centred_ND = vectors_ND - vectors_ND.mean(axis=0)
    sq_N = (centred_ND**2).sum(axis=1)
    scale = float(np.sqrt(sq_N.max())) or 1.0
    centred_ND, sq_N = centred_ND / scale, sq_N / scale**2  # keeps single precision in range
    single_ND = centred_ND.astype(np.float32)
    exact = _Exact(centred_ND, ipc)
    error = 8.0 * (dimensions + 4) * float(np.finfo(np.float32).eps)
    nearest_N = np.full(count, np.inf)
    pick = int(np.argmin(sq_N))
    for t in range(ipc):
        if t:
            close = np.flatnonzero(nearest_N >= nearest_N.max() - error)
            pick = int(close[np.argmax(exact.nearest(close))])
        exact.add(pick)
        distance_N = sq_N + sq_N[pick] - 2.0 * (single_ND @ single_ND[pick])
        np.minimum(nearest_N, distance_N, out=nearest_N)
        nearest_N[exact.picks[: t + 1]] = -np.inf
    return exact.picks


class _Exact:
    """Squared distances to the nearest pick, in double precision by differences; computed only where asked."""

    def __init__(self, vectors_ND: NDArray[np.float64], ipc: int) -> None:
        import numpy as np

        self.picks = np.empty(ipc, dtype=np.int64)
        self._vectors_ND = vectors_ND
        self._count = 0
        self._nearest_N = np.full(len(vectors_ND), np.inf)
        self._picks_seen_N = np.zeros(len(vectors_ND), dtype=np.int64)

    def add(self, pick: int) -> None:
        """One more pick."""
        self.picks[self._count] = pick
        self._count += 1

    def nearest(self, points_n: NDArray[np.int64]) -> NDArray[np.float64]:
        """Up to date values of some points; each (point, pick) pair is computed once over the whole run."""
        import numpy as np

        for t in range(int(self._picks_seen_N[points_n].min()), self._count):
            stale = points_n[self._picks_seen_N[points_n] <= t]
            difference = self._vectors_ND[stale] - self._vectors_ND[self.picks[t]]
            self._nearest_N[stale] = np.minimum(self._nearest_N[stale], (difference**2).sum(axis=1))
        self._picks_seen_N[points_n] = self._count
        return self._nearest_N[points_n]


PLUGIN = KCenter()
