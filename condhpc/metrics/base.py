"""What a measure of a condensed set is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

import msgspec
from msgspec import Meta

from condhpc.cost_model import FORWARD, Effort, Passes, network
from condhpc.errors import StageError
from condhpc.registry import Plugin
from condhpc.spec import ENCODER_PATTERN, ENCODERS, Need, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.cost_model import Sources
    from condhpc.spec import AnalyzeSpec

    Kept = Callable[[str, Callable[[], NDArray[np.float64]]], NDArray[np.float64]]


_VECTOR_BYTES = 2048
"""Of a ResNet-18's feature in single precision, for predictions."""


class MetricParams(Value, frozen=True):
    """Parameters of every measure over embeddings."""

    encoder: Annotated[str, Meta(description=ENCODERS, pattern=ENCODER_PATTERN)] = "teacher:judge"


class PooledParams(MetricParams, frozen=True):
    """Parameters of measures that also look at all classes at once."""

    pooled_points: Annotated[
        int,
        Meta(ge=0, description="real points of all classes, drawn at random, for the pooled value; 0: no such value"),
    ] = 10000


class Measurement(Value, frozen=True):
    """One measure of one condensed set."""

    value: float | None
    """The headline: mean over classes unless the metric's docstring says otherwise. None: has no meaning here."""
    per_class: tuple[float | None, ...]
    reason: str = ""
    """Why `value` is None."""
    pooled: float | None = None
    """All classes as one, where that means something."""
    reference: float | None = None
    """What as many real points drawn at random would have, where that is known: of `value`."""
    low: float | None = None
    """95 % interval of `value`, over what `interval_over` names; set points are never resampled."""
    high: float | None = None
    interval_over: str = ""
    details: dict[str, list[float] | float] = msgspec.field(default_factory=dict)
    """Anything more, by name."""


@dataclass(frozen=True)
class Points:
    """One class: real points and the condensed set's points in the same space."""

    real_ND: NDArray[np.floating[Any]]
    set_MD: NDArray[np.floating[Any]]
    own_M: NDArray[np.int64]
    """For each set point its row among the real points, or −1 where it is not one of them."""
    heldout_HD: NDArray[np.floating[Any]] | None = None
    """Real points of the test split; None where `needs` does not ask for them."""
    scores: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """What the encoder's classifier makes of each set point, (M,) by name (see `condhpc.scores`); empty without one."""


def _computed(name: str, compute: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
    """Keep nothing."""
    del name
    return compute()


def _stream(*names: str | int) -> np.random.Generator:
    """The stream of that name under seed 0: the same for all sets, so that they are compared on the same draws."""
    from condhpc import rng

    return rng.stream(0, "metric", *names)


@dataclass(frozen=True)
class Scene:
    """All that a measure sees."""

    classes: Sequence[Points]
    """Label order. A class may be read from disk each time it is asked for: hold few at a time."""
    device: str = "cpu"
    kept: Kept = _computed
    """`kept(name, compute)`: an array that depends on the real points alone, computed once per embedding. The name
    says what it is, with all parameters."""
    stream: Callable[..., np.random.Generator] = _stream
    """Random streams by name."""


class Metric(Plugin):
    """A measure; one subclass per file."""

    Params = MetricParams
    seeded = False
    unit: ClassVar[str]
    better: ClassVar[Literal["lower", "higher"]]

    def needs(self, params: Any) -> dict[str, Need]:
        """Embeddings of the training split under the role `embedding`."""
        return {"embedding": Need(stage="embed", source=params.encoder)}

    def cost(self, spec: AnalyzeSpec, params: Any, sources: Sources) -> Effort | None:
        """The set through the encoder, and the embeddings read once; the measure itself is little beside that."""
        del params
        images, nets = sources.set_images, (network(a) for archs in sources.archs.values() for a in archs)
        passes = (
            Passes(net, spec.dataset.resolution, images, images / 256, FORWARD) for net in nets if net is not None
        )
        return Effort(tuple(passes), read_bytes=sources.images * _VECTOR_BYTES)

    @abstractmethod
    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""


def mean_over_classes(values: Iterable[float | None], reason: str = "", **more: Any) -> Measurement:
    """The headline is the mean over classes, or None with its reason where any class has no value.

    `more` are other fields of the measurement; an interval and a reference go where there is no headline.
    """
    per_class = tuple(values)
    known = [value for value in per_class if value is not None]
    if reason or not known or len(known) < len(per_class):
        for name in ("low", "high", "interval_over", "reference"):
            more.pop(name, None)
        return Measurement(value=None, per_class=per_class, reason=reason or "a class has no value", **more)
    return Measurement(value=sum(known) / len(known), per_class=per_class, **more)


def checked(label: int, points: Points) -> Points:
    """The same points; raises StageError where a class has no points or one of them is NaN or infinite."""
    if not len(points.real_ND) or not len(points.set_MD):
        raise StageError(
            f"class {label}: {len(points.real_ND)} real and {len(points.set_MD)} set points, expected both above 0"
        )
    for name, vectors in (("real", points.real_ND), ("set", points.set_MD), ("held-out", points.heldout_HD)):
        if vectors is not None:
            _require_finite(label, name, vectors)
    return points


def _require_finite(label: int, name: str, vectors_ND: NDArray[np.floating[Any]]) -> None:
    import numpy as np

    bad = np.flatnonzero(~np.isfinite(vectors_ND).all(axis=1))
    if bad.size:
        raise StageError(
            f"class {label}: {bad.size} of {len(vectors_ND)} {name} embeddings are NaN or infinite (first: row "
            f"{bad[0]}); the encoder has diverged or overflowed: train it again or choose another encoder"
        )


def centred(label: int, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Real and set points in double precision around the real mean (distances keep more digits there).

    Raises StageError where a class has no points or one of them is NaN or infinite.
    """
    import numpy as np

    checked(label, points)
    real_ND, set_MD = points.real_ND.astype(np.float64), points.set_MD.astype(np.float64)
    mean_D = real_ND.mean(axis=0)
    return real_ND - mean_D, set_MD - mean_D


def pooled(scene: Scene, count: int) -> Points:
    """All set points, and at most `count` real points of all classes, drawn at random, the same for all sets.

    A set point whose real point was not drawn counts as new: it is as good as one more real point.
    """
    import numpy as np

    sizes = [len(points.real_ND) for points in scene.classes]
    starts = np.concatenate([[0], np.cumsum(sizes)])
    total = int(starts[-1])
    drawn_S = np.arange(total)
    if total > count:
        drawn_S = np.sort(scene.stream("pooled", count).choice(total, size=count, replace=False))
    row_of = np.full(total + 1, -1, dtype=np.int64)  # the last entry is that of "not a real point"
    row_of[drawn_S] = np.arange(len(drawn_S))
    real, chosen, own = [], [], []
    for label, points in enumerate(scene.classes):
        checked(label, points)
        of_class = drawn_S[(drawn_S >= starts[label]) & (drawn_S < starts[label + 1])] - starts[label]
        real.append(points.real_ND[of_class])
        chosen.append(points.set_MD)
        own.append(row_of[np.where(points.own_M < 0, total, points.own_M + starts[label])])
    return Points(np.concatenate(real), np.concatenate(chosen), np.concatenate(own))
