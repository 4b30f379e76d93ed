"""CCS: coverage-centric selection (Zheng et al., ICLR 2023): all difficulties but the hardest, by strata.

The hardest images are cut off. The range of the scores that are left is split into strata of equal width; each, the
smallest first, gives min(its size, ⌊what is left of ipc / strata left⌋) images, drawn at random. There are at most ipc
strata, for with more of them than images the order of ties decides which are heard; here that order is drawn, too.
(The paper's code takes the hardest and the strata of all classes together, or gives every class the count of the last.)
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from condhpc import demands
from condhpc.coresets.base import Trials, held_out, require_enough
from condhpc.coresets.base_scored import DynamicsCoreset, Member, early_error, mean_margin
from condhpc.errors import nearest
from condhpc.spec import DatasetInfo, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.coresets.base import ClassImages

Cutoff = Annotated[float, Meta(ge=0.0, lt=1.0)]
_FREE_SHARE = 0.6


class CcsParams(Value, frozen=True):
    """Parameters of CCS."""

    proxy: Annotated[
        str, Meta(description="role of the teacher whose training is looked at; a committee is averaged")
    ] = "single"
    score: Annotated[Literal["aum", "el2n"], Meta(description="what difficulty is")] = "aum"
    epoch_share: Annotated[
        float, Meta(gt=0.0, le=1.0, description="of el2n: share of the epochs after which it is taken")
    ] = 0.1
    strata: Annotated[int, Meta(ge=1, description="at most; never more than ipc")] = 50
    cutoff: Annotated[
        Cutoff | None,
        Meta(
            description="share of the hardest that is cut off; left out, 0.6 less than the share that is not kept: the "
            "paper's 0.2 at 80 %, 0.3 at 90 %, and 0.39 at 99 %"
        ),
    ] = None
    cutoffs: Annotated[
        tuple[Cutoff, ...],
        Meta(
            description="try these on a hold-out slice of the training split instead, for example [0.1, 0.3, 0.5, 0.7]"
        ),
    ] = ()
    holdout_share: Annotated[float, Meta(gt=0.0, lt=1.0, description="of a trial: share of each class held out")] = 0.1
    holdout_student: Annotated[str, Meta(description="of a trial: architecture that is trained")] = "convnet3"
    holdout_steps: Annotated[int, Meta(ge=1, description="of a trial: steps of its training")] = 500


class Ccs(DynamicsCoreset):
    """Covers easy and hard alike, without the hardest, which are outliers and wrong labels."""

    seeded = True
    Params = CcsParams

    def of_member(self, member: Member, params: Any) -> NDArray[np.float64]:
        """Negated AUM, or EL2N."""
        return -mean_margin(member) if params.score == "aum" else early_error(member, params.epoch_share)

    def objection(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """Where trials cannot be held."""
        if not params.cutoffs:
            return _idle(params)
        student = params.holdout_student
        if params.cutoff is not None:
            return "cutoff and cutoffs are both given; keep one"
        if student not in demands.archs():
            return f"holdout_student: no architecture '{student}'{nearest(student, demands.archs())}"
        if info.resolution < demands.minimum_px(student):
            return f"holdout_student: '{student}' needs images of {demands.minimum_px(student)} px"
        for smallest in sorted(info.train_class_sizes)[:1]:  # not known where the files are elsewhere
            held = held_out(smallest, params.holdout_share)
            if smallest - held < ipc:
                return (
                    f"holdout_share = {params.holdout_share} holds out {held} of the {smallest} images of the smallest "
                    f"class, and fewer than ipc are left; lower one of the two, or give `cutoff` and no trial"
                )
        return ""

    def trials(self, params: Any) -> Trials | None:
        """One for each cut-off to try, the smallest first."""
        if not params.cutoffs:
            return None
        candidates = [msgspec.structs.replace(params, cutoff=cutoff) for cutoff in sorted(set(params.cutoffs))]
        return Trials(candidates, params.holdout_share, params.holdout_student, params.holdout_steps)

    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Positions stratum by stratum, the smallest first; O(N log N)."""
        import numpy as np

        require_enough(images.count, ipc)
        order_N = images.rng.permutation(images.count)  # position within it breaks all ties
        difficulty_N = self.difficulty(images, params)[order_N]
        kept_n = np.argsort(difficulty_N, kind="stable")[: kept_count(images.count, ipc, params.cutoff)]
        kept_n.sort()
        strata = strata_of(difficulty_N[kept_n], min(params.strata, ipc))
        by_size = sorted((kept_n[strata == s] for s in images.rng.permutation(min(params.strata, ipc))), key=len)
        budgets = shares([len(stratum) for stratum in by_size], ipc)
        picks = np.concatenate([stratum[:budget] for stratum, budget in zip(by_size, budgets, strict=True)])
        return np.asarray(order_N[picks], dtype=np.int64)


def _idle(params: Any) -> str:
    """What is given and would count for nothing without trials."""
    names = ("holdout_share", "holdout_student", "holdout_steps")
    given = [name for name in names if getattr(params, name) != getattr(CcsParams(), name)]
    return f"{', '.join(given)}: of a trial, and there is none; give `cutoffs` to try" if given else ""


def kept_count(count: int, ipc: int, cutoff: float | None) -> int:
    """Images of a class that are left without the hardest; never fewer than ipc."""
    share = max(0.0, 1.0 - ipc / count - _FREE_SHARE) if cutoff is None else cutoff
    return max(ipc, count - int(share * count))


def strata_of(score_n: NDArray[np.float64], strata: int) -> NDArray[np.int64]:
    """Number of each score's stratum; all in the first where the range has no width."""
    import numpy as np

    low, width = score_n.min(), np.ptp(score_n)
    if width == 0.0:
        return np.zeros(len(score_n), dtype=np.int64)
    return np.asarray(np.minimum((score_n - low) / width * strata, strata - 1), dtype=np.int64)


def shares(sizes: Sequence[int], budget: int) -> list[int]:
    """What each stratum gives, sizes ascending; all of the budget, as long as there are as many images."""
    given: list[int] = []
    for i, size in enumerate(sizes):
        given.append(min(size, (budget - sum(given)) // (len(sizes) - i)))
    return given


PLUGIN = Ccs()
