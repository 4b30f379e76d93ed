"""What a store's tasks consumed beside what the model says of them, read when asked for."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import NamedTuple

import msgspec

from condhpc import ledger, power, store
from condhpc.context import input_stage
from condhpc.cost_model import REFERENCE, Effort, gpu_named
from condhpc.efforts import Efforts, precision_of
from condhpc.errors import CondhpcError, StoreError
from condhpc.facts import Facts
from condhpc.layout import Layout
from condhpc.ledger import Entry
from condhpc.set_costs import cost_of
from condhpc.spec import CondenseSpec, DatasetSpec, PrepareSpec, Stage, Task

_SAMPLED = 100
"""Records of a stage that calibrate: folders are named after digests, so the first are a random sample."""
_TEST_PER_CLASS = 50
"""Test images of a dataset that is not here, ImageNet's number."""


class Kind(NamedTuple):
    """Tasks that calibrate each other."""

    stage: Stage
    condenser: str
    """Of condense the condenser, of prepare the method; empty for the other stages."""
    dataset: str


class Case(NamedTuple):
    """One record beside what the model says of its task."""

    kind: Kind
    gpu: str
    """As CUDA calls it; empty on a CPU."""
    work_s: float
    """On the reference GPU, without the start."""
    predicted_s: float
    """On its own GPU."""
    measured_s: float
    """GPU-seconds, or CPU-seconds on a CPU."""
    wall_s: float
    energy_j: float | None
    """None: not measured."""


class Recorded:
    """Tasks of a store with what they consumed, read when asked for."""

    def __init__(self, layout: Layout, facts: Mapping[str, Facts] | None = None) -> None:
        """`facts`: of datasets whose files were listed already."""
        self._layout = layout
        self._facts = {held.digest: held for held in (facts or {}).values()}
        self._counts = cache(self._counted)
        self._tasks = cache(self._read)
        self.efforts = Efforts(self._input, self.images)

    def gpu_s(self, entry: Entry) -> float | None:
        """What the model says of a recorded task on the GPU that it had; None without one, or a word on it."""
        gpu = str(entry.environment.get("gpu", ""))
        task = self.task(entry.stage, entry.key) if gpu else None
        effort = self._effort(task) if task is not None else None
        if task is None or effort is None:
            return None
        return effort.seconds(gpu_named(gpu) or REFERENCE, precision_of(task), _threads(entry))

    def cases(self, stage: Stage, keys: Iterable[str]) -> Iterator[Case]:
        """Those of these tasks, and of others of the stage, that have a record and are known to the model."""
        some = dict.fromkeys((stage, key) for key in keys) | dict.fromkeys(self._some(stage))
        for entry in ledger.read(self._layout, some).entries.values():
            task = self.task(stage, entry.key)
            if task is None:
                continue
            gpu, effort = str(entry.environment.get("gpu", "")), self._effort(task)
            measured_s = cost_of(entry, "gpu_s" if gpu else "cpu_s")
            if effort is None or not measured_s:
                continue
            precision = precision_of(task)
            predicted_s = effort.seconds(gpu_named(gpu) or REFERENCE, precision, _threads(entry))
            yield Case(
                kind=kind_of(task),
                gpu=gpu,
                work_s=effort.work_s(precision),
                predicted_s=predicted_s,
                measured_s=measured_s,
                wall_s=entry.cost.get("wall_s", 0.0),
                energy_j=power.joules(entry.energy, gpu=bool(gpu)),
            )

    def _effort(self, task: Task) -> Effort | None:
        try:
            return self.efforts.of(task)
        except (CondhpcError, msgspec.ValidationError):  # a plug-in, or a version of it, that is not installed here
            return None

    def task(self, stage: Stage, key: str) -> Task | None:
        """None where there is none that can be read."""
        return self._tasks(stage, key)

    def images(self, dataset: DatasetSpec, split: str) -> int:
        """Images in a split, by the facts at hand or the index under the root; 0 where nobody knows."""
        facts = self._facts.get(dataset.index)
        if facts is not None and facts.index is None and split == facts.info.test_split:
            return _TEST_PER_CLASS * facts.info.classes
        return facts.images(split) if facts is not None else self._counts(dataset.index).get(split, 0)

    def _some(self, stage: Stage) -> Iterator[tuple[Stage, str]]:
        folder = self._layout.root / "store" / stage
        found = (name for fan in sorted(folder.glob("[0-9a-f][0-9a-f]")) for name in _names(fan))
        for _, name in zip(range(_SAMPLED), found, strict=False):
            yield stage, name

    def _input(self, task: Task, role: str) -> Task | None:
        return self.task(input_stage(task, role), task.inputs[role])

    def _read(self, stage: Stage, key: str) -> Task | None:
        try:
            return store.read_task(self._layout.task(stage, key))
        except StoreError:
            return None

    def _counted(self, digest: str) -> dict[str, int]:
        try:
            found = msgspec.json.decode(self._layout.index(digest).read_bytes(), type=_Counts)
        except (OSError, msgspec.MsgspecError):
            return {}
        return {name: len(split.labels) for name, split in found.splits.items()}


class _Labels(msgspec.Struct):
    labels: tuple[int, ...]


class _Counts(msgspec.Struct):
    """What of an index tells sizes."""

    splits: dict[str, _Labels]


def kind_of(task: Task) -> Kind:
    """By its spec: a set made elsewhere is `external` here."""
    spec = task.spec
    name = ""
    if isinstance(spec, PrepareSpec):
        name = spec.method
    elif isinstance(spec, CondenseSpec):
        name = spec.condenser
    return Kind(task.stage, name, spec.dataset.name)


def _names(folder: Path) -> list[str]:
    try:
        return sorted(path.name for path in folder.iterdir())
    except PermissionError:  # others' tasks on a shared root: a sample does without
        return []


def _threads(entry: Entry) -> int:
    return int(entry.environment.get("threads", 1))
