"""What a coreset strategy is: a choice of ipc real images of one class."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, NamedTuple

from msgspec import Meta

from condhpc.errors import StageError
from condhpc.registry import Plugin
from condhpc.spec import ENCODER_PATTERN, ENCODERS, DatasetInfo, Need, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class EmbeddingParams(Value, frozen=True):
    """Parameters of every strategy that looks at embeddings."""

    encoder: Annotated[str, Meta(description=ENCODERS, pattern=ENCODER_PATTERN)] = "teacher:single"


@dataclass(frozen=True)
class ClassImages:
    """One class as a strategy sees it: N images, E epochs. What `needs` does not ask for is not there."""

    count: int
    """N."""
    rng: np.random.Generator
    """The class's own stream under the set seed."""
    embeddings_ND: NDArray[np.floating[Any]] | None = None
    scores: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """What the embedding's teacher makes of each image, (N,) by name: see `condhpc.scores`."""
    dynamics: Sequence[Mapping[str, NDArray[Any]]] = ()
    """Of each member of the role `proxy`: `margin`, `correct`, `el2n`, (E, N) each (see `condhpc.dynamics`)."""


class Trials(NamedTuple):
    """Parameters to choose from: for each a student learns from a set chosen without a slice of train, its exam."""

    candidates: Sequence[Any]
    """In order of preference: of equals the first wins."""
    share: float
    """Of each class, held out."""
    student: str
    """Architecture."""
    steps: int


_MOST_PAIRED = 32_768
"""Images of a class whose distances fill 4 GiB in single precision."""


class Coreset(Plugin):
    """A coreset strategy; one subclass per file."""

    default_set_seeds: Sequence[int] = (0,)
    dynamics: Sequence[str] = ("margin", "correct", "el2n")
    """Arrays of the training of its role `proxy` that it reads, where it `needs` one."""

    def trials(self, params: Any) -> Trials | None:
        """How parameters are chosen on a hold-out slice of the training split; None: they are as given."""
        del params
        return None

    @abstractmethod
    def select(self, images: ClassImages, ipc: int, params: Any) -> NDArray[np.int64]:
        """Exactly `ipc` distinct positions in 0..N-1 of one class, in the order chosen.

        Raises StageError where the class is too small or its embeddings are not finite.
        """

    def select_many(
        self, classes: Sequence[ClassImages], ipc: int, params: Any, device: str
    ) -> list[NDArray[np.int64]]:
        """`select` for some classes at a time: one by one on a CPU, else by `select_batch`."""
        if device == "cpu":
            return [self.select(images, ipc, params) for images in classes]
        for images in classes:
            require_enough(images.count, ipc)
        return self.select_batch(classes, ipc, params, device)

    def select_batch(
        self, classes: Sequence[ClassImages], ipc: int, params: Any, device: str
    ) -> list[NDArray[np.int64]]:
        """Classes that are large enough, on a GPU; a strategy that gains from it takes each pick of all together."""
        del device
        return [self.select(images, ipc, params) for images in classes]


class EmbeddingCoreset(Coreset):
    """A strategy over embeddings of the training split."""

    Params = EmbeddingParams

    def needs(self, params: Any) -> dict[str, Need]:
        """Embeddings under the role `embedding`."""
        return {"embedding": Need(stage="embed", source=params.encoder)}


def held_out(count: int, share: float) -> int:
    """Images of a class of `count` that trials hold out: the share, rounded, at least one."""
    return max(1, round(share * count))


class PairwiseCoreset(EmbeddingCoreset):
    """A strategy that holds the distances between all images of a class."""

    def objection(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """Classes whose N × N distances no machine should be asked for."""
        del params, ipc
        largest = max(info.train_class_sizes)
        if largest <= _MOST_PAIRED:
            return ""
        needed = f"its distances take {4 * largest**2 / 2**30:.0f} GiB, expected a class of at most {_MOST_PAIRED:,}"
        return f"the largest class has {largest:,} images, {needed}; herding and kcenter need no such matrix"


def require_enough(count: int, ipc: int) -> None:
    """Raise StageError unless a class of `count` images can give `ipc` distinct ones."""
    if ipc > count:
        raise StageError(f"the class has {count} images, ipc = {ipc} asks for more; lower ipc or leave this cell out")


def finite_embeddings(images: ClassImages) -> NDArray[np.float64]:
    """A copy of a class's embeddings (N, D) in double precision; raises StageError where they are not finite."""
    import numpy as np

    from condhpc import vectors

    return np.array(vectors.of_class(images).numpy(), dtype=np.float64)
