"""Sentences claim what intervals allow, and say when seeds are too few."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_papers import MadePaper, Said, said

from condhpc.paper import verdict
from condhpc.paper.bootstrap import Difference
from condhpc.paper.costs import FIGURES, SetCosts
from condhpc.paper.spread import IMAGES, SETS


def text(found: Said) -> str:
    """The page."""
    return verdict.text(found.judged, found.costs, found.sets)


@pytest.mark.parametrize(
    ("low", "high", "over", "claim"),
    [
        (0.01, 0.03, (SETS,), "first"),
        (-0.03, -0.01, (SETS,), "second"),
        (-0.01, 0.03, (SETS, IMAGES), "open"),
        (0.0, 0.03, (SETS,), "open"),
        (0.01, 0.03, (IMAGES,), "unknown"),
        (None, None, (), "unknown"),
    ],
)
def test_claims(low: float | None, high: float | None, over: tuple[str, ...], claim: str) -> None:
    """An interval that holds 0, or that knows nothing of other seeds, is no claim."""
    assert verdict.outcome(Difference(0.02, low, high, 3, 3, over, 0)) == claim


def test_no_difference_is_no_claim() -> None:
    """Arms that share no seeds."""
    assert verdict.outcome(None) == "unknown"


def test_one_student_is_not_enough(tmp_path: Path) -> None:
    """With one set and one student each nothing is claimed, whatever the numbers; images are all there is."""
    paper = MadePaper(tmp_path, without=frozenset({"random", "rded", "sre2l"}), student_seeds=(0,), sets=1).fill()
    found = text(said(paper))
    assert "distilled better in 0, coreset better in 0, not told apart in 0, not enough seeds in 4" in found
    assert found.count("not enough seeds for a claim") == 4
    assert "n = 1, over test images" in found
    assert "Random: nothing recorded to compare with" in found


def test_one_side_alone_is_said(tmp_path: Path) -> None:
    """Without a coreset nobody won."""
    paper = MadePaper(
        tmp_path, without=frozenset({"herding", "kcenter", "sre2l", "minimax"}), student_seeds=(0, 1)
    ).fill()
    found = text(said(paper))
    assert "No place has both a distilled set and a coreset recorded" in found
    assert found.count("Distillation against coresets: not both are recorded here.") == 4
    assert "not measured for both coresets and distilled sets" in found


def costs(
    name: str, gpu_types: tuple[str, ...], gpu_h: float, cpu_h: float, over_full: float | None = None
) -> SetCosts:
    """Of three sets."""
    figures: dict[str, float | str | None] = dict.fromkeys(FIGURES)
    figures |= {"gpu_h": gpu_h, "cpu_h": cpu_h, "over_full": over_full}
    figures |= {"standalone_gpu_h": gpu_h, "standalone_cpu_h": cpu_h}
    return SetCosts("digits", name, 1, 3, 3, gpu_types, (), figures, "full_schedule", "gpu_h", ())


@pytest.mark.parametrize(
    ("distilled", "coreset", "words"),
    [
        (costs("m", ("A",), 6.0, 1.0), costs("c", ("A",), 2.0, 9.0), "In GPU-hours the distilled set took 3 times"),
        (costs("m", (), 0.0, 6.0), costs("c", (), 0.0, 2.0), "In CPU-hours the distilled set took 3 times"),
        (costs("m", ("A",), 6.0, 1.0), costs("c", ("B",), 2.0, 9.0), "no measured unit in common"),
        (costs("m", ("A",), 6.0, 1.0), costs("c", (), 0.0, 9.0), "no measured unit in common"),
        (costs("m", ("A", "B"), 6.0, 1.0), costs("c", ("A", "B"), 6.0, 9.0), "no measured unit in common"),
    ],
)
def test_hours_are_compared_on_one_type_of_gpu(distilled: SetCosts, coreset: SetCosts, words: str) -> None:
    """Never across types, and GPU-hours never against CPU-hours."""
    assert words in verdict._times(distilled, coreset)


def test_energy_is_what_a_gpu_and_a_cpu_have_in_common() -> None:
    """A coreset that was chosen on a CPU is not free: its kWh stand against those of a GPU."""
    sides = [costs("m", ("A",), 6.0, 1.0), costs("c", (), 0.0, 9.0)]
    for one, kwh in zip(sides, (4.0, 0.5), strict=True):
        one.figures.update(kwh=kwh, standalone_kwh=2 * kwh + 1)
    assert verdict._times(*sides) == (
        "In kWh the distilled set took 8 times as much as the coreset; alone, each with all that it rests on, 4.5 "
        "times in kWh."
    )


@pytest.mark.parametrize(
    ("gpu_types", "alone_gpu_h", "words"),
    [
        (("A",), (10.0, 5.0), "2 times in GPU-hours"),
        (("A",), (10.0, "n/a"), "7 times in kWh"),
        ((), (0.0, 0.0), "5 times in CPU-hours"),
        ((), (0.0, 4.0), "7 times in kWh"),
    ],
)
def test_the_ratio_alone_stands_beside_the_marginal_one(
    gpu_types: tuple[str, ...], alone_gpu_h: tuple[float, float | str], words: str
) -> None:
    """In the same unit where what both rest on has it, too: a teacher on another GPU leaves energy."""
    sides = [costs("m", gpu_types, 6.0, 6.0), costs("c", gpu_types, 2.0, 2.0)]
    for one, gpu_h, cpu_h, kwh in zip(sides, alone_gpu_h, (10.0, 2.0), (7.0, 1.0), strict=True):
        one.figures.update(standalone_gpu_h=gpu_h, standalone_cpu_h=cpu_h, standalone_kwh=kwh)
    assert verdict._times(*sides).endswith(f"alone, each with all that it rests on, {words}.")


def test_cost_stands_beside_one_full_training() -> None:
    """The ratio is the table's."""
    assert "8.5 times one full training (full_schedule)" in verdict._hours(costs("m", ("A",), 6.0, 1.0, 8.5))


def test_a_coreset_chosen_on_cpus_stands_beside_it_by_its_energy() -> None:
    """Its hours have no unit in common with a training on a GPU."""
    one = costs("c", (), 0.0, 9.0)
    one.figures["kwh_over_full"] = 0.25
    assert "0.25 times the energy of one full training (full_schedule)" in verdict._hours(one)
