"""An outlook on 100,000 recorded tasks: read once, in slices of time, then again where ten tasks have news.

Procedure: one run of 2,000 sets and 98,000 evaluations with records and 10,000 charged elements, on disk. The first
looks have slices of `SLICE_S`; their CPU seconds are summed and the longest is noted. Then, before each of `ROUNDS`
further looks, ten evaluations fail. Median CPU seconds. Targets: less than 0.1 s for a refresh, less than 2 s for any
look; the gate is the ratio of all first looks to one refresh, which a slow machine keeps. Run as a script, or with
`pytest -m bench`.
"""

from __future__ import annotations

import resource
import statistics
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import msgspec
import pytest
from benchmarks.made_plan import MadePlan

from condhpc import accounts
from condhpc.charges import Charge
from condhpc.findings import Row, Snapshot
from condhpc.outlooks import SLICE_S, Outlooks
from condhpc.planned import Label
from condhpc.runs import PlanLine

SETS, STUDENTS = 2_000, 49
PACK = 10
ROUNDS = 11
NEWS = 10
TARGET_S, TARGET_LOOK_S = 0.1, 2.0
MEASURED_RATIO = 240.0
GATE_RATIO = 0.4 * MEASURED_RATIO
"""Lower than elsewhere: reading 100,000 files takes very different times."""


class Result(NamedTuple):
    """What was measured."""

    first_cpu_s: float
    looks: int
    longest_s: float
    refresh_cpu_s: float
    rss_mb: float


class Made(MadePlan):
    """The run on disk."""

    def __init__(self, root: Path) -> None:
        self.plan = [*_sets(), *_students()]
        super().__init__(root, self.plan)
        for at, line in enumerate(self.plan):
            self._record(at, line)
        charges = b"".join(_charge(element) for element in range(len(self.plan) // PACK))
        self.run.accounting.write_bytes(charges)
        self.rows = [Row(key=p.key, stage=p.stage, label=p.label, state="recorded", since_s=1e6) for p in self.plan]

    def _record(self, at: int, line: PlanLine) -> None:
        folder = self.layout.task(line.stage, line.key)
        folder.path.mkdir(parents=True)
        start_s = 1000.0 + 11 * (at % PACK)
        values = {"top1_pct": 50.0 + at % 97 / 10, "test_count": 10_000, "correct_bits": "A" * 1_668}
        record = {
            "key": line.key, "stage": line.stage, "attempt": 1, "artefacts": {}, "values": values,
            "cost": {"wall_s": 10.0, "gpu_s": 10.0, "cpu_s": 20.0}, "started": start_s, "ended": start_s + 10,
            "energy": [{"part": "gpu", "joules": 1e3, "grade": "A", "source": "a counter", "window_s": 10.0}],
            "environment": {"run": self.run.name, "job": f"60_{at // PACK}", "host": "n1", "gpu": "A100"},
        }  # fmt: skip
        folder.record.write_bytes(msgspec.json.encode(record))

    def shot(self) -> Snapshot:
        """The rows as they are."""
        return Snapshot(
            run=self.run.name,
            state="running",
            taken_s=1e6 + 60,
            queue_s=None,
            queue_error="",
            counts={},
            rows=list(self.rows),
            problems=[],
        )

    def news(self, number: int) -> None:
        """Ten evaluations fail."""
        for at in range(SETS + 1000 * number, SETS + 1000 * number + NEWS):
            self.rows[at] = msgspec.structs.replace(self.rows[at], state="failed", detail=f"ValueError: {at}")


def _sets() -> Iterator[PlanLine]:
    for number in range(SETS):
        label = Label(
            "d", f"c{number % 20}" if number % 20 else "random", 10 ** (number // 20 % 4), set_seed=number // 80
        )
        yield PlanLine(key=f"{number:032x}", stage="condense", label=label)


def _students() -> Iterator[PlanLine]:
    for number, made in enumerate(_sets()):
        for student in range(STUDENTS):
            key = f"{(number + 1) << 64 | student:032x}"
            names = {"protocol": f"p{student % 7}", "student": "resnet18", "student_seed": student // 7}
            label = msgspec.structs.replace(made.label, **names)
            yield PlanLine(key=key, stage="evaluate", inputs={"set": made.key}, label=label)


def _charge(element: int) -> bytes:
    charge = Charge(
        element=f"60_{element}", raw_id=str(1000 + element), restart=0, submission="sub", state="COMPLETED",
        submit_s=900, eligible_s=900, start_s=995, end_s=1120, elapsed_s=125, suspended_s=0, cpus=4, mem_mb=1000,
        nodes=1, gpus=1,
        gpu_type="a100", energy_j=None, source="sacct",
    )  # fmt: skip
    return msgspec.json.encode({"schema": accounts.SCHEMA, "taken_s": 1, "charge": charge}) + b"\n"


def measure(root: Path) -> Result:
    """All of it."""
    made = Made(root)
    held = Outlooks(made.run, made.layout, slice_s=SLICE_S)
    looks: list[float] = []
    notes = ["begin"]
    while notes:
        shot, began_s = made.shot(), time.process_time()
        notes = held.of(shot).notes
        looks.append(time.process_time() - began_s)
    refreshes = []
    for number in range(ROUNDS):
        made.news(number)
        shot, began_s = made.shot(), time.process_time()
        found = held.of(shot)
        refreshes.append(time.process_time() - began_s)
        assert found.failures
    rss_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Result(sum(looks), len(looks), max(looks), statistics.median(refreshes), rss_mb)


def report(found: Result) -> str:
    """One line."""
    refresh_ms = 1000 * found.refresh_cpu_s
    return (
        f"outlook on 100,000 records, CPU: {found.first_cpu_s:.2f} s over {found.looks} looks, the longest "
        f"{found.longest_s:.2f} s (target {TARGET_LOOK_S}); {NEWS} tasks with news: {refresh_ms:.1f} ms (target "
        f"{1000 * TARGET_S:.0f}); {found.rss_mb:.0f} MB at most, with the making"
    )


@pytest.mark.bench
def test_a_look_costs_what_changed(tmp_path: Path) -> None:
    """Hundreds of times less than reading all."""
    found = measure(tmp_path)
    print(report(found))
    assert found.refresh_cpu_s < TARGET_S
    assert found.first_cpu_s / found.refresh_cpu_s > GATE_RATIO


if __name__ == "__main__":
    with TemporaryDirectory() as made_in:
        print(report(measure(Path(made_in))))
