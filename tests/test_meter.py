"""What an attempt used, seen from inside."""

from __future__ import annotations

import threading
import time

import pytest
from children import fork, reap, until
from made_power import H100, Trace, steady

from condhpc import meter as meter_module
from condhpc import process_usage
from condhpc.allotment import Allotment
from condhpc.energy_meter import Sources
from condhpc.meter import Meter
from condhpc.power_sources import GpuSource, Unreadable


def _burn(cpu_s: float) -> None:
    end = time.process_time() + cpu_s
    while time.process_time() < end:
        pass


def _nothing() -> Trace:
    raise Unreadable("it is not there")


NO_SOURCES = Sources(_nothing, _nothing)


class Clock:
    """Moves when told to."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        """Now."""
        return self.now_s


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


def test_ranks_elsewhere_are_added() -> None:
    """Their CPU time is told, not seen."""
    meter = Meter(Allotment(), sources=NO_SOURCES)
    meter.elsewhere_cpu_s = 1000.0
    assert 1000.0 <= meter.totals()["cpu_s"] < 1001.0


def test_bytes_are_absent_where_nobody_may_read_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not 0: a reader can tell the difference."""
    look = process_usage.look

    def without(known: frozenset[int]) -> dict[object, process_usage.Used]:
        return {key: used._replace(read_bytes=None, written_bytes=None) for key, used in look(known).items()}

    monkeypatch.setattr(process_usage, "look", without)
    assert set(Meter(Allotment()).totals()) == {"wall_s", "cpu_s", "gpu_s", "peak_rss_bytes"}


def test_figures_are_of_the_time_so_far() -> None:
    """Each look moves the window on; costs of the GPU come with it."""
    clock, played = Clock(), Trace({H100: steady(400, 4)})
    meter = Meter(Allotment(gpus=1), sources=Sources(lambda: played, _nothing), environ={}, clock=clock)
    found = []
    for _ in range(4):
        meter.sample()
        found.append(meter.energy()[0])
        clock.now_s += 5.0
    assert [figure.grade for figure in found] == ["D", "C", "A", "A"]
    assert [figure.joules for figure in found[1:]] == [2000.0, 4000.0, 6000.0]
    assert [figure.window_s for figure in found[1:]] == [5.0, 10.0, 15.0]
    assert meter.totals()["gpu_util_pct"] == 50.0
    assert meter.totals()["wall_s"] == 20.0


def test_the_thread_looks_at_once_and_at_the_end() -> None:
    """The shortest task has a first and a last look at its counters."""
    played = Trace({H100: steady(400, 1000)})
    looks: list[str] = []
    sample = played.sample

    def counted(uuid: str) -> object:
        looks.append(threading.current_thread().name)
        return sample(uuid)

    played.sample = counted  # type: ignore[method-assign, assignment]
    meter = Meter(Allotment(gpus=1), sources=Sources(lambda: played, _nothing), environ={})
    meter.start()
    until(lambda: looks, "the first look")
    meter.stop()
    meter.stop()
    assert looks == ["meter", "meter"]
    assert meter.energy()[0].part == "gpu"


def test_a_driver_that_hangs_holds_up_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Totals can be had, the end comes, and there is no figure."""
    monkeypatch.setattr(meter_module, "_LAST_LOOK_S", 0.05)
    opened, release = threading.Event(), threading.Event()

    def hang() -> GpuSource:
        opened.set()
        release.wait(30.0)
        raise Unreadable("too late")

    meter = Meter(Allotment(gpus=1), sources=Sources(hang, _nothing))
    meter.start()
    try:
        assert opened.wait(10.0)
        assert meter.totals()["wall_s"] >= 0.0
        meter.stop()
        gpu = meter.energy()[0]
        assert (gpu.part, gpu.grade, gpu.source) == (
            "gpu",
            "none",
            "the sources have not answered",
        )
    finally:
        release.set()


def test_trouble_with_processes_is_one_line(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """What was seen last holds, the task goes on, and the log is not filled."""
    meter = Meter(Allotment(), sources=NO_SOURCES)
    _burn(0.05)
    before = meter.totals()

    def fail(known: frozenset[int]) -> None:
        raise OSError(24, "Too many open files")

    monkeypatch.setattr(process_usage, "look", fail)
    _burn(0.05)
    meter.sample()
    assert meter.totals()["cpu_s"] == before["cpu_s"]
    assert capsys.readouterr().err.count("\n") == 1
