"""What a plan is going to cost, by stage, condenser and dataset: the cost model, calibrated by what is recorded.

Every figure is a range: of what past records of the kind spread over, else of what the model alone holds within.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Literal, NamedTuple

import msgspec

from condhpc import power, storage
from condhpc.calibration import FEW, OFF, Basis, Spread, spread
from condhpc.context import power_of
from condhpc.cost_model import REFERENCE, Effort, Gpu, gpu_named
from condhpc.efforts import Efforts, precision_of
from condhpc.facts import Facts
from condhpc.layout import Layout
from condhpc.planned import Plan, Planned
from condhpc.power import Watts
from condhpc.profile import Profile
from condhpc.recorded import Case, Kind, Recorded
from condhpc.resources import StageResources
from condhpc.spec import STAGES, Stage, Task

__all__ = ["CostRow", "Forecast", "Recorded", "cost_rows", "forecast"]

_OF_A_KIND = 20
"""Records of each kind of a plan's own tasks that are looked at beside the sample, so that rare ones are heard."""
_ALIKE = 10.0
"""On a CPU only records of a tenth to ten times the work are taken for a measure of it."""


class CostRow(msgspec.Struct, frozen=True, kw_only=True):
    """What the tasks of one kind that are to be computed will cost."""

    stage: Stage
    condenser: str
    """Whose preparations or sets these are; empty for the other stages."""
    dataset: str = ""
    tasks: int
    """To be computed: neither recorded nor live."""
    device: Literal["gpu", "cpu"]
    gpu: str
    """Kind of GPU that hours are of; empty on a CPU."""
    predicted_h: float | None
    """GPU-hours by the model alone; None on a CPU, or where nothing is known of any task."""
    expected_h: float | None
    """GPU-hours (CPU-hours on a CPU) after calibration; None where nothing is known of any task."""
    low_h: float | None = None
    high_h: float | None = None
    """Within these it is expected; None as `expected_h`."""
    basis: Basis = "model"
    """What the range rests on."""
    of_dataset: bool = False
    """Whether the records are of this dataset alone; else of all datasets."""
    unknown: int
    """Tasks that are in neither number."""
    records: int
    """Of this kind on that kind of GPU, or on CPUs, that were looked at."""
    recorded_h: float
    """What these took."""
    recorded_predicted_h: float | None
    """What the model says of them; None on a CPU."""
    low_kwh: float | None = None
    expected_kwh: float | None = None
    high_kwh: float | None = None
    power_source: str = ""
    """Where the watts behind the kWh are from."""
    kept_bytes: float = 0.0
    """Files that stay: sets, labels, embeddings, networks."""
    kept_unknown: int = 0
    """Tasks whose files have a size that nobody knows before."""

    @property
    def off(self) -> float | None:
        """Recorded over predicted hours where they differ by more than a factor of two; else None."""
        if not self.records or not self.recorded_predicted_h:
            return None
        ratio = self.recorded_h / self.recorded_predicted_h
        return ratio if ratio > OFF or ratio < 1 / OFF else None


class Need(NamedTuple):
    """What one task needs at the most."""

    wall_s: float | None
    """Seconds with all that its element has; None where nobody knows."""


class Forecast(NamedTuple):
    """A plan's costs, and what each task to be computed needs."""

    rows: list[CostRow]
    needs: dict[str, Need]
    """By key."""


def cost_rows(
    planned: Plan, new: Collection[str], facts: Mapping[str, Facts], profile: Profile, layout: Layout
) -> list[CostRow]:
    """One row per stage, condenser and dataset that has something to compute; in the order of the plan."""
    return forecast(planned, new, facts, profile, layout).rows


def forecast(
    planned: Plan, new: Collection[str], facts: Mapping[str, Facts], profile: Profile, layout: Layout
) -> Forecast:
    """Rows in the order of the plan, and every new task's needs."""
    todo: dict[Kind, list[Planned]] = defaultdict(list)
    done: dict[Kind, list[str]] = defaultdict(list)
    for item in planned.tasks:
        if item.key in new:
            todo[_kind_of(item)].append(item)
        elif len(done[_kind_of(item)]) < _OF_A_KIND:
            done[_kind_of(item)].append(item.key)
    held = Recorded(layout, facts)
    by_key = {item.key: item.task for item in planned.tasks}
    efforts = Efforts(lambda task, role: by_key.get(task.inputs[role]), held.images)
    cases: list[Case] = []
    for stage in dict.fromkeys(kind.stage for kind in todo):
        cases += held.cases(stage, (key for kind, keys in done.items() if kind.stage == stage for key in keys))
    rows, needs = [], {}
    for kind in sorted(todo, key=lambda kind: STAGES.index(kind.stage)):
        alike = [case for case in cases if case.kind[:2] == kind[:2]]
        found = _Sum(kind, profile, alike)
        groups = _grouped(todo[kind], efforts, held)
        rows.append(found.row(groups))
        for group in groups:
            needs.update(dict.fromkeys(group.keys, Need(found.wall_s(group))))
    return Forecast(rows, needs)


def _kind_of(item: Planned) -> Kind:
    """By the label: a set made elsewhere has its own name there."""
    stage = item.task.stage
    return Kind(
        stage, (item.label.condenser or "") if stage in {"prepare", "condense"} else "", item.task.spec.dataset.name
    )


class _Group(NamedTuple):
    """Tasks that differ in seeds alone."""

    task: Task
    effort: Effort | None
    kept_bytes: float | None
    keys: list[str]


def _grouped(items: Iterable[Planned], efforts: Efforts, held: Recorded) -> list[_Group]:
    """Each distinct task once: a plan of 100,000 has a few hundred of them."""
    found: dict[tuple[object, ...], list[Planned]] = defaultdict(list)
    for item in items:
        label, stage = item.label, item.task.stage
        own = item.key if stage in {"teacher", "embed"} else ""
        parts = label.role, label.shard
        found[own, label.condenser, label.ipc, label.protocol, label.student, label.metric, *parts].append(item)
    return [
        _Group(
            first.task,
            efforts.of(first.task),
            storage.kept_bytes(first.task, efforts, held.images),
            [item.key for item in (first, *others)],
        )
        for first, *others in found.values()
    ]


@dataclass
class _Sum:
    """The sums of one kind, on the device that the profile gives it."""

    kind: Kind
    profile: Profile
    cases: list[Case]
    """Of the stage and condenser; afterwards those made on such a device, of the dataset alone where they suffice."""
    gpu: Gpu | None = field(init=False)
    """None on a CPU."""
    gpu_name: str = field(init=False, default="")
    wanted: StageResources = field(init=False)
    of_dataset: bool = field(init=False, default=False)

    def __post_init__(self) -> None:
        self.wanted = self.profile.stage(self.kind.stage)
        self.gpu = None
        if self.wanted.gpus and self.profile.device != "cpu":
            names = Counter(case.gpu for case in self.cases if case.gpu)
            self.gpu_name = self.wanted.gpu_type or (names.most_common(1)[0][0] if names else REFERENCE.name)
            self.gpu = gpu_named(self.gpu_name) or REFERENCE
        self.cases = [case for case in self.cases if self._is_like(case)]
        own = [case for case in self.cases if case.kind.dataset == self.kind.dataset]
        self.of_dataset = len(own) >= FEW or 0 < len(own) == len(self.cases)
        if self.of_dataset:
            self.cases = own

    def _is_like(self, case: Case) -> bool:
        """Whether a record was made on such a device."""
        if self.gpu is None or not case.gpu:
            return self.gpu is None and not case.gpu
        known = gpu_named(case.gpu)
        return known == self.gpu if known is not None else case.gpu == self.gpu_name

    def row(self, groups: list[_Group]) -> CostRow:
        """Of all tasks of the kind."""
        model_s = [(group, self._model_s(group)) for group in groups]
        spreads = [(group, self._seconds(group, s)) for group, s in model_s]
        known = [(group, found) for group, found in spreads if found is not None]
        low_h = _hours((len(group.keys), found.low) for group, found in known)
        expected_h = _hours((len(group.keys), found.mid) for group, found in known)
        high_h = _hours((len(group.keys), found.high) for group, found in known)
        kwh: tuple[float | None, float | None, float | None] = None, None, None
        watts = self.power()
        if low_h is not None and expected_h is not None and high_h is not None:
            kwh = watts.kwh(low_h, expected_h, high_h)
        predicted_s = math.fsum(case.predicted_s for case in self.cases)
        return CostRow(
            stage=self.kind.stage,
            condenser=self.kind.condenser,
            dataset=self.kind.dataset,
            tasks=sum(len(group.keys) for group in groups),
            device="cpu" if self.gpu is None else "gpu",
            gpu=self.gpu_name,
            predicted_h=None if self.gpu is None else _hours((len(g.keys), s) for g, s in model_s if s is not None),
            expected_h=expected_h,
            low_h=low_h,
            high_h=high_h,
            basis=known[0][1].basis if known else "model",
            of_dataset=self.of_dataset,
            unknown=sum(len(group.keys) for group, found in spreads if found is None),
            records=len(self.cases),
            recorded_h=math.fsum(case.measured_s for case in self.cases) / 3600,
            recorded_predicted_h=None if self.gpu is None else predicted_s / 3600,
            low_kwh=kwh[0],
            expected_kwh=kwh[1],
            high_kwh=kwh[2],
            power_source=watts.source if expected_h is not None else "",
            kept_bytes=math.fsum((group.kept_bytes or 0.0) * len(group.keys) for group in groups),
            kept_unknown=sum(len(group.keys) for group in groups if group.kept_bytes is None),
        )

    def power(self) -> Watts:
        """Watts of a GPU with its cores, or of a core: recorded where records tell, else nominal."""
        found = power.recorded([(case.energy_j, case.measured_s) for case in self.cases if case.energy_j is not None])
        if found is not None:
            return found
        site = power_of(self.profile)
        if self.gpu is None:
            return power.of_core(site)
        return power.of_gpu(
            self.gpu, self.gpu_name, self.wanted.cpus * self.wanted.ranks_per_node / self.wanted.gpus, site
        )

    def _model_s(self, group: _Group) -> float | None:
        if group.effort is None:
            return None
        return group.effort.seconds(self.gpu or REFERENCE, precision_of(group.task), self.wanted.threads)

    def _seconds(self, group: _Group, model_s: float | None) -> Spread | None:
        """Low, middle and high of one task, GPU-seconds or CPU-seconds."""
        if group.effort is None or model_s is None:
            return None
        if self.gpu is not None:
            return _times(model_s, spread([(case.measured_s, case.predicted_s) for case in self.cases]))
        work_s = group.effort.work_s(precision_of(group.task))
        alike = self._alike(work_s)
        return _times(work_s, spread([(c.measured_s, c.work_s) for c in alike])) if alike else None

    def wall_s(self, group: _Group) -> float | None:
        """A task that is alone in its element at the most."""
        found = self._seconds(group, self._model_s(group))
        if found is None or group.effort is None:
            return None
        if self.gpu is not None:
            return found.high * self.wanted.concurrent / self.wanted.all_gpus
        work_s = group.effort.work_s(precision_of(group.task))
        timed = [(case.wall_s, case.work_s) for case in self._alike(work_s) if case.wall_s]
        return work_s * spread(timed).high if timed else None

    def _alike(self, work_s: float) -> list[Case]:
        return [c for c in self.cases if work_s / _ALIKE <= c.work_s <= work_s * _ALIKE and c.work_s]


def _times(seconds: float, factor: Spread) -> Spread:
    return Spread(seconds * factor.low, seconds * factor.mid, seconds * factor.high, factor.basis)


def _hours(found: Iterable[tuple[int, float]]) -> float | None:
    known = [tasks * seconds for tasks, seconds in found]
    return math.fsum(known) / 3600 if known else None
