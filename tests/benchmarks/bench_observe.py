"""A snapshot of 100,000 tasks of which few changed, against the first one, which judges all of them.

Procedure: one run of 100,000 tasks in 10 arrays of 1,000 elements of 10 tasks: half recorded, 100 elements running with
a diary each, the rest waiting. The first snapshot is timed once; then, before each of `ROUNDS` further ones, 20 running
tasks report a step, 5 tasks are recorded and one element leaves the queue. Median CPU and wall seconds of the process.
Target: less than 50 ms of work for a refresh, printed; the gate is the ratio of the two, which a slow machine keeps.
"""

from __future__ import annotations

import resource
import statistics
import time
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from benchmarks.made_plan import MadePlan

from condhpc import lease, runs
from condhpc.findings import changed
from condhpc.observe import Observer
from condhpc.planned import Label
from condhpc.runs import Intent, PlanLine, Reply
from condhpc.scheduler import Slurm
from condhpc.slurm_text import QUEUE_FORMAT, SEP, QueueRow, parse_squeue

ARRAYS, ELEMENTS, PACK = 10, 1_000, 10
RUNNING = 100
ROUNDS = 20
TARGET_S = 0.05
MEASURED_RATIO = 90.0
GATE_RATIO = 0.7 * MEASURED_RATIO


class Queue(Slurm):
    """A squeue whose answer is at hand: what an observer does with it is measured, not Slurm."""

    def __init__(self) -> None:
        super().__init__(env={})
        self.gone = 0

    def queue(self, jobs: object = None, names: object = None) -> list[QueueRow]:
        """The running elements one by one, and one row for what waits of each array."""
        del jobs, names
        half = ARRAYS // 2
        rows = [_line(f"{half}_{index}", "RUNNING", "None") for index in range(self.gone, RUNNING)]
        rows.append(_line(f"{half}_[{RUNNING}-{ELEMENTS - 1}]", "PENDING", "Priority"))
        rows += [_line(f"{job}_[0-{ELEMENTS - 1}]", "PENDING", "Priority") for job in range(half + 1, ARRAYS)]
        return parse_squeue("".join(rows))


class Result(NamedTuple):
    """What was measured."""

    first_s: float
    first_cpu_s: float
    refresh_s: float
    refresh_cpu_s: float
    longest_s: float
    changed: int
    """Rows that one refresh changed."""
    rss_mb: float


class Made(MadePlan):
    """The run on disk."""

    def __init__(self, root: Path) -> None:
        count = ARRAYS * ELEMENTS * PACK
        self.keys = [f"{number:032x}" for number in range(count)]
        label = Label("imagenette", "random", 10, "erm", "resnet18", 0, 0)
        super().__init__(root, (_planned(self.keys, at, label) for at in range(count)))
        self.run.done.mkdir()
        for job in range(ARRAYS):
            packs = tuple(tuple(self.pack(job, index)) for index in range(ELEMENTS))
            runs.append(self.run, Intent(name=f"s{job}", backend="slurm", elements=packs, time=1.0))
            runs.append(self.run, Reply(name=f"s{job}", job=str(job), time=1.0))
            for index in range(ELEMENTS if job < ARRAYS // 2 else 0):
                self.hint(job, index, *self.pack(job, index))
        self.leases = [self._begun(self.pack(ARRAYS // 2, index)[0], index) for index in range(RUNNING)]

    def pack(self, job: int, index: int) -> list[str]:
        """Keys of an element."""
        start = (job * ELEMENTS + index) * PACK
        return self.keys[start : start + PACK]

    def hint(self, job: int, index: int, *keys: str) -> None:
        """These tasks were recorded."""
        with (self.run.done / f"s{job}.{index}.jsonl").open("ab") as file:
            file.writelines(msgspec.json.encode({"key": k, "result": "recorded", "time": 1.0}) + b"\n" for k in keys)

    def _begun(self, key: str, index: int) -> lease.Lease:
        folder = self.layout.task("evaluate", key)
        folder.path.mkdir(parents=True)
        held = lease.acquire(folder, msgspec.structs.replace(lease.myself(), job=f"5_{index}"), lambda _: True)
        assert held is not None
        return held


def _planned(keys: list[str], at: int, label: Label) -> PlanLine:
    inputs = {"set": keys[at - at % PACK]} if at % PACK else {}
    return PlanLine(key=keys[at], stage="evaluate", inputs=inputs, label=label)


def _line(ids: str, state: str, reason: str) -> str:
    parent = ids.partition("_")[0]
    fields = [ids, parent, parent, "0", state, reason, f"s{parent}", "main", "normal", "1795469333", "N/A", "N/A"]
    fields += ["0:00", "10:00", "1", "n1", "N/A", "(null)", "1"]
    assert len(fields) == QUEUE_FORMAT.count(SEP) + 1
    return SEP.join(fields) + "\n"


def measure(root: Path) -> Result:
    """One first snapshot and some that follow small changes."""
    made, queue = Made(root), Queue()
    observer = Observer(made.run, made.layout, queue)
    began, cpu = time.perf_counter(), time.process_time()
    shot = observer.snapshot()
    first_s, first_cpu_s = time.perf_counter() - began, time.process_time() - cpu
    walls, cpus, counts = [], [], []
    for turn in range(ROUNDS):
        for held in made.leases[20 + turn : 40 + turn]:
            held.pulse(step=turn + 1, total=100, values={"loss": 0.5}, cost={})
        made.hint(ARRAYS // 2, 50 + turn, *made.pack(ARRAYS // 2, 50 + turn)[:5])
        queue.gone = turn
        began, cpu = time.perf_counter(), time.process_time()
        after = observer.snapshot()
        cpus.append(time.process_time() - cpu)
        walls.append(time.perf_counter() - began)
        counts.append(len(changed(shot, after)))
        shot = after
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    middle = statistics.median
    return Result(first_s, first_cpu_s, middle(walls), middle(cpus), max(walls), int(middle(counts)), rss_mb)


@pytest.mark.bench
def test_a_refresh_costs_a_fraction_of_the_first_snapshot(tmp_path: Path) -> None:
    """The ratio holds at 70 % of what was measured; the target is printed beside it."""
    found = measure(tmp_path)
    print(
        f"\n{ARRAYS * ELEMENTS * PACK} tasks: first {found.first_s:.2f} s wall, {found.first_cpu_s:.2f} s CPU; refresh "
        f"{found.refresh_s * 1000:.0f} ms wall, {found.refresh_cpu_s * 1000:.0f} ms CPU (target < "
        f"{TARGET_S * 1000:.0f} ms), longest {found.longest_s * 1000:.0f} ms, {found.changed} rows changed, peak "
        f"{found.rss_mb:.0f} MB: ratio {found.first_cpu_s / found.refresh_cpu_s:.0f} (gate {GATE_RATIO:.0f})"
    )
    assert 0 < found.changed < 100
    assert found.first_cpu_s / found.refresh_cpu_s >= GATE_RATIO


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        print(measure(Path(folder)))
