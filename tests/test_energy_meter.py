"""Sources in any condition make figures and never trouble."""

from __future__ import annotations

from collections.abc import Sequence

import pytest
from made_power import H100, SECOND, Trace, steady

from condhpc.allotment import Allotment
from condhpc.energy import Energy, Power
from condhpc.energy_meter import EnergyMeter, Sources
from condhpc.power_sources import Domain, GpuSample, GpuSource, NodeSource, Unreadable

PACKAGE = Domain("intel-rapl:0", "cpu", 262_143_328_850)
DRAM = Domain("intel-rapl:0:0", "dram", 65_712_999_613)
ONE_GPU = Allotment(gpus=1, cores=8, node_cores=8)
POWER = Power(cpu_w_per_core=4.0, cpu_w_source="s", dram_w_per_gb=0.4, dram_w_source="s")
LOOKS, EVERY_S = 13, 5.0
WALL_S = EVERY_S * (LOOKS - 1)


def unreadable() -> Trace:
    """A source that cannot be opened."""
    raise Unreadable("it is not there")


def broken() -> Trace:
    """One with a bug."""
    raise AttributeError("no such symbol")


def metered(
    sources: Sources, allotment: Allotment = ONE_GPU, power: Power = POWER, uuids: Sequence[str] = (), see_at: int = 0
) -> EnergyMeter:
    """A meter after all looks; from look `see_at` on the stage has told its UUIDs."""
    found = EnergyMeter(allotment, power, {}, sources)
    for number in range(LOOKS):
        if number == see_at:
            found.sees(uuids)
        found.look(number * EVERY_S, {7})
    return found


def figures(meter: EnergyMeter) -> dict[str, Energy]:
    """By part, at the end: 30 CPU seconds, 1 GiB all the time."""
    return {figure.part: figure for figure in meter.figures(WALL_S, 30.0, WALL_S * 2**30)}


def sources(gpu: Trace | None = None, node: Trace | None = None) -> Sources:
    """These, or none that can be opened."""

    def gpus() -> GpuSource:
        return gpu or unreadable()

    def nodes() -> NodeSource:
        return node or unreadable()

    return Sources(gpus, nodes)


def test_everything_measured() -> None:
    """A GPU, a package and DRAM of one's own."""
    joules = [round(100 * EVERY_S * n * 1e6) for n in range(LOOKS)]
    found = figures(metered(sources(Trace({H100: steady(400, LOOKS)}), Trace(node={PACKAGE: joules, DRAM: joules}))))
    assert {part: (figure.joules, figure.grade) for part, figure in found.items()} == {
        "gpu": (pytest.approx(400 * WALL_S), "A"),
        "cpu": (pytest.approx(100 * WALL_S), "B"),
        "dram": (pytest.approx(100 * WALL_S), "B"),
    }


def test_nothing_readable_is_modelled_with_the_reason() -> None:
    """Without a source CPU time and memory are what is left; a GPU of unknown power is none."""
    found = figures(metered(sources()))
    assert (found["cpu"].joules, found["cpu"].grade) == (pytest.approx(30 * 4.0), "C")
    assert (found["dram"].joules, found["dram"].grade) == (pytest.approx(0.4 * WALL_S), "C")
    assert (found["gpu"].joules, found["gpu"].grade) == (None, "none")
    assert all(figure.source.startswith("it is not there") for figure in found.values())


def test_the_unforeseen_is_one_line_in_the_log(capsys: pytest.CaptureFixture[str]) -> None:
    """A bug in a driver's binding costs the figure, not the task."""
    found = figures(metered(Sources(broken, broken), power=Power()))
    assert [figure.grade for figure in found.values()] == ["none", "none", "none"]
    assert "AttributeError: no such symbol" in found["cpu"].source
    lines = capsys.readouterr().err.splitlines()
    assert [line.split(" cannot")[0] for line in lines] == ["metering: GPUs", "metering: the node"]


def test_without_gpus_nobody_asks_for_them() -> None:
    """An element without GPUs on a node that has some must not count them."""

    def fail() -> GpuSource:
        raise AssertionError("opened")

    found = metered(Sources(fail, unreadable), Allotment())
    assert set(figures(found)) == {"cpu", "dram"}
    assert found.gpu_cost() == {}


def test_a_stage_that_sees_a_gpu_has_one() -> None:
    """By hand nothing is allotted; torch's word is enough."""
    found = metered(sources(Trace({H100: steady(400, LOOKS)})), Allotment(), uuids=[H100.uuid])
    assert (figures(found)["gpu"].joules, figures(found)["gpu"].grade) == (pytest.approx(400 * WALL_S), "A")


def test_torchs_uuids_go_before_the_environment() -> None:
    """Of two listed GPUs the one that the stage names is ours; it was counted before that, too."""
    played = Trace({H100: steady(400, LOOKS), SECOND: steady(100, LOOKS)})
    found = figures(metered(sources(played), uuids=[SECOND.uuid.removeprefix("GPU-")], see_at=2))["gpu"]
    assert (found.joules, found.grade) == (pytest.approx(100 * WALL_S), "A")
    assert "1 GPU by torch's UUIDs" in found.source


def test_uuids_that_nobody_lists_change_nothing() -> None:
    """An unknown name is not taken for no GPU."""
    played = Trace({H100: steady(400, LOOKS)})
    found = figures(metered(sources(played), uuids=["ffff"], see_at=2))["gpu"]
    assert (found.joules, found.grade) == (pytest.approx(400 * WALL_S), "A")


def test_a_gpu_that_fails_in_every_way_is_passed_over(capsys: pytest.CaptureFixture[str]) -> None:
    """Lost, or a bug: what was counted until then is the figure."""
    half: list[GpuSample | Exception] = steady(400, 7)
    for error in (Unreadable("lost"), ValueError("a bug")):
        played = Trace({H100: [*half, *[error] * (LOOKS - 7)]})
        found = figures(metered(sources(played)))["gpu"]
        assert (found.joules, found.grade, found.window_s) == (pytest.approx(400 * 30.0), "C", 30.0)
    assert "a bug" in capsys.readouterr().err


def test_a_counter_that_becomes_unreadable_is_passed_over() -> None:
    """A domain that stops to answer has a shorter window."""
    joules = [round(100 * EVERY_S * n * 1e6) for n in range(7)]
    played = Trace(node={PACKAGE: [*joules, *[Unreadable("gone")] * (LOOKS - 7)]})
    found = figures(metered(sources(node=played)))
    assert (found["cpu"].joules, found["cpu"].grade) == (pytest.approx(3000.0), "C")
    assert found["dram"].source.startswith("no RAPL domain of DRAM; resident memory")


def test_ranks_on_other_nodes_do_the_same() -> None:
    """What is measured on one of three nodes is multiplied and loses its grade; CPU time is of all of them already."""
    spread = ONE_GPU._replace(gpus=3, ranks=3, nodes=3)
    found = figures(metered(sources(Trace({H100: steady(400, LOOKS)})), spread))
    assert (found["gpu"].joules, found["gpu"].grade) == (pytest.approx(3 * 400 * WALL_S), "C")
    assert "× 3 nodes" in found["gpu"].source
    assert found["cpu"].joules == pytest.approx(30 * 4.0)
    assert found["dram"].joules == pytest.approx(3 * 0.4 * WALL_S)


def test_utilisation_and_memory_are_costs() -> None:
    """The mean over time and GPUs, and the sum of peaks; without a GPU there are none."""
    played = Trace({H100: steady(400, LOOKS), SECOND: [GpuSample(1, 100.0, 1 << 30)] * LOOKS})
    assert metered(sources(played)).gpu_cost() == {"gpu_util_pct": 75.0, "peak_gpu_bytes": float(4 << 30)}
