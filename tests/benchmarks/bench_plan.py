"""100,000 evaluations with their upstream tasks: read, check, expand and key, against plain json + sha256 + deepcopy.

Procedure: one process, one core, best CPU time of five alternating runs of each. Ours reads the manifest from disk,
checks it, gathers facts and expands. The rival is handed everything ready made and does the least that gives every
task a content hash: deep-copy a template, fill in what differs, dump with sorted keys, SHA-256. Both must end
with equally many distinct ids. Hours of the planned tasks are predicted apart, in the same run. Run as a script, or
with `pytest -m bench`.
"""

from __future__ import annotations

import copy
import hashlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import msgspec
import pytest

from condhpc import demands, facts, manifest, plan
from condhpc.layout import Layout
from condhpc.manifest import Manifest
from condhpc.plan import Plan
from condhpc.predictions import CostRow, cost_rows
from condhpc.profile import Profile
from condhpc.resources import StageBlock, Stages

TARGET_S = 1.5
MEASURED_RATIO = 11.0
GATE_RATIO = 0.7 * MEASURED_RATIO
HOURS_SHARE = 0.5
"""Of the time for the plan that predicting its hours may take: measured 0.28."""
EVALUATIONS = 100_000
RUNS = 5

MANIFEST = f"""
name = "large"
datasets = ["cifar10"]
condensers = ["random", "herding", "kcenter", "rded"]
ipc = [1, 2, 5, 10, 20, 50, 100, 200, 500, 1000]
protocols = ["erm", "single_teacher"]
students = ["convnet3", "resnet18"]
set_seeds = {list(range(24))}
student_seeds = {list(range(50))}
metrics = ["coverage", "covering_radius"]
[teachers.single]
arch = "resnet18"
epochs = 60
[teachers.judge]
arch = "convnet3"
epochs = 60
"""
"""10 ipc × (24 + 1 + 1 + 24) sets × 2 protocols × 2 students × 50 student seeds."""


class Result(NamedTuple):
    """Best CPU seconds of each side."""

    ours_s: float
    rival_s: float
    tasks: int
    hours_s: float
    """Predicting what all tasks will take, beside the plan itself."""

    @property
    def ratio(self) -> float:
        """How many times longer the rival takes."""
        return self.rival_s / self.ours_s


def ours(path: Path) -> Plan:
    """Everything that `condhpc plan` does before it looks at the store."""
    loaded = manifest.load(path)
    return plan.expand(loaded, facts.gather(loaded, Profile(name="bench", backend="local")))


def hours(path: Path, found: Plan) -> list[CostRow]:
    """What `condhpc plan` adds to that: hours of every task, here on a GPU and without records."""
    held = Profile(name="bench", backend="local", stages=Stages(default=StageBlock(gpus=1)))
    gathered = facts.gather(manifest.load(path), held)
    return cost_rows(found, {task.key for task in found.tasks}, gathered, held, Layout(path.parent / "root"))


class Rival:
    """Template, deepcopy, json, sha256."""

    def __init__(self, found: Plan, loaded: Manifest) -> None:
        """Templates are the first task of each kind in our plan, so both hash the same content."""
        self._manifest = loaded
        self._first: dict[tuple[Any, ...], dict[str, Any]] = {}
        for item in found.tasks:
            label = item.label
            where = (label.condenser, label.ipc, label.protocol, label.student, label.metric)
            self._first.setdefault((item.task.stage, label.role, *where), msgspec.to_builtins(item.task))

    def run(self) -> list[str]:
        """Ids of all tasks."""
        grid = self._manifest.grids[0]
        ids = [self._id(task, {}, {}) for kind, task in self._first.items() if kind[0] in {"teacher", "embed"}]
        for condenser, ipc in product(grid.condensers, grid.ipc):
            for set_seed in demands.set_seeds(self._manifest, grid, condenser):
                task = self._first["condense", None, condenser, ipc, None, None, None]
                set_id = self._id(task, {"seed": set_seed}, {})
                ids.append(set_id)
                for metric in grid.metrics:
                    task = self._first["analyze", None, condenser, ipc, None, None, metric]
                    ids.append(self._id(task, {}, {"set": set_id}))
                for protocol, student, seed in product(grid.protocols, grid.students, grid.student_seeds):
                    task = self._first["evaluate", None, condenser, ipc, protocol, student, None]
                    ids.append(self._id(task, {"seed": seed}, {"set": set_id}))
        return ids

    @staticmethod
    def _id(template: dict[str, Any], spec: dict[str, Any], inputs: dict[str, str]) -> str:
        task = copy.deepcopy(template)
        task["spec"].update(spec)
        task["inputs"].update(inputs)
        return hashlib.sha256(json.dumps(task, sort_keys=True).encode()).hexdigest()


def measure() -> Result:
    """Run both sides in turn."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "large.toml"
        path.write_text(MANIFEST)
        found = ours(path)
        rival = Rival(found, manifest.load(path))
        _require_equal_work([t.key for t in found.tasks], rival.run(), found)
        tasks = len(found.tasks)
        predict = partial(hours, path, found)
        hours_s = min(_cpu_s(predict) for _ in range(RUNS))
        del found, predict
        times = [(_cpu_s(lambda: ours(path)), _cpu_s(rival.run)) for _ in range(RUNS)]
    return Result(min(t[0] for t in times), min(t[1] for t in times), tasks, hours_s)


def _require_equal_work(keys: Sequence[str], ids: Sequence[str], found: Plan) -> None:
    assert Counter(t.task.stage for t in found.tasks)["evaluate"] == EVALUATIONS
    assert len(set(keys)) == len(keys) == len(ids) == len(set(ids))


def _cpu_s(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def report(result: Result) -> str:
    """One line for people and logs."""
    return (
        f"plan: {result.tasks:,} tasks in {result.ours_s:.2f} s (target {TARGET_S} s for {EVALUATIONS:,} evaluations), "
        f"json+sha256+deepcopy {result.rival_s:.2f} s: {result.ratio:.1f}x (measured {MEASURED_RATIO}x, "
        f"gate {GATE_RATIO:.1f}x); hours of all of them in {result.hours_s:.2f} s"
    )


@pytest.mark.bench
def test_plan_beats_the_plain_pipeline(capsys: pytest.CaptureFixture[str]) -> None:
    """The ratio in one run stays above 70 % of the one measured when this was written."""
    result = measure()
    with capsys.disabled():
        print(f"\n{report(result)}")
    assert result.ratio >= GATE_RATIO
    assert result.hours_s < HOURS_SHARE * result.ours_s


if __name__ == "__main__":
    print(report(measure()))
