"""Herding: a greedy set whose mean follows the class mean (Welling 2009; Rebuffi et al. 2017, iCaRL, alg. 4).

With mean μ and sum w of the t picks so far, the next one is argmin_x ‖(t+1)μ − (w + f(x))‖, no repeats, ties to
the lowest position. `rule = "farthest"` takes the argmax, as DeepCore's code does: it picks outliers and is there to
compare with results of that library (which also leaves embeddings as they are: `normalize = false`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from condhpc.coresets.base import ClassImages, EmbeddingCoreset, EmbeddingParams, require_enough

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor

_TIE = 1e-13
"""Squared distances that differ by less, relative to their terms, are equal."""
_NOISE = 2.0**-44
"""How far double precision may move a vector, in units of the longest: all that is left where vectors are parallel."""


class HerdingParams(EmbeddingParams, frozen=True):
    """Parameters of herding."""

    normalize: Annotated[bool, Meta(description="scale embeddings to unit length first (zero vectors stay)")] = True
    rule: Annotated[
        Literal["nearest", "farthest"],
        Meta(description="`farthest` takes the argmax, as DeepCore does, for comparison"),
    ] = "nearest"


class Herding(EmbeddingCoreset):
    """Matches the mean of each class. Deterministic: the set seed changes nothing."""

    seeded = False
    Params = HerdingParams

    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Positions in the order picked; O(N·ipc·D), one matrix-vector product per pick."""
        from condhpc import vectors

        require_enough(images.count, ipc)
        return herd(vectors.in_range(vectors.of_class(images)), ipc, params)

    def select_batch(
        self, classes: Sequence[ClassImages], ipc: int, params: Any, device: str
    ) -> list[NDArray[np.int64]]:
        """All classes take each pick together."""
        from condhpc import vectors

        found = [vectors.in_range(vectors.of_class(images)) for images in classes]
        return list(herd_batch(found, ipc, params, device).cpu().numpy())


def herd(vectors_ND: Tensor, ipc: int, params: HerdingParams) -> NDArray[np.int64]:
    """The greedy rule for one class.

    With g = f − μ it is argmin ‖Σ_s g(s) + g(x)‖: a single-precision product ranks all candidates, and those
    within its rounding error of the best are compared again in double precision, row by row, so that neither
    the BLAS nor the number of threads decides a close call.
    """
    import numpy as np
    import torch

    from condhpc import vectors

    exact = _Exact(vectors_ND, params)
    single_ND = exact.all_in_single()
    square_N = torch.linalg.vector_norm(single_ND, dim=1).square_()
    radius, sign = float(square_N.max()) ** 0.5, exact.sign
    unsure = 4.0 * vectors.ROUNDING * ((single_ND.shape[1] + 8) * radius + 4.0 * exact.longest)
    result_N, penalty_N = torch.empty_like(square_N), sign * square_N
    score_N, left_N = result_N.numpy(), penalty_N.numpy()
    sum_D = np.zeros(single_ND.shape[1])
    picks = np.empty(ipc, dtype=np.int64)
    for t in range(ipc):
        toward_D = torch.from_numpy((2.0 * sign * sum_D).astype(np.float32))
        torch.addmv(penalty_N, single_ND, toward_D, out=result_N)
        reach = radius + math.sqrt(sum_D @ sum_D)
        close = np.flatnonzero(score_N <= score_N.min() + unsure * reach)
        picks[t] = pick = int(close[0]) if len(close) == 1 else exact.best(close, sum_D, _tie(reach, exact.longest))
        sum_D += exact.row(pick)
        left_N[pick] = math.inf
    return picks


def _tie(reach: Any, longest: Any) -> Any:
    """Squared norms of sums of at most `reach` that differ by less are equal; numbers, or one for each class."""
    noise = _NOISE * longest
    return _TIE * reach**2 + noise * (reach + noise)


class _Exact:
    """g in double precision, where it is asked for."""

    def __init__(self, vectors_ND: Tensor, params: HerdingParams) -> None:
        import torch

        self.sign = -1.0 if params.rule == "farthest" else 1.0
        wide_ND = vectors_ND.double()
        norms_N = torch.linalg.vector_norm(wide_ND, dim=1)
        scale_N = torch.where(norms_N > 0, norms_N, 1.0) if params.normalize else torch.ones_like(norms_N)
        self.longest = float((norms_N / scale_N).max())
        """Largest ‖f‖."""
        mean_D = (1.0 / scale_N) @ wide_ND / len(wide_ND)
        self._given_ND, self._scale_N, self._mean_D = vectors_ND.numpy(), scale_N.numpy(), mean_D.numpy()

    def all_in_single(self) -> Tensor:
        """That of all images; the shift is by a rounded μ, which is what `unsure` allows for."""
        import torch

        given_ND = torch.from_numpy(self._given_ND)
        scale_N1 = torch.from_numpy(self._scale_N).to(given_ND.dtype)[:, None]
        scaled_ND = given_ND / scale_N1
        return scaled_ND.sub_(torch.from_numpy(self._mean_D).to(given_ND.dtype)).float()

    def row(self, position: int) -> NDArray[np.float64]:
        """That of one position."""
        import numpy as np

        given_D = self._given_ND[position].astype(np.float64)
        found_D: NDArray[np.float64] = given_D / self._scale_N[position] - self._mean_D
        return found_D

    def best(self, close: NDArray[np.int64], sum_D: NDArray[np.float64], tie: float) -> int:
        """The lowest of the best positions."""
        import numpy as np

        found_nD = self._given_ND[close].astype(np.float64) / self._scale_N[close, None] - self._mean_D + sum_D
        score_n = self.sign * np.einsum("nd,nd->n", found_nD, found_nD)
        return int(close[np.argmax(score_n <= score_n.min() + tie)])


def herd_batch(classes: Sequence[Tensor], ipc: int, params: HerdingParams, device: str) -> Tensor:
    """The same picks for C classes at a time, all in double precision; (C, ipc)."""
    import torch

    from condhpc import vectors

    given_CND, count_C = vectors.padded(classes, device)
    found_CND = vectors.unit(given_CND) if params.normalize else given_CND
    longest_C = vectors.norms(found_CND).amax(dim=1)
    found_CND = found_CND - found_CND.sum(dim=1, keepdim=True) / count_C[:, None, None]
    sign = -1.0 if params.rule == "farthest" else 1.0
    real_CN = torch.arange(found_CND.shape[1], device=device) < count_C[:, None]
    square_CN = found_CND.square().sum(dim=2).masked_fill_(~real_CN, 0.0)
    radius_C = square_CN.amax(dim=1).sqrt()
    penalty_CN = torch.where(real_CN, sign * square_CN, torch.inf)
    sum_CD, row_C = torch.zeros_like(found_CND[:, 0]), torch.arange(len(classes), device=device)
    picks_CK = torch.empty(len(classes), ipc, dtype=torch.int64, device=device)
    for t in range(ipc):
        score_CN = penalty_CN + 2.0 * sign * (found_CND @ sum_CD[:, :, None]).squeeze(2)
        tie_C = _tie(vectors.norms(sum_CD) + radius_C, longest_C)
        picks_CK[:, t] = pick_C = vectors.first_smallest(score_CN, tie_C)
        sum_CD += found_CND[row_C, pick_C]
        penalty_CN[row_C, pick_C] = torch.inf
    return picks_CK


PLUGIN = Herding()
