"""What a plan is going to cost, by stage and condenser: the cost model, calibrated by what the store has recorded."""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Literal, NamedTuple

import msgspec

from condhpc import ledger, store
from condhpc.context import input_stage
from condhpc.cost_model import REFERENCE, Effort, Gpu, gpu_named
from condhpc.efforts import Efforts, precision_of
from condhpc.errors import CondhpcError, StoreError
from condhpc.facts import Facts
from condhpc.layout import Layout
from condhpc.ledger import Entry
from condhpc.planned import Plan, Planned
from condhpc.profile import Profile
from condhpc.set_costs import cost_of
from condhpc.spec import STAGES, CondenseSpec, DatasetSpec, PrepareSpec, Stage, Task

_SAMPLED, _OF_A_KIND = 100, 20
"""Records that calibrate: of a stage (folders are named after digests, so the first are a random sample), and of each
kind of a plan's own tasks, so that rare ones are heard."""
_ALIKE = 10.0
"""On a CPU only records of a tenth to ten times the work are taken for a measure of it."""
_TEST_PER_CLASS = 50
"""Test images of a dataset that is not here, ImageNet's number."""

Kind = tuple[Stage, str]
"""Stage, and of condense the condenser, of prepare the method."""


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the tasks of one kind that are to be computed will cost."""

    stage: Stage
    condenser: str
    """Whose preparations or sets these are; empty for the other stages."""
    tasks: int
    """To be computed: neither recorded nor live."""
    device: Literal["gpu", "cpu"]
    gpu: str
    """Kind of GPU that hours are of; empty on a CPU."""
    predicted_h: float | None
    """GPU-hours by the model alone; None on a CPU, or where nothing is known of any task."""
    expected_h: float | None
    """GPU-hours (CPU-hours on a CPU) after calibration; None where nothing is known of any task."""
    unknown: int
    """Tasks that are in neither number."""
    records: int
    """Of this kind on that kind of GPU, or on CPUs, that were looked at."""
    recorded_h: float
    """What these took."""
    recorded_predicted_h: float | None
    """What the model says of them; None on a CPU."""


class _Case(NamedTuple):
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

    def cases(self, stage: Stage, keys: Iterable[str]) -> Iterator[_Case]:
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
            yield _Case(_kind(task), gpu, effort.work_s(precision), predicted_s, measured_s)

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
        found = (path for fan in sorted(folder.glob("[0-9a-f][0-9a-f]")) for path in sorted(fan.iterdir()))
        for _, path in zip(range(_SAMPLED), found, strict=False):
            yield stage, path.name

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


def cost_rows(
    planned: Plan, new: Collection[str], facts: Mapping[str, Facts], profile: Profile, layout: Layout
) -> list[CostRow]:
    """One row per stage, and in condense per condenser, that has something to compute; in the order of the plan."""
    todo: dict[Kind, list[Planned]] = defaultdict(list)
    done: dict[Kind, list[str]] = defaultdict(list)
    for item in planned.tasks:
        if item.key in new:
            todo[_kind_of(item)].append(item)
        elif len(done[_kind_of(item)]) < _OF_A_KIND:
            done[_kind_of(item)].append(item.key)
    held = Recorded(layout, facts)
    by_key = {item.key: item.task for item in planned.tasks}
    forecast = Efforts(lambda task, role: by_key.get(task.inputs[role]), held.images)
    cases: list[_Case] = []
    for stage in dict.fromkeys(stage for stage, _ in todo):
        cases += held.cases(
            stage, (key for kind, keys in done.items() if kind in todo for key in keys if kind[0] == stage)
        )
    order = sorted(todo, key=lambda kind: STAGES.index(kind[0]))
    return [
        _Sum(kind, profile, [c for c in cases if c.kind == kind]).row(_grouped(todo[kind], forecast)) for kind in order
    ]


def _kind_of(item: Planned) -> Kind:
    """By the label: a set made elsewhere has its own name there."""
    return item.task.stage, (item.label.condenser or "") if item.task.stage in {"prepare", "condense"} else ""


def _threads(entry: Entry) -> int:
    return int(entry.environment.get("threads", 1))


def _kind(task: Task) -> Kind:
    spec = task.spec
    if isinstance(spec, PrepareSpec):
        return task.stage, spec.method
    return task.stage, spec.condenser if isinstance(spec, CondenseSpec) else ""


class _Group(NamedTuple):
    """Tasks that differ in seeds alone."""

    task: Task
    effort: Effort | None
    tasks: int


def _grouped(items: Iterable[Planned], efforts: Efforts) -> list[_Group]:
    """Each distinct task once: a plan of 100,000 has a few hundred of them."""
    first: dict[tuple[object, ...], Planned] = {}
    counts: Counter[tuple[object, ...]] = Counter()
    for item in items:
        label, stage = item.label, item.task.stage
        own = item.key if stage in {"teacher", "embed"} else ""
        parts = label.role, label.shard
        which = (own, label.dataset, label.condenser, label.ipc, label.protocol, label.student, label.metric, *parts)
        first.setdefault(which, item)
        counts[which] += 1
    return [_Group(item.task, efforts.of(item.task), counts[which]) for which, item in first.items()]


@dataclass
class _Sum:
    """The sums of one kind, on the device that the profile gives it."""

    kind: Kind
    profile: Profile
    cases: list[_Case]
    gpu: Gpu | None = field(init=False)
    """None on a CPU."""
    gpu_name: str = field(init=False, default="")

    def __post_init__(self) -> None:
        wanted = self.profile.stage(self.kind[0])
        self.gpu = None
        if wanted.gpus and self.profile.device != "cpu":
            names = Counter(case.gpu for case in self.cases if case.gpu)
            self.gpu_name = wanted.gpu_type or (names.most_common(1)[0][0] if names else REFERENCE.name)
            self.gpu = gpu_named(self.gpu_name) or REFERENCE
        self.cases = [case for case in self.cases if self._is_like(case)]

    def _is_like(self, case: _Case) -> bool:
        """Whether a record was made on such a device."""
        if self.gpu is None or not case.gpu:
            return self.gpu is None and not case.gpu
        known = gpu_named(case.gpu)
        return known == self.gpu if known is not None else case.gpu == self.gpu_name

    def row(self, groups: list[_Group]) -> CostRow:
        """Of all tasks of the kind."""
        model_s = [(group, self._model_s(group)) for group in groups]
        expected_s = [(group, self._expected_s(group, s)) for group, s in model_s]
        unknown = sum(group.tasks for group, s in expected_s if s is None)
        predicted_s = math.fsum(case.predicted_s for case in self.cases)
        return CostRow(
            stage=self.kind[0],
            condenser=self.kind[1],
            tasks=sum(group.tasks for group in groups),
            device="cpu" if self.gpu is None else "gpu",
            gpu=self.gpu_name,
            predicted_h=None if self.gpu is None else _hours(model_s),
            expected_h=_hours(expected_s),
            unknown=unknown,
            records=len(self.cases),
            recorded_h=math.fsum(case.measured_s for case in self.cases) / 3600,
            recorded_predicted_h=None if self.gpu is None else predicted_s / 3600,
        )

    def _model_s(self, group: _Group) -> float | None:
        if group.effort is None:
            return None
        threads = self.profile.stage(self.kind[0]).threads
        return group.effort.seconds(self.gpu or REFERENCE, precision_of(group.task), threads)

    def _expected_s(self, group: _Group, model_s: float | None) -> float | None:
        if group.effort is None or model_s is None:
            return None
        if self.gpu is not None:
            predicted_s = math.fsum(case.predicted_s for case in self.cases)
            measured_s = math.fsum(case.measured_s for case in self.cases)
            return model_s * (measured_s / predicted_s if predicted_s else 1.0)
        work_s = group.effort.work_s(precision_of(group.task))
        alike = [c for c in self.cases if work_s / _ALIKE <= c.work_s <= work_s * _ALIKE and c.work_s]
        if not alike:
            return None
        return work_s * math.fsum(c.measured_s for c in alike) / math.fsum(c.work_s for c in alike)


def _hours(found: Iterable[tuple[_Group, float | None]]) -> float | None:
    known = [group.tasks * seconds for group, seconds in found if seconds is not None]
    return math.fsum(known) / 3600 if known else None
