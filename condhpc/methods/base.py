"""What a distillation method is: from real images and teachers to a condensed set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from condhpc.registry import Plugin
from condhpc.spec import CondenseSpec

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from torch import nn

    from condhpc.arrays import CondensedSet, Embeddings
    from condhpc.datasets.base import Split


class Reporter(Protocol):
    """The part of the task's context that a method talks to."""

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """Report progress at a safe point; saves and raises Stopped where the task must end now."""

    def checkpoint(self) -> Path | None:
        """The newest checkpoint that an earlier attempt left, if any."""


class Unit(NamedTuple):
    """Images that are made together: one state, one name in messages."""

    name: str
    """Such as `ipc 3, classes 100-199`."""
    labels: tuple[int, ...]
    """Class of each image."""
    places: tuple[int, ...]
    """Which image of its class each one is, 0..ipc-1."""


Group = tuple[Unit, ...]
"""Units that share forward passes; each keeps its own statistics and streams."""


class Steps(Protocol):
    """The progress of one group."""

    resumed: dict[str, Any] | None
    """What `state` of an earlier attempt at this group gave; None: start."""

    def tick(self, step: int, total: int, state: Callable[[], dict[str, Any]] | None = None, **values: float) -> None:
        """Safe point: progress, a checkpoint where one is due; raises Stopped where the task must end."""


@dataclass(frozen=True)
class Work:
    """All that a method may use. Work is split over `classes`; a stream is named per class, never per shard."""

    spec: CondenseSpec
    params: Any
    train: Split
    classes: Sequence[int]
    """Labels to condense here: all of them, or those of one shard."""
    device: str
    """`cpu` or `cuda`."""
    stream: Callable[..., np.random.Generator]
    """`stream("crops", label)`: the random stream of that name under the set seed."""
    teachers: dict[str, nn.Module]
    """Frozen eval-mode teachers by role, on `device`."""
    embeddings: dict[str, Embeddings]
    report: Reporter
    steps: Any = None


class Method(Plugin):
    """A distillation method; one subclass per file."""

    default_set_seeds: Sequence[int] = (0,)

    @abstractmethod
    def condense(self, work: Work) -> CondensedSet:
        """Exactly `spec.ipc` images of each class in `work.classes`, class-major in that order.

        Raises Stopped (through `work.report.tick`) with a checkpoint left, StageError where it diverges.
        """
