"""What metering costs: CPU time of an hour's looks against that hour.

Procedure: a process with 32 threads and eight living children, each with one of its own, stands for a training with
data loaders. Sources play a node with eight GPUs, four domains and 16 processes on each GPU, so that all of our own
arithmetic runs; what a driver's call costs is not in it. As many looks as an hour has are taken one after the other,
with a pulse's totals after every sixth, and the process's CPU time is compared with 3,600 s.
"""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from condhpc.allotment import Allotment
from condhpc.energy_meter import Sources
from condhpc.meter import SAMPLE_S, Meter
from condhpc.power_sources import Domain, GpuDevice, GpuSample
from tests.children import fork, reap

HOUR_S = 3600.0
TARGET_PCT = 0.5
THREADS, CHILDREN, PULSE_LOOKS = 32, 8, 6


class Node:
    """Both kinds of sources, with counters that move by the same at each look."""

    def __init__(self) -> None:
        self._looks = 0

    def devices(self) -> list[GpuDevice]:
        """Eight boards."""
        return [GpuDevice(f"GPU-{n}", "NVIDIA H100", 700.0, n) for n in range(8)]

    def sample(self, uuid: str) -> GpuSample:
        """All that can be told."""
        del uuid
        self._looks += 1
        pids = range(100_000, 100_016)
        return GpuSample(self._looks * 10**6, 80.0, 10**10, dict.fromkeys(pids, 10**9), dict.fromkeys(pids, 5.0))

    def domains(self) -> list[Domain]:
        """Two packages with their DRAM."""
        return [Domain(f"{part}-{n}", part, 10**11) for part in ("cpu", "dram") for n in range(2)]

    def read_uj(self, name: str) -> int:
        """A counter that wraps."""
        del name
        self._looks += 1
        return self._looks * 10**8 % 10**11


@contextmanager
def busy_tree() -> Iterator[None]:
    """Threads and children that wait, each child the head of a process group, with which its own child ends."""
    end = threading.Event()
    children = [fork(lambda: (os.setpgid(0, 0), fork(signal.pause), signal.pause())) for _ in range(CHILDREN)]
    threads = [threading.Thread(target=end.wait, daemon=True) for _ in range(THREADS)]
    for thread in threads:
        thread.start()
    try:
        yield
    finally:
        end.set()
        for pid in children:
            os.killpg(pid, signal.SIGKILL)
            reap(pid)


def measure() -> float:
    """CPU seconds of an hour's looks."""
    node = Node()
    with busy_tree():
        meter = Meter(
            Allotment(gpus=8, cores=64, node_cores=64), sources=Sources(lambda: node, lambda: node), environ={}
        )
        meter.sample()
        began_s = time.process_time()
        for look in range(round(HOUR_S / SAMPLE_S)):
            meter.sample()
            if look % PULSE_LOOKS == 0:
                meter.totals()
        return time.process_time() - began_s


@pytest.mark.bench
def test_metering_costs_a_fraction_of_a_core() -> None:
    """Below 0.5 % of a core."""
    cpu_s = measure()
    share_pct = 100.0 * cpu_s / HOUR_S
    print(
        f"\nmetering: {round(HOUR_S / SAMPLE_S)} looks of an hour take {cpu_s:.2f} s of CPU time, {share_pct:.3f} % "
        f"of a core (target and gate {TARGET_PCT} %)"
    )
    assert share_pct < TARGET_PCT
