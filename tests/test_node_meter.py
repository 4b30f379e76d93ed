"""Energy of processors and memory, counted and modelled."""

from __future__ import annotations

import pytest

from condhpc.allotment import Allotment
from condhpc.energy import Power
from condhpc.node_meter import NodeTrack, energy, modelled_cpu, modelled_dram
from condhpc.power_sources import Domain

RANGE_UJ = 262_143_328_850
PACKAGES = [Domain("intel-rapl:0", "cpu", RANGE_UJ), Domain("intel-rapl:1", "cpu", RANGE_UJ)]
DRAM = Domain("intel-rapl:0:0", "dram", 65_712_999_613)
EXCLUSIVE = Allotment(cores=64, node_cores=64)
POWER = Power(cpu_w_per_core=4.0, cpu_w_source="data sheet", dram_w_per_gb=0.4, dram_w_source="a paper")


def track(watts: float, looks: int = 13, start_uj: int = 0) -> NodeTrack:
    """Two packages and DRAM, each at the same power, every five seconds."""
    found = NodeTrack([*PACKAGES, DRAM])
    for number in range(looks):
        true_uj = start_uj + round(watts * number * 5.0 * 1e6)
        values = {d.name: true_uj % (d.range_uj + 1) for d in (*PACKAGES, DRAM)}
        found.note(number * 5.0, values)
    return found


def test_an_exclusive_node_is_measured() -> None:
    """Both packages are ours, DRAM apart, across a wrap: grade B."""
    held = track(100.0, start_uj=RANGE_UJ - 1_000_000)
    cpu, dram = (energy(part, held.counters(part), EXCLUSIVE, 60.0) for part in ("cpu", "dram"))
    assert cpu is not None
    assert dram is not None
    assert (cpu.joules, cpu.grade, cpu.window_s) == (pytest.approx(2 * 6000.0), "B", 60.0)
    assert (dram.joules, dram.grade) == (pytest.approx(6000.0), "B")
    assert [c.wraps for c in held.counters("cpu")] == [1, 1]


def test_a_shared_node_is_split_by_cores() -> None:
    """Sixteen of 64 cores are a quarter, grade C."""
    found = energy("cpu", track(100.0).counters("cpu"), Allotment(cores=16, node_cores=64), 60.0)
    assert found is not None
    assert (found.joules, found.grade) == (pytest.approx(3000.0), "C")
    assert "shared by cores: 16 of 64" in found.source


@pytest.mark.parametrize("watts", [0.0, 5000.0])
def test_absurd_counters_are_refused(watts: float) -> None:
    """One that stands still, or that no package can have counted, is no figure."""
    found = energy("cpu", track(watts).counters("cpu"), EXCLUSIVE, 60.0)
    assert found is not None
    assert (found.joules, found.grade) == (None, "none")
    assert "refused" in found.source


def test_a_counter_that_was_seen_in_part_says_so() -> None:
    """The window is the time between readings."""
    found = energy("cpu", track(100.0, looks=5).counters("cpu"), EXCLUSIVE, 60.0)
    assert found is not None
    assert (found.joules, found.grade, found.window_s) == (pytest.approx(4000.0), "C", 20.0)


def test_a_wrap_that_may_have_been_missed_is_told() -> None:
    """After minutes without a look the figure is a lower bound."""
    held = NodeTrack([DRAM])
    held.note(0.0, {DRAM.name: 0})
    held.note(900.0, {DRAM.name: 20_000_000_000})
    found = energy("dram", held.counters("dram"), EXCLUSIVE, 900.0)
    assert found is not None
    assert (found.grade, "900 s in which a wrap may have been missed" in found.source) == ("C", True)


def test_too_little_is_left_to_the_model() -> None:
    """No domain, no second reading: nothing was counted."""
    assert energy("cpu", [], EXCLUSIVE, 60.0) is None
    assert energy("cpu", track(100.0, looks=1).counters("cpu"), EXCLUSIVE, 60.0) is None


def test_cpu_energy_is_modelled_from_cpu_time() -> None:
    """Cores × watts × utilisation × time is CPU time × watts, whatever the cores and the time."""
    cores, utilisation, wall_s = 8, 0.6, 50.0
    found = modelled_cpu(cores * utilisation * wall_s, wall_s, POWER, "RAPL is readable by root alone")
    assert (found.joules, found.grade) == (pytest.approx(cores * 4.0 * utilisation * wall_s), "C")
    assert found.source.startswith("RAPL is readable by root alone; CPU time × 4 W per core (data sheet)")
    assert modelled_cpu(1.0, 1.0, Power(), "why").grade == "none"


def test_dram_energy_is_modelled_from_memory() -> None:
    """What is resident, over time; else what was allotted, as a bound; else nothing."""
    gib_s = 3 * 2**30 * 50.0
    found = modelled_dram(Allotment(memory_gib=16.0), gib_s, 50.0, POWER, "why")
    assert (found.joules, found.grade) == (pytest.approx(3 * 0.4 * 50), "C")
    bound = modelled_dram(Allotment(memory_gib=16.0), 0.0, 50.0, POWER, "why")
    assert (bound.joules, bound.grade) == (pytest.approx(16 * 0.4 * 50), "D")
    assert modelled_dram(Allotment(), 0.0, 50.0, POWER, "why").grade == "none"
    assert modelled_dram(Allotment(), gib_s, 50.0, Power(), "why").grade == "none"
