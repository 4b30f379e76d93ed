"""What an attempt used, seen from inside."""

from __future__ import annotations

import time

from children import fork, reap

from condhpc.allotment import Allotment
from condhpc.meter import Meter


def _burn(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass


def test_totals_count_this_process_from_the_start_of_the_meter() -> None:
    """CPU time before the meter is not charged; wall, CPU, GPU share and peak memory after it are."""
    _burn(0.1)
    meter = Meter(Allotment(gpus=1, lanes=2))
    _burn(0.03)
    totals = meter.totals()
    assert 0.02 <= totals["cpu_s"] < 0.1
    assert totals["wall_s"] >= totals["cpu_s"]
    assert abs(totals["gpu_s"] - 0.5 * totals["wall_s"]) < 0.002
    assert totals["peak_rss_bytes"] > 1_000_000


def test_waited_for_children_are_charged() -> None:
    """A data loader's CPU time belongs to the attempt."""
    meter = Meter(Allotment())
    assert reap(fork(lambda: _burn(0.05))) == 0
    totals = meter.totals()
    assert totals["cpu_s"] >= 0.04
    assert totals["gpu_s"] == 0.0


def test_a_fork_starts_at_zero() -> None:
    """What the worker used before it forked is not charged to a task."""
    _burn(0.1)

    def small() -> int:
        totals = Meter(Allotment(gpus=1)).totals()
        return 0 if totals["cpu_s"] < 0.1 and totals["wall_s"] < 1.0 else 1

    assert reap(fork(small)) == 0
