"""What a distillation method is: from real images and teachers to a condensed set."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

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


class Method(Plugin):
    """A distillation method; one subclass per file."""

    default_set_seeds: Sequence[int] = (0,)

    @abstractmethod
    def condense(self, work: Work) -> CondensedSet:
        """Exactly `spec.ipc` images of each class in `work.classes`, class-major in that order.

        Raises Stopped (through `work.report.tick`) with a checkpoint left, StageError where it diverges.
        """
