"""What strategies share that rank the images of a class by how hard each is. Shapes: N images, E epochs.

At the budgets of condensed sets the hardest images are outliers and wrong labels, and a set of them is expected to be
worse than a random one; with little data the easy ones teach more (Sorscher et al., NeurIPS 2022). Hence `direction`.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta

from condhpc.coresets.base import ClassImages, Coreset, require_enough
from condhpc.errors import StageError
from condhpc.spec import Need, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.spec import DatasetInfo

Member = Mapping[str, "NDArray[Any]"]
"""The training of one network: `margin`, `correct`, `el2n`, (E, N) each (see `condhpc.dynamics`)."""
PROXY = "proxy"
"""Role of the network whose training is looked at."""


class ScoreParams(Value, frozen=True):
    """Which end of the ranking is kept."""

    direction: Annotated[
        Literal["hard", "easy", "window"], Meta(description="the hardest, the easiest, or those around `quantile`")
    ] = "hard"
    quantile: Annotated[
        float, Meta(ge=0.0, le=1.0, description="of a window: rank of its centre, 0 the easiest image, 1 the hardest")
    ] = 0.5


class ForwardParams(ScoreParams, frozen=True):
    """Parameters of scores from one forward pass."""

    encoder: Annotated[
        str, Meta(description="`teacher:<role>`, the classifier whose outputs are scored", pattern="^teacher:.+$")
    ] = "teacher:single"


class DynamicsParams(ScoreParams, frozen=True):
    """Parameters of scores from a training."""

    proxy: Annotated[
        str, Meta(description="role of the teacher whose training is looked at; a committee is averaged")
    ] = "single"


class ScoreCoreset(Coreset):
    """A strategy that keeps one end, or a window, of a ranking. Ties go to the lowest position.

    Where it is `seeded`, ties are broken by the class's stream. Nested: a smaller ipc gives a subset.
    """

    seeded = False
    Params: ClassVar[type[Value]] = ScoreParams

    def objection(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """A quantile that would count for nothing."""
        del info, ipc
        if params.direction == "window" or params.quantile == ScoreParams().quantile:
            return ""
        found = f"found '{params.direction}'; change one of the two"
        return f"quantile = {params.quantile} counts for direction = 'window' alone, {found}"

    @abstractmethod
    def difficulty(self, images: ClassImages, params: Any) -> NDArray[np.float64]:
        """How hard each image is, (N,), finite; raises StageError where that cannot be said."""

    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Positions from the end (or the centre of the window) on; O(N log N)."""
        import numpy as np

        require_enough(images.count, ipc)
        difficulty_N = self.difficulty(images, params)
        order_N = images.rng.permutation(images.count) if self.seeded else np.arange(images.count)
        picks = ranked(difficulty_N[order_N], params)[:ipc]
        return np.asarray(order_N[picks], dtype=np.int64)


class ForwardCoreset(ScoreCoreset):
    """A ranking by what a trained classifier makes of each image, in one forward pass (see `condhpc.scores`)."""

    Params = ForwardParams

    def needs(self, params: Any) -> dict[str, Need]:
        """Scores come with the embeddings of the role `embedding`."""
        return {"embedding": Need(stage="embed", source=params.encoder)}


class DynamicsCoreset(ScoreCoreset):
    """A ranking by how each image fared in a training, the mean over the members of a committee."""

    takes_committees = True
    Params: ClassVar[type[Value]] = DynamicsParams

    def needs(self, params: Any) -> dict[str, Need]:
        """The training of the role `proxy`."""
        return {PROXY: Need(stage="teacher", source=params.proxy, dynamics=True)}

    @abstractmethod
    def of_member(self, member: Member, params: Any) -> NDArray[np.float64]:
        """How hard each image was for one network, (N,)."""

    def difficulty(self, images: ClassImages, params: Any) -> NDArray[np.float64]:
        """Mean over members."""
        return mean_over_members(images, lambda member: self.of_member(member, params))


def ranked(difficulty_N: NDArray[np.float64], params: Any) -> NDArray[np.int64]:
    """All positions, those to keep first. A window grows from its centre to both sides, to the easier one first."""
    import numpy as np

    if params.direction == "hard":
        return np.argsort(-difficulty_N, kind="stable")
    ascending_N = np.argsort(difficulty_N, kind="stable")
    if params.direction == "easy":
        return ascending_N
    count = len(difficulty_N)
    from_centre_N = np.abs(np.arange(count) - params.quantile * (count - 1))
    return ascending_N[np.argsort(from_centre_N, kind="stable")]


def forward_score(images: ClassImages, name: str) -> NDArray[np.float64]:
    """A score of `condhpc.scores`, (N,); raises StageError where the embeddings have none or it is not finite."""
    import numpy as np

    held = images.scores.get(name)
    if held is None or held.shape != (images.count,):
        found = f"only {sorted(images.scores)}" if held is None else f"an array {held.shape}"
        raise StageError(
            f"score '{name}': found {found}, expected ({images.count},); embeddings by a teacher of this dataset hold "
            "one for each image: set `encoder` to teacher:<role>, and submit again"
        )
    score_N = held.astype(np.float64)
    _require(np.isfinite(score_N), f"score '{name}' is NaN or infinite", "the network has diverged: train it again")
    return score_N


def mean_over_members(images: ClassImages, of_member: Callable[[Member], NDArray[np.float64]]) -> NDArray[np.float64]:
    """The mean of a score over all networks whose training is known; raises StageError where none is."""
    import numpy as np

    if not images.dynamics:
        raise StageError("training dynamics: found none, expected those of the role 'proxy'; see `needs`")
    for member in images.dynamics:
        for name, array in member.items():
            if array.ndim != 2 or array.shape[1] != images.count:
                raise StageError(f"dynamics '{name}': found {array.shape}, expected (epochs, {images.count})")
    return np.asarray(np.mean([of_member(member) for member in images.dynamics], axis=0), dtype=np.float64)


def mean_margin(member: Member) -> NDArray[np.float64]:
    """Margin of each image, averaged over the epochs in which it was seen (AUM; Pleiss et al., NeurIPS 2020)."""
    import numpy as np

    margin_EN = member["margin"].astype(np.float64)
    seen_EN = _seen(margin_EN, "margin")
    return np.asarray(np.where(seen_EN, margin_EN, 0.0).sum(axis=0) / seen_EN.sum(axis=0))


def early_error(member: Member, epoch_share: float) -> NDArray[np.float64]:
    """EL2N at the end of a share of the epochs, at least one; where an image was not seen then, the last before."""
    import numpy as np

    epochs = max(1, int(len(member["el2n"]) * epoch_share + 0.5))
    error_EN = member["el2n"][:epochs].astype(np.float64)
    seen_EN = _seen(error_EN, "el2n")
    last_N = epochs - 1 - seen_EN[::-1].argmax(axis=0)
    return np.asarray(error_EN[last_N, np.arange(error_EN.shape[1])])


def forgetting_count(member: Member) -> NDArray[np.float64]:
    """Times that each image went from right to wrong; the number of epochs where it never was right.

    An epoch in which an image was not seen (its margin is NaN) neither forgets nor learns.
    """
    import numpy as np

    correct_EN = member["correct"].astype(bool)
    seen_EN = _seen(member["margin"].astype(np.float64), "margin")
    epochs, count = correct_EN.shape
    was_right_N, ever_N, forgotten_N = np.zeros(count, bool), np.zeros(count, bool), np.zeros(count)
    for correct_N, seen_N in zip(correct_EN, seen_EN, strict=True):
        forgotten_N += seen_N & was_right_N & ~correct_N
        was_right_N = np.where(seen_N, correct_N, was_right_N)
        ever_N |= seen_N & correct_N
    return np.where(ever_N, forgotten_N, float(epochs))


def _seen(values_EN: NDArray[np.float64], name: str) -> NDArray[np.bool_]:
    """Where there is a number; raises StageError for an image without any, and for infinite ones."""
    import numpy as np

    seen_EN = ~np.isnan(values_EN)
    advice = "train the proxy for at least one whole epoch"
    _require(np.logical_or.reduce(seen_EN), f"dynamics '{name}' are NaN in every epoch that counts", advice)
    _require(
        np.logical_and.reduce(~np.isinf(values_EN)),
        f"dynamics '{name}' are infinite",
        "the proxy diverged, so train it again, or knows one class alone, where no image is harder than another",
    )
    return seen_EN


def _require(sound_N: NDArray[np.bool_], what: str, advice: str) -> None:
    import numpy as np

    bad = np.flatnonzero(~sound_N)
    if bad.size:
        raise StageError(
            f"{what} for {bad.size} of {len(sound_N)} images of the class (first: position {bad[0]}); {advice}"
        )
