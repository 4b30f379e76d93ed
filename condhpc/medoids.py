"""Which points represent the others: greedy choice and swaps that lower the sum of distances to the nearest chosen.

Everything works on one symmetric matrix of distances in single precision; sums are in double precision, and what
differs by less than their rounding is a tie, which goes to the lowest position. The functions for one class are the
fast ones on a CPU, those for a batch of classes (distances padded with zeros) on a GPU; both make the same choices.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from condhpc.vectors import TIE, first_smallest

if TYPE_CHECKING:
    from numpy.typing import NDArray

_FIRST_LOOK = 16
"""Rows that the lazy greedy computes at once at first; doubled while it has to go on, up to the next."""
_MOST_ROWS = 64
_BLOCK_ROWS = (16, 64)
"""Fewest and most candidates whose swaps are computed together; speed alone depends on them."""


def cost(distance_NN: NDArray[np.float32], picks: NDArray[np.int64]) -> float:
    """Sum over all points of the distance to the nearest pick (the k-median cost, times N)."""
    return float(distance_NN[picks].min(axis=0).sum(dtype=np.float64))


def greedy(distance_NN: NDArray[np.float32], start: float, ipc: int) -> NDArray[np.int64]:
    """Each pick lowers Σ_x min(start, min_s d(x, s)) the most: facility location with similarity `start` − d ≥ 0.

    Lazy (Minoux 1978): what a point would gain only falls as picks are added, so that old gains are upper bounds
    and only points above the best new gain are looked at again.
    """
    nearest_N = np.full(len(distance_NN), start, dtype=np.float32)
    total = nearest_N.sum(dtype=np.float64)
    gain_N = total - distance_NN.sum(axis=1, dtype=np.float64)
    space_MN = np.empty((min(_MOST_ROWS, len(distance_NN)), len(distance_NN)), dtype=np.float32)
    picks = np.empty(ipc, dtype=np.int64)
    for t in range(ipc):
        picks[t] = pick = _best_gain(distance_NN, nearest_N, gain_N, space_MN) if t else _first(gain_N, TIE * total)
        np.minimum(nearest_N, distance_NN[pick], out=nearest_N)
        gain_N[pick] = -np.inf
    return picks


def _first(gain_N: NDArray[np.float64], tie: float) -> int:
    return int(np.argmax(gain_N >= gain_N.max() - tie))


def _best_gain(
    distance_NN: NDArray[np.float32],
    nearest_N: NDArray[np.float32],
    gain_N: NDArray[np.float64],
    space_MN: NDArray[np.float32],
) -> int:
    """The point of largest gain; `gain_N` holds upper bounds and gets the gains of those that were looked at."""
    total = float(nearest_N.sum(dtype=np.float64))
    order = np.argsort(-gain_N)
    best, tie, done, rows = -np.inf, TIE * total, 0, min(_FIRST_LOOK, len(space_MN))
    while done < len(order) and -np.inf < gain_N[order[done]] >= best - tie:
        look = order[done : done + rows]
        look = look[(gain_N[look] > -np.inf) & (gain_N[look] >= best - tie)]
        left_MN = np.take(distance_NN, look, axis=0, out=space_MN[: len(look)], mode="clip")
        np.minimum(left_MN, nearest_N, out=left_MN)
        gain_N[look] = total - left_MN.sum(axis=1, dtype=np.float64)
        best = max(best, float(gain_N[look].max()))
        done, rows = done + rows, min(2 * rows, len(space_MN))
    return _first(gain_N, tie)


def greedy_batch(distance_CNN: Tensor, start_C: Tensor, count_C: Tensor, ipc: int) -> Tensor:
    """`greedy` of C classes at a time, all gains at each pick; (C, ipc)."""
    classes, longest = distance_CNN.shape[:2]
    real_CN = torch.arange(longest, device=distance_CNN.device) < count_C[:, None]
    nearest_CN = torch.where(real_CN, start_C[:, None], 0.0).float()  # padding adds nothing to a sum
    taken_CN = ~real_CN
    class_C = torch.arange(classes, device=distance_CNN.device)
    picks_CK = torch.empty(classes, ipc, dtype=torch.int64, device=distance_CNN.device)
    for t in range(ipc):
        left_CN = torch.minimum(distance_CNN, nearest_CN[:, None]).sum(dim=2, dtype=torch.float64)
        left_CN.masked_fill_(taken_CN, torch.inf)
        picks_CK[:, t] = pick_C = first_smallest(left_CN, TIE * nearest_CN.sum(dim=1, dtype=torch.float64))
        nearest_CN = torch.minimum(nearest_CN, distance_CNN[class_C, pick_C])
        taken_CN[class_C, pick_C] = True
    return picks_CK


class _Served:
    """By which medoid each point is served, and how far its nearest and its second nearest are."""

    def __init__(self, distance_NN: NDArray[np.float32], picks: NDArray[np.int64]) -> None:
        self.picks = picks.copy()
        self.to_KN = distance_NN[picks]
        self.first_N = np.empty(len(distance_NN), dtype=np.int64)
        self.second_N = np.empty(len(distance_NN), dtype=np.int64)
        self.near_N = np.empty(len(distance_NN), dtype=np.float32)
        self.next_N = np.full(len(distance_NN), _far(distance_NN), dtype=np.float32)
        self.by_pick_NK = np.zeros((len(distance_NN), len(picks)))
        """1 where a pick serves a point."""
        self._look_again(np.arange(len(distance_NN)))

    def swap(self, slot: int, row_N: NDArray[np.float32], candidate: int) -> None:
        """Another point in the place of a medoid; only points that lose or gain by it are looked at."""
        self.picks[slot], self.to_KN[slot] = candidate, row_N
        lost_N = (self.first_N == slot) | (self.second_N == slot)
        self._look_again(np.flatnonzero(lost_N | (row_N < self.next_N)))

    def _look_again(self, points_n: NDArray[np.int64]) -> None:
        to_Kn = self.to_KN[:, points_n]
        at = np.arange(len(points_n))
        self.first_N[points_n] = first_n = to_Kn.argmin(axis=0)
        self.by_pick_NK[points_n] = 0.0
        self.by_pick_NK[points_n, first_n] = 1.0
        self.near_N[points_n] = to_Kn[first_n, at]
        if len(to_Kn) > 1:
            to_Kn[first_n, at] = np.inf
            self.second_N[points_n] = second_n = to_Kn.argmin(axis=0)
            self.next_N[points_n] = to_Kn[second_n, at]
        else:
            self.second_N[points_n] = 0


def _far(distance_NN: Any) -> float:
    """In place of a second nearest medoid where there is one alone: farther than any point."""
    return 2.0 * float(distance_NN.max()) + 1.0


def swapped(distance_NN: NDArray[np.float32], picks: NDArray[np.int64]) -> NDArray[np.int64]:
    """Swaps of a pick for another point, each as soon as it lowers `cost`, until none does.

    Eager swaps in the order of positions, the best pick of each candidate (FasterPAM, Schubert and Rousseeuw 2021).
    With d1, d2 the distances to the nearest and second nearest pick, putting c in the place of pick i changes the cost
    by Σ_x min(d(x,c) − d1, 0), over all x, and Σ (clamp(d(x,c), d1, d2) − d1) over those that i serves.
    """
    count, served = len(distance_NN), _Served(distance_NN, picks)
    at, left, rows = 0, count, _BLOCK_ROWS[0]
    while left > 0:
        block = slice(at, min(at + rows, at + left, count))
        change_bK = _changes(distance_NN[block], served)
        tie = TIE * float(served.near_N.sum(dtype=np.float64))
        better = np.flatnonzero(change_bK.min(axis=1) < -tie)
        if better.size:
            change_K, candidate = change_bK[better[0]], at + int(better[0])
            served.swap(int(np.argmax(change_K <= change_K.min() + tie)), distance_NN[candidate], candidate)
            at, left, rows = candidate + 1, count - 1, max(_BLOCK_ROWS[0], rows // 2)
        else:
            at, left, rows = block.stop, left - (block.stop - at), min(_BLOCK_ROWS[1], 2 * rows)
        at %= count
    return served.picks


def _changes(rows_bN: NDArray[np.float32], served: _Served) -> NDArray[Any]:
    """How each candidate in the place of each pick changes the cost, (b, K)."""
    near_1N, next_1N = torch.from_numpy(served.near_N)[None], torch.from_numpy(served.next_N)[None]
    return _change(torch.from_numpy(rows_bN), near_1N, next_1N, torch.from_numpy(served.by_pick_NK)).numpy()


def _change(rows_bN: Tensor, near_1N: Tensor, next_1N: Tensor, by_pick_NK: Tensor) -> Tensor:
    """The two sums of `swapped`; all may have a dimension of classes in front."""
    kept_bN = torch.maximum(rows_bN, near_1N)
    kept_bN = torch.minimum(kept_bN, next_1N, out=kept_bN).double()
    gained_b1 = torch.minimum(rows_bN, near_1N).sum(dim=-1, keepdim=True, dtype=torch.float64)
    wide_1N = near_1N.double()
    before_1K = (wide_1N @ by_pick_NK).add_(wide_1N.sum(dim=-1, keepdim=True))
    return (kept_bN @ by_pick_NK).add_(gained_b1).sub_(before_1K)


def swapped_batch(distance_CNN: Tensor, count_C: Tensor, picks_CK: Tensor) -> Tensor:
    """`swapped` of C classes at a time: each looks at its own next candidates until none is left; (C, ipc)."""
    device, block = distance_CNN.device, _BLOCK_ROWS[0]
    class_C1 = torch.arange(len(distance_CNN), device=device)[:, None]
    picks_CK, at_C, left_C = picks_CK.clone(), torch.zeros_like(count_C), count_C.clone()
    real_C1N = (torch.arange(distance_CNN.shape[1], device=device) < count_C[:, None])[:, None]
    far = _far(distance_CNN)
    while bool((left_C > 0).any()):
        ahead_B = torch.arange(block, device=device)
        candidate_CB = (at_C[:, None] + ahead_B) % count_C[:, None]
        near_C1N, next_C1N, by_pick_CNK = _served(distance_CNN[class_C1, picks_CK], real_C1N, far)
        change_CBK = _change(distance_CNN[class_C1, candidate_CB], near_C1N, next_C1N, by_pick_CNK)
        tie_C = TIE * near_C1N.double().sum(dim=(1, 2))
        better_CB = (change_CBK.amin(dim=2) < -tie_C[:, None]) & (ahead_B < left_C[:, None])
        found_C, first_C1 = better_CB.any(dim=1), better_CB.to(torch.int8).argmax(dim=1)[:, None]
        slot_C = first_smallest(change_CBK[class_C1, first_C1].squeeze(1), tie_C)
        one = found_C.nonzero().flatten()
        picks_CK[one, slot_C[one]] = candidate_CB[one, first_C1[one, 0]]
        step_C = torch.where(found_C, first_C1[:, 0] + 1, torch.minimum(left_C, torch.full_like(left_C, block)))
        at_C, left_C = (at_C + step_C) % count_C, torch.where(found_C, count_C - 1, left_C - step_C)
    return picks_CK


def _served(to_CKN: Tensor, real_C1N: Tensor, far: float) -> tuple[Tensor, Tensor, Tensor]:
    """Distances to the nearest and second nearest pick (C, 1, N), zero at padding, and who serves whom (C, N, K)."""
    if to_CKN.shape[1] > 1:
        closest_C2N, who_C2N = to_CKN.topk(2, dim=1, largest=False)
        near_C1N, next_C1N = closest_C2N[:, :1], closest_C2N[:, 1:]
    else:
        near_C1N, next_C1N, who_C2N = to_CKN, torch.full_like(to_CKN, far), torch.zeros_like(to_CKN, dtype=torch.int64)
    by_pick_CKN = torch.zeros_like(to_CKN, dtype=torch.float64).scatter_(1, who_C2N[:, :1], 1.0)
    nothing = ~real_C1N
    return near_C1N.masked_fill(nothing, 0.0), next_C1N.masked_fill(nothing, 0.0), by_pick_CKN.transpose(1, 2)
