"""What a measure of a condensed set is."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal

from msgspec import Meta

from condhpc.errors import StageError
from condhpc.registry import Plugin
from condhpc.spec import ENCODER_PATTERN, ENCODERS, Need, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class MetricParams(Value, frozen=True):
    """Parameters of every measure over embeddings."""

    encoder: Annotated[str, Meta(description=ENCODERS, pattern=ENCODER_PATTERN)] = "teacher:judge"


class Measurement(Value, frozen=True):
    """One measure of one condensed set."""

    value: float | None
    """The headline: mean over classes unless the metric's docstring says otherwise. None: has no meaning here."""
    per_class: tuple[float | None, ...]
    reason: str = ""
    """Why `value` is None."""


@dataclass(frozen=True)
class Points:
    """One class: real points and the condensed set's points in the same space."""

    real_ND: NDArray[np.floating[Any]]
    set_MD: NDArray[np.floating[Any]]
    own_M: NDArray[np.int64]
    """For each set point its row among the real points, or −1 where it is not one of them."""


class Metric(Plugin):
    """A measure; one subclass per file."""

    Params = MetricParams
    seeded = False
    unit: ClassVar[str]
    better: ClassVar[Literal["lower", "higher"]]

    def needs(self, params: Any) -> dict[str, Need]:
        """Embeddings of the training split under the role `embedding`."""
        return {"embedding": Need(stage="embed", source=params.encoder)}

    @abstractmethod
    def compute(self, classes: list[Points], params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""


def mean_over_classes(values: Iterable[float | None], reason: str = "") -> Measurement:
    """The headline is the mean over classes, or None with its reason where any class has no value."""
    per_class = tuple(values)
    known = [value for value in per_class if value is not None]
    if reason or not known or len(known) < len(per_class):
        return Measurement(value=None, per_class=per_class, reason=reason or "a class has no value")
    return Measurement(value=sum(known) / len(known), per_class=per_class)


def centred(label: int, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Real and set points in double precision around the real mean (distances keep more digits there).

    Raises StageError where a class has no points or one of them is NaN or infinite.
    """
    import numpy as np

    real_ND, set_MD = points.real_ND.astype(np.float64), points.set_MD.astype(np.float64)
    if not len(real_ND) or not len(set_MD):
        raise StageError(f"class {label}: {len(real_ND)} real and {len(set_MD)} set points, expected both above 0")
    for name, vectors in (("real", real_ND), ("set", set_MD)):
        bad = np.flatnonzero(~np.isfinite(vectors).all(axis=1))
        if bad.size:
            raise StageError(
                f"class {label}: {bad.size} of {len(vectors)} {name} embeddings are NaN or infinite (first: row "
                f"{bad[0]}); the encoder has diverged or overflowed: train it again or choose another encoder"
            )
    mean_D = real_ND.mean(axis=0)
    return real_ND - mean_D, set_MD - mean_D
