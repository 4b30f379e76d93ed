"""GPU energy from looks, against sums by hand."""

from __future__ import annotations

import pytest
from made_power import H100, SECOND, steady

from condhpc.allotment import Allotment
from condhpc.energy import Power
from condhpc.gpu_match import OwnGpu
from condhpc.gpu_meter import GpuTrack, Sharing, energy, nominal, sharing
from condhpc.power_sources import GpuDevice, GpuSample

ALONE = Allotment(gpus=1)
LANES = Allotment(gpus=1, lanes=4)
POWER = Power(gpu_tdp_w={"h100": 650.0, "h100 nvl": 400.0}, gpu_tdp_source="data sheet")


def track(
    samples: list[GpuSample | Exception] | list[GpuSample | None],
    gpu: OwnGpu | None = None,
    allotment: Allotment = ALONE,
    every_s: float = 5.0,
) -> GpuTrack:
    """A GPU after these looks, of which process 7 is ours."""
    found = GpuTrack(gpu or OwnGpu(H100), allotment)
    for number, sample in enumerate(samples):
        found.note(number * every_s, sample if isinstance(sample, GpuSample) else None, {7})
    return found


def test_a_whole_gpu_is_measured() -> None:
    """The counter of a board of one's own over more than ten seconds: grade A."""
    found = energy([track(steady(400.0, 13))], 60.0, POWER, "by torch's UUIDs")
    assert (found.joules, found.grade, found.window_s) == (pytest.approx(24000.0), "A", 60.0)
    assert found.source == "NVML energy counter; 1 GPU by torch's UUIDs"


def test_two_gpus_are_one_figure() -> None:
    """Their sum, over the shorter window, with the worse grade."""
    pair = [track(steady(400.0, 13)), track(steady(100.0, 7), OwnGpu(SECOND))]
    found = energy(pair, 60.0, POWER, "")
    assert (found.joules, found.grade, found.window_s) == (pytest.approx(24000.0 + 3000.0), "C", 30.0)
    assert "30.0 of 60.0 s seen" in found.source


@pytest.mark.parametrize(("looks", "grade"), [(2, "C"), (3, "A")])
def test_short_windows_are_not_grade_a(looks: int, grade: str) -> None:
    """Counters move ten times a second: below ten seconds their word is taken for less."""
    assert energy([track(steady(400.0, looks))], 5.0 * (looks - 1), POWER, "").grade == grade


def test_a_driver_that_is_loaded_anew_costs_the_grade() -> None:
    """What was counted before and after stays; the interval between is not counted."""
    found = energy([track([*steady(400.0, 7), *steady(400.0, 7, start_mj=5)])], 65.0, POWER, "")
    assert (found.joules, found.grade, found.window_s) == (pytest.approx(2 * 12000.0), "C", 60.0)
    assert "restarted 1 ×" in found.source


def test_a_gpu_that_vanishes_has_been_counted_until_then() -> None:
    """The figure is of the time in which it was there, and says so."""
    found = energy([track([*steady(400.0, 5), None, None, None])], 35.0, POWER, "")
    assert (found.joules, found.grade, found.window_s) == (pytest.approx(8000.0), "C", 20.0)
    assert "20.0 of 35.0 s seen" in found.source


@pytest.mark.parametrize(
    ("watts", "reason"),
    [(900.0, "900 W on average, more than 1.2 × 700 W"), (4.0, "4.0 W on average, less than any board idles at")],
)
def test_absurd_counters_are_refused(watts: float, reason: str) -> None:
    """More than the board can draw, or less than it idles at, is no figure: not 0, and nothing in its stead."""
    found = energy([track(steady(watts, 13))], 60.0, POWER, "")
    assert (found.joules, found.grade) == (None, "none")
    assert reason in found.source


def test_a_counter_that_stands_still_is_no_zero() -> None:
    """Also in a window too short to tell what a board idles at."""
    found = energy([track(steady(0.0, 2))], 5.0, POWER, "")
    assert (found.joules, found.grade) == (None, "none")


def test_a_board_of_an_unknown_limit_draws_what_boards_draw() -> None:
    """Neither the driver nor the profile tells its power: what no board draws is refused all the same."""
    unknown = OwnGpu(GpuDevice("GPU-1", "a board of tomorrow"))
    found = {watts: energy([track(steady(watts, 13), unknown)], 60.0, POWER, "").joules for watts in (1500.0, 2500.0)}
    assert found == {1500.0: pytest.approx(90_000.0), 2500.0: None}


def test_one_absurd_gpu_leaves_no_sum() -> None:
    """A sum with an unknown part is unknown."""
    found = energy([track(steady(400.0, 13)), track(steady(0.0, 13), OwnGpu(SECOND))], 60.0, POWER, "")
    assert (found.joules, found.grade) == (None, "none")


def test_without_a_counter_utilisation_is_taken() -> None:
    """Boards before Volta: the power limit, times the utilisation of the interval before each look."""
    samples = [GpuSample(util_pct=pct) for pct in (90.0, 50.0, 100.0)]
    found = energy([track(samples)], 10.0, POWER, "")
    assert (found.joules, found.grade) == (pytest.approx((0.5 + 1.0) * 5.0 * 700.0), "C")
    assert "utilisation × 700 W (board's power limit)" in found.source


def test_without_utilisation_full_power_is_the_bound() -> None:
    """Neither counter nor utilisation: the profile's watts for the longest name that fits, grade D."""
    samples = [GpuSample(memory_bytes=1)] * 3
    found = energy([track(samples, OwnGpu(H100._replace(limit_w=None)))], 10.0, POWER, "")
    assert (found.joules, found.grade) == (pytest.approx(6500.0), "D")
    assert "data sheet" in found.source


def test_nothing_known_is_none() -> None:
    """Without any of it there is a reason and no number."""
    samples = [GpuSample(util_pct=50.0)] * 3
    found = energy([track(samples, OwnGpu(H100._replace(limit_w=None)))], 10.0, Power(), "")
    assert (found.joules, found.grade) == (None, "none")


def test_a_mig_instance_gets_its_slices() -> None:
    """There is no counter of instances: the share of the parent, grade C; utilisation is the parent's, so not ours."""
    found = track(steady(350.0, 13), OwnGpu(H100, 2 / 7, mig=True))
    figure = energy([found], 60.0, POWER, "")
    assert (figure.joules, figure.grade) == (pytest.approx(2 / 7 * 350 * 60), "C")
    assert "0.286 of the GPU for a MIG instance" in figure.source
    assert (found.seen_s, found.peak_bytes) == (0.0, None)


def test_lanes_share_by_kernel_time() -> None:
    """Each interval is split by what the driver saw of each process."""
    samples = [
        GpuSample(n * 2_000_000, 80.0, 1 << 30, {7: 100, 8: 300}, {7: 60.0, 8: 20.0} if n < 2 else {8: 50.0})
        for n in range(4)
    ]
    found = track(samples, allotment=LANES)
    figure = energy([found], 15.0, POWER, "")
    assert (figure.joules, figure.grade) == (pytest.approx(2000 * 0.75), "C")
    assert "shared by kernel time" in figure.source
    assert (found.util_s, found.peak_bytes) == (pytest.approx(0.6 * 5), 100)


@pytest.mark.parametrize(
    ("sample", "allotment", "expected"),
    [
        (GpuSample(processes={7: 1}), ALONE, Sharing(1.0)),
        (GpuSample(processes={8: 1}), ALONE, Sharing(1.0)),  # pids of another name space
        (GpuSample(processes={7: 100, 8: 300}), ALONE, Sharing(0.25, "memory")),
        (GpuSample(processes={7: 100, 8: 300}), Allotment(gpus=1, ranks=2), Sharing(1.0)),
        (GpuSample(processes={7: None, 8: None, 9: None}), ALONE, Sharing(1 / 3, "equal parts")),
        (GpuSample(processes={7: 100, 8: 300}, process_util_pct={7: 30, 8: 10}), ALONE, Sharing(0.75, "kernel time")),
        (GpuSample(processes={7: 100, 8: 300}, process_util_pct={8: 10}), ALONE, Sharing(0.0, "kernel time")),
        (GpuSample(processes={7: 100, 8: 300}, process_util_pct={7: 0, 8: 0}), LANES, Sharing(0.25, "memory")),
        (GpuSample(processes={1: 100, 2: 300}, process_util_pct={2: 10}), LANES, Sharing(0.25, "equal parts")),
        (GpuSample(), LANES, Sharing(0.25, "equal parts")),
    ],
)
def test_sharing(sample: GpuSample, allotment: Allotment, expected: Sharing) -> None:
    """Kernel time before memory before equal parts; strangers count only beside processes that are known as ours."""
    assert sharing(sample, {7}, (), allotment) == expected


@pytest.mark.parametrize("allotment", [ALONE, LANES])
def test_a_gpu_on_which_others_alone_compute_is_theirs(allotment: Allotment) -> None:
    """A task of a local pool that stays on the CPU is not charged for its neighbour's kernels."""
    sample = GpuSample(processes={8: 300}, process_util_pct={8: 90.0})
    assert sharing(sample, {7}, {8}, allotment) == Sharing(0.0, "kernel time")
    assert sharing(GpuSample(processes={8: 300}), {7}, {8}, allotment) == Sharing(0.0, "memory")


def test_shares_of_all_lanes_are_the_whole() -> None:
    """What one lane is not charged another is: the parts of an interval add up to it."""
    sample = GpuSample(processes={7: 5, 8: 6, 9: 7, 10: 8}, process_util_pct={7: 11.0, 8: 23.0, 9: 31.0, 10: 2.0})
    assert sum(sharing(sample, {pid}, {7, 8, 9, 10} - {pid}, LANES).share for pid in (7, 8, 9, 10)) == pytest.approx(
        1.0
    )


def test_memory_of_a_gpu_of_ones_own() -> None:
    """The processes' own where they are listed, else the board's; of a shared board not the board's."""
    assert track([GpuSample(memory_bytes=900, processes={7: 300})]).peak_bytes == 300
    assert track([GpuSample(memory_bytes=900), GpuSample(memory_bytes=400)]).peak_bytes == 900
    assert track([GpuSample(memory_bytes=900)], allotment=LANES).peak_bytes is None
    ranked = Allotment(gpus=2, ranks=2)
    assert track([GpuSample(memory_bytes=900, processes={7: 300, 8: 500})], allotment=ranked).peak_bytes == 900


@pytest.mark.parametrize(
    ("gpu_type", "joules"), [("h100", 2 * 650 * 10.0), ("a100", None), ("", None), ("nvidia_h100 nvl", 2 * 400 * 10.0)]
)
def test_nominal_where_no_gpu_can_be_looked_at(gpu_type: str, joules: float | None) -> None:
    """The power of the type that the element asked for, if the profile has it and it is no guess."""
    found = nominal(2, 10.0, Power(**{**_fields(POWER), "gpu_type": gpu_type}), "no NVML")
    assert (found.joules, found.grade) == (joules, "D" if joules else "none")
    assert found.source.startswith("no NVML")


def _fields(power: Power) -> dict[str, object]:
    return {name: getattr(power, name) for name in power.__struct_fields__}
