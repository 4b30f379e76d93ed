"""What a plan is made of: tasks under their keys with labels for people, and cells for tables."""

from __future__ import annotations

import gc
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from condhpc import keys
from condhpc.spec import STAGES, Spec, Stage, Task


class Label(msgspec.Struct, frozen=True, gc=False, omit_defaults=True):
    """What people call a task. A task that several cells share carries the label of the first."""

    dataset: str | None = None
    condenser: str | None = None
    ipc: int | None = None
    protocol: str | None = None
    student: str | None = None
    set_seed: int | None = None
    student_seed: int | None = None
    metric: str | None = None
    role: str | None = None
    """Teacher role (`single`, `committee.0`), an embedding's encoder (`teacher:judge`, `teacher:judge on test`), or a
    preparation."""
    shard: str | None = None
    """Which part of a condensed set a task makes: `2/8`."""


class Planned(msgspec.Struct, frozen=True, gc=False):
    """One task of a plan."""

    key: str
    task: Task
    label: Label


class Cell(msgspec.Struct, frozen=True, omit_defaults=True):
    """One line of the result table before seeds are averaged, with the keys that fill it."""

    dataset: str
    condenser: str
    ipc: int | None
    """None for a whole schedule on all data."""
    protocol: str
    student: str
    sets: tuple[tuple[int | None, str], ...]
    """(set seed, key of the condensed set)."""
    evaluations: tuple[tuple[int | None, int, str], ...]
    """(set seed, student seed, key of the evaluation)."""
    analyses: tuple[tuple[int | None, str, str], ...] = ()
    """(set seed, metric, key of the analysis)."""


class Plan(msgspec.Struct, frozen=True):
    """All tasks that a manifest needs, each once, inputs before what consumes them."""

    name: str
    tasks: list[Planned]
    cells: list[Cell]
    warnings: tuple[str, ...]
    provisional: bool
    """Whether a dataset's files are not here, so that its keys will be others where they are."""


class Encoded:
    """A spec and its canonical bytes, encoded once for all tasks that share it."""

    __slots__ = ("data", "spec")

    def __init__(self, spec: Spec) -> None:
        self.spec = spec
        self.data = keys.encode(spec)


class Sheet:
    """Tasks collected so far, each key once, by stage."""

    def __init__(self) -> None:
        self._tasks: dict[Stage, dict[str, Planned]] = {stage: {} for stage in STAGES}

    def add(self, stage: Stage, spec: Encoded, inputs: dict[str, str], version: tuple[int, int], label: Label) -> str:
        """The key of a task, which is noted if it is new."""
        key = keys.digest(keys.preimage_of(stage, spec.data, inputs, version))
        tasks = self._tasks[stage]
        if key not in tasks:
            task = Task(stage=stage, spec=spec.spec, inputs=inputs, version=version)
            tasks[key] = Planned(key, task, label)
        return key

    def ordered(self) -> list[Planned]:
        """All tasks, stage by stage: whatever a task consumes stands before it."""
        return [planned for stage in STAGES for planned in self._tasks[stage].values()]


@contextmanager
def no_collection() -> Iterator[None]:
    """Hundreds of thousands of new objects and no garbage: collection would only walk them again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()
