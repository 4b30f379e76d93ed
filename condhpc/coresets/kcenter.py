"""k-center greedy: each pick is the image farthest from all picks so far (Gonzalez 1985; Sener and Savarese 2018).

Starts at the point nearest to the class mean. Ties go to the lowest position. Covers outliers by design, and
is known to be weak at small ipc for that reason.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from condhpc.coresets.base import ClassImages, EmbeddingCoreset, require_enough

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_BLOCK_ROWS = 2048
_TIE = 1e-13
"""Squared distances that differ by less, relative to the radius of all points, are equal."""


class KCenter(EmbeddingCoreset):
    """Minimises the covering radius of each class. Deterministic: the set seed changes nothing."""

    seeded = False

    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Positions in the order picked; O(N·ipc·D), one matrix-vector product per pick."""
        from condhpc import vectors

        del params
        require_enough(images.count, ipc)
        return spread(vectors.of_class(images), ipc)

    def select_batch(
        self, classes: Sequence[ClassImages], ipc: int, params: Any, device: str
    ) -> list[NDArray[np.int64]]:
        """All classes take each pick together."""
        del params
        from condhpc import vectors

        return list(spread_batch([vectors.of_class(images) for images in classes], ipc, device).cpu().numpy())


def spread(vectors_ND: Tensor, picks: int) -> NDArray[np.int64]:
    """The greedy rule over all N points; they may be of one class or of none.

    ‖x‖² + ‖s‖² − 2 x·s in single precision ranks all points; those within its rounding error of the farthest
    are compared again in double precision, so that neither the BLAS nor the number of threads decides a close call.
    Distances to the nearest pick only fall: a block of points is looked at again only if it may hold the farthest.
    """
    import numpy as np

    points = _Points(vectors_ND, picks)
    chosen = np.empty(picks, dtype=np.int64)
    for t in range(picks):
        chosen[t] = points.farthest() if t else points.central()
        points.add(int(chosen[t]))
    return chosen


class _Points:
    """Points in single precision about their mean, with upper bounds of their distances to the nearest pick."""

    def __init__(self, vectors_ND: Tensor, picks: int) -> None:
        import numpy as np
        import torch

        from condhpc import vectors

        given_ND = vectors.in_range(vectors_ND)
        count, dimensions = given_ND.shape
        self._blocks = [slice(top, min(top + _BLOCK_ROWS, count)) for top in range(0, count, _BLOCK_ROWS)]
        sums = [torch.mv(wide.T, wide.new_ones(len(wide))) for wide in (given_ND[b].double() for b in self._blocks)]
        mean_D = torch.stack(sums).sum(dim=0) / count
        self._shift_D = mean_D.to(given_ND.dtype)
        single_ND = torch.empty(count, dimensions)
        self._single = [single_ND[rows] for rows in self._blocks]
        for rows, x_bD in zip(self._blocks, self._single, strict=True):
            torch.sub(given_ND[rows], self._shift_D, out=x_bD)
        self._single_ND = single_ND.numpy()
        self._square_N = torch.linalg.vector_norm(single_ND, dim=1).square_().numpy()
        self._radius_sq = float(self._square_N.max())
        self._unsure = vectors.ROUNDING * (8 * dimensions + 32) * self._radius_sq
        self._near_N = np.full(count, np.inf, dtype=np.float32)
        self._block_far = np.full(len(self._blocks), np.inf)
        self._block_seen = [0] * len(self._blocks)
        self._picks: list[int] = []
        self._mean_D = mean_D.numpy()
        self._exact = _Exact(given_ND.numpy(), picks, _TIE * self._radius_sq)

    def central(self) -> int:
        """The point nearest to the mean."""
        import numpy as np

        square_N = self._square_N
        moved = float(np.linalg.norm(self._mean_D - self._shift_D.double().numpy()))
        unsure = self._unsure + 4.0 * moved * (math.sqrt(self._radius_sq) + moved)
        close = np.flatnonzero(square_N <= square_N.min() + unsure)
        return int(close[0]) if len(close) == 1 else self._exact.nearest_to(self._mean_D, close)

    def add(self, pick: int) -> None:
        """One more pick; it is never picked again."""
        self._picks.append(pick)
        self._exact.add(pick)
        self._near_N[pick] = -math.inf

    def farthest(self) -> int:
        """The point whose nearest pick is farthest."""
        import numpy as np

        best = -math.inf
        for block in np.argsort(-self._block_far).tolist():
            if self._block_far[block] < best - self._unsure:
                break
            self._look_at(block)
            best = max(best, self._block_far[block])
        least = best - self._unsure
        blocks = np.flatnonzero(self._block_far >= least).tolist()
        found = [np.flatnonzero(self._near_N[self._blocks[b]] >= least) + self._blocks[b].start for b in blocks]
        close = found[0] if len(found) == 1 else np.concatenate(found)
        return int(close[0]) if len(close) == 1 else self._exact.farthest(close)

    def _look_at(self, block: int) -> None:
        import numpy as np
        import torch

        rows, x_bD, new = self._blocks[block], self._single[block], self._picks[self._block_seen[block] :]
        if len(new) == 1:
            nearest_b = torch.mv(x_bD, torch.from_numpy(-2.0 * self._single_ND[new[0]])).numpy()
            nearest_b += self._square_N[new[0]]
        else:
            product_bk = (x_bD @ torch.from_numpy(-2.0 * self._single_ND[new]).T).numpy()
            nearest_b = (product_bk + self._square_N[new]).min(axis=1)
        nearest_b += self._square_N[rows]
        near_b = self._near_N[rows]
        np.minimum(near_b, nearest_b, out=near_b)
        self._block_seen[block] = len(self._picks)
        self._block_far[block] = near_b.max()


class _Exact:
    """Squared distances in double precision, by differences; computed only where asked, each pair once."""

    def __init__(self, vectors_ND: NDArray[Any], picks: int, tie: float) -> None:
        import numpy as np

        self._vectors_ND, self._tie = vectors_ND, tie
        self._picks_KD = np.empty((picks, vectors_ND.shape[1]))
        self._count = 0
        self._near_N = np.full(len(vectors_ND), np.inf)
        self._seen_N = np.zeros(len(vectors_ND), dtype=np.int64)

    def add(self, pick: int) -> None:
        """One more pick."""
        self._picks_KD[self._count] = self._vectors_ND[pick]
        self._count += 1

    def nearest_to(self, mean_D: NDArray[np.float64], points_n: NDArray[np.int64]) -> int:
        """The lowest of the points nearest to the mean."""
        import numpy as np

        square_n = _squares(self._vectors_ND[points_n].astype(np.float64) - mean_D)
        return int(points_n[np.argmax(square_n <= square_n.min() + self._tie)])

    def farthest(self, points_n: NDArray[np.int64]) -> int:
        """The lowest of the points farthest from all picks so far."""
        import numpy as np

        if len(points_n) > self._count - int(self._seen_N[points_n].min()):
            self._by_pick(points_n)
        else:
            for point in points_n.tolist():
                square_k = _squares(self._picks_KD[self._seen_N[point] : self._count] - self._vectors_ND[point])
                self._near_N[point] = min(self._near_N[point], square_k.min(initial=np.inf))
        self._seen_N[points_n] = self._count
        near_n = self._near_N[points_n]
        return int(points_n[np.argmax(near_n >= near_n.max() - self._tie)])

    def _by_pick(self, points_n: NDArray[np.int64]) -> None:
        import numpy as np

        for t in range(int(self._seen_N[points_n].min()), self._count):
            stale = points_n[self._seen_N[points_n] <= t]
            square_n = _squares(self._vectors_ND[stale] - self._picks_KD[t])
            self._near_N[stale] = np.minimum(self._near_N[stale], square_n)


def _squares(difference_nD: NDArray[np.float64]) -> NDArray[np.float64]:
    import numpy as np

    found_n: NDArray[np.float64] = np.einsum("nd,nd->n", difference_nD, difference_nD)
    return found_n


def spread_batch(classes: Sequence[Tensor], picks: int, device: str) -> Tensor:
    """`spread` of C classes at a time, all in double precision; (C, picks)."""
    import torch

    from condhpc import vectors

    given_CND, count_C = vectors.padded([vectors.in_range(one) for one in classes], device)
    real_CN = torch.arange(given_CND.shape[1], device=device) < count_C[:, None]
    centred_CND = given_CND - given_CND.sum(dim=1, keepdim=True) / count_C[:, None, None]
    square_CN = centred_CND.square().sum(dim=2).masked_fill_(~real_CN, torch.inf)
    tie_C = _TIE * square_CN.masked_fill(~real_CN, 0.0).amax(dim=1)
    near_CN = torch.where(real_CN, torch.inf, -torch.inf)
    row_C = torch.arange(len(classes), device=device)
    picks_CK = torch.empty(len(classes), picks, dtype=torch.int64, device=device)
    for t in range(picks):
        pick_C = vectors.first_smallest(-near_CN if t else square_CN, tie_C)
        pick_CD = centred_CND[row_C, pick_C]
        product_CN = (centred_CND @ pick_CD[:, :, None]).squeeze(2)
        near_CN = torch.minimum(near_CN, square_CN + square_CN[row_C, pick_C, None] - 2.0 * product_CN)
        near_CN[row_C, pick_C] = -torch.inf
        picks_CK[:, t] = pick_C
    return picks_CK


PLUGIN = KCenter()
