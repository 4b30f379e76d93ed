"""What a distillation method is: from real images and teachers to a condensed set, group by group."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, NamedTuple, Protocol

from condhpc.registry import Plugin
from condhpc.spec import CondenseSpec, PrepareSpec

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from condhpc.arrays import Embeddings
    from condhpc.datasets.base import Split


class Unit(NamedTuple):
    """Images that are made together: one state, one set of random streams, one name in messages."""

    name: str
    """`ipc 3, classes 100-199`."""
    labels: tuple[int, ...]
    """Class of each image."""
    places: tuple[int, ...]
    """Which image of its class each one is, 0..ipc−1."""


Group = tuple[Unit, ...]
"""Units that share forward passes. Which do is part of a task's parameters, because rounding depends on it."""


class Reporter(Protocol):
    """The part of the task's context that work is reported to."""

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """Report progress at a safe point; saves and raises Stopped where the task must end now."""

    def checkpoint(self) -> Path | None:
        """The newest checkpoint that an earlier attempt left, if any."""


class Steps(Protocol):
    """Safe points of one group, or of one preparation."""

    @property
    def resumed(self) -> dict[str, Any] | None:
        """What `state` of an earlier attempt at the same work gave; None: start."""

    def tick(self, step: int, total: int, state: Callable[[], dict[str, Any]] | None = None, **values: float) -> None:
        """Note that `step` of `total` is done, and values such as the loss.

        A due checkpoint holds `state()`: tensors on the CPU or a device, numbers and strings, in dicts and lists.
        Raises Stopped, with a checkpoint left, where the task must end now.
        """


@dataclass(frozen=True, kw_only=True)
class Given:
    """All that a method or a preparation may use beside its spec."""

    params: Any
    """Settled."""
    train: Split
    device: str
    """`cpu` or `cuda`."""
    teachers: Mapping[str, nn.Module]
    """Frozen eval-mode teachers by role (of a committee `role.0`, `role.1`, …), on `device`."""
    embeddings: Mapping[str, Embeddings]
    prepared: Mapping[str, Mapping[str, NDArray[Any]]]
    """Arrays of preparations by role."""
    steps: Steps
    compile: str = ""
    """Mode of torch.compile for forward passes that are many; empty: none."""


@dataclass(frozen=True, kw_only=True)
class Work(Given):
    """All that a method may use. A stream is named per class, image or unit, never per shard."""

    spec: CondenseSpec
    stream: Callable[..., np.random.Generator]
    """`stream("crops", label)`: the random stream of that name under the set seed."""


@dataclass(frozen=True, kw_only=True)
class Preparing(Given):
    """All that a preparation may use. It has no seed: all sets share what it finds."""

    spec: PrepareSpec


class Preparation(Plugin):
    """What a method computes from the data once for all its sets: a task of its own, kept in one file."""

    @abstractmethod
    def prepare(self, work: Preparing) -> dict[str, NDArray[Any]]:
        """Named arrays. Raises Stopped (through `work.steps.tick`), StageError where a number is not finite."""


class Method(Plugin):
    """A distillation method; one subclass per file."""

    default_set_seeds: Sequence[int] = (0,)
    preparations: ClassVar[Mapping[str, Preparation]] = {}
    """By the name that `Need(stage="prepare")` gives as its source."""

    @abstractmethod
    def groups(self, spec: CondenseSpec, params: Any) -> list[Group]:
        """Every image of every class exactly once, in an order that depends on the arguments alone; no torch here."""

    @abstractmethod
    def condense(self, work: Work, group: Group) -> NDArray[np.uint8]:
        """The images (n, R, R, 3) of a group's units, one unit after the other.

        Raises Stopped (through `work.steps.tick`), StageError where it diverges.
        """


class ClassByClass(Method):
    """A method that makes each class on its own: a class is a unit, and a group."""

    def groups(self, spec: CondenseSpec, params: Any) -> list[Group]:
        """A unit per class."""
        del params
        places = tuple(range(spec.ipc))
        return [(Unit(f"class {label}", (label,) * spec.ipc, places),) for label in range(spec.dataset.classes)]

    def condense(self, work: Work, group: Group) -> NDArray[np.uint8]:
        """The class's images."""
        return self.class_images(work, group[0].labels[0])

    @abstractmethod
    def class_images(self, work: Work, label: int) -> NDArray[np.uint8]:
        """The images (ipc, R, R, 3) of one class."""
