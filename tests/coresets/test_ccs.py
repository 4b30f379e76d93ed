"""Coverage-centric selection: cut-off, strata and budgets against counts by hand and its rule written out."""

from __future__ import annotations

from collections import Counter
from typing import Any

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condhpc import registry, rng
from condhpc.coresets.base import ClassImages
from condhpc.coresets.ccs import PLUGIN, kept_count, shares, strata_of
from condhpc.spec import DatasetInfo


def pick(difficulty: Any, ipc: int, seed: int = 0, **params: Any) -> list[int]:
    """Picks where AUM is minus these difficulties (of few digits, for float16)."""
    margin = -np.asarray([difficulty], dtype=np.float16)
    images = ClassImages(margin.shape[1], rng.stream(seed, "ccs-test"), dynamics=[{"margin": margin, "el2n": -margin}])
    return PLUGIN.select(images, ipc, PLUGIN.Params(**params)).tolist()


def test_strata_by_hand() -> None:
    """Widths are equal, sizes are not: 1, 2 and 7 images share a budget of 6 as 1, 2 and 3."""
    difficulty = [0.0, 1.0, 1.5, 2.0, 2.0, 2.25, 2.5, 2.5, 2.75, 3.0]
    picks = pick(difficulty, 6, cutoff=0.0, strata=3)
    assert picks[0] == 0
    assert sorted(picks[1:3]) == [1, 2]
    assert len(set(picks[3:])) == 3
    assert min(picks[3:]) >= 3
    assert strata_of(np.asarray(difficulty), 3).tolist() == [0, 1, 1, 2, 2, 2, 2, 2, 2, 2]


@pytest.mark.parametrize(
    ("sizes", "budget", "expected"),
    [
        ([1, 2, 7], 6, [1, 2, 3]),
        ([0, 0, 0, 9], 4, [0, 0, 0, 4]),  # empty strata give nothing
        ([3, 3, 3], 7, [2, 2, 3]),  # 7 // 3, 5 // 2, 3
        ([5, 5, 5, 5], 2, [0, 0, 1, 1]),  # 2 // 4, 2 // 3, 2 // 2, 1
        ([1, 1, 1], 3, [1, 1, 1]),
    ],
)
def test_budgets_by_hand(sizes: list[int], budget: int, expected: list[int]) -> None:
    """What a small stratum cannot give, the larger ones do."""
    assert shares(sizes, budget) == expected


def test_the_hardest_are_cut_off() -> None:
    """The last three of ten are never chosen, whatever the seed; all others are, by some seed."""
    chosen = Counter(i for seed in range(40) for i in pick(np.arange(10.0), 3, seed, cutoff=0.3))
    assert set(chosen) == set(range(7))


def test_the_cut_off_leaves_enough() -> None:
    """Where the cut-off would leave fewer than ipc, only as much is cut as can be spared: the hardest all the same."""
    assert sorted(pick(np.arange(10.0), 8, cutoff=0.9)) == list(range(8))
    assert sorted(pick(np.arange(10.0), 10, cutoff=0.9)) == list(range(10))


@pytest.mark.parametrize(
    ("count", "ipc", "kept"), [(1000, 300, 900), (1000, 200, 800), (1000, 100, 700), (1300, 13, 793), (10, 5, 10)]
)
def test_the_default_cut_off_follows_the_pruning_rate(count: int, ipc: int, kept: int) -> None:
    """The published 0.1, 0.2 and 0.3 at 70, 80 and 90 %, the same line beyond (0.39 at 99 %), nothing at half."""
    assert abs(kept_count(count, ipc, None) - kept) <= 1  # a share of 0.1 is 0.1 up to rounding


def test_no_more_strata_than_images_are_asked_for() -> None:
    """Two images of fifty strata would come from anywhere; of two strata, one comes from each half of the range."""
    halves = {tuple(sorted(i >= 25 for i in pick(np.arange(50.0), 2, seed, cutoff=0.0))) for seed in range(20)}
    assert halves == {(False, True)}


def test_which_of_equal_strata_gives_more_is_drawn() -> None:
    """Two strata of two images and a budget of three: either may be the one that is heard twice."""
    twice = {sum(i < 2 for i in pick(np.arange(4.0), 3, seed, cutoff=0.0, strata=2)) for seed in range(20)}
    assert twice == {1, 2}


def test_equal_scores_are_a_random_choice() -> None:
    """A range without width is one stratum; every image has its chance, and the cut-off falls on any."""
    chosen = Counter(i for seed in range(60) for i in pick(np.ones(8), 2, seed, cutoff=0.5))
    assert set(chosen) == set(range(8))


def test_ties_at_the_cut_off_are_drawn() -> None:
    """Of four equally hard images two are cut off, not always the same."""
    spared = {i for seed in range(20) for i in pick([0.0, 0.0, 5.0, 5.0, 5.0, 5.0], 4, seed, cutoff=0.34) if i > 1}
    assert spared == {2, 3, 4, 5}


def test_el2n_may_be_the_score() -> None:
    """Large errors are hard, as small margins are."""
    assert pick(np.arange(12.0), 4, 3, score="el2n") == pick(np.arange(12.0), 4, 3)


@settings(deadline=None)
@given(
    difficulty=st.lists(st.sampled_from([0.0, 0.25, 1.0, 1.5, 8.0, 100.0]), min_size=1, max_size=20),
    data=st.data(),
    cutoff=st.one_of(st.none(), st.floats(0.0, 0.99)),
    strata=st.integers(1, 60),
    seed=st.integers(0, 9),
)
def test_budget_and_rule(
    difficulty: list[float], data: st.DataObject, cutoff: float | None, strata: int, seed: int
) -> None:
    """Exactly ipc of those that are kept, of each stratum as many as the rule says, whichever of equals is last."""
    ipc = data.draw(st.integers(1, len(difficulty)))
    picks = pick(difficulty, ipc, seed, cutoff=cutoff, strata=strata)
    assert len(picks) == len(set(picks)) == ipc
    kept = sorted(difficulty)[: kept_count(len(difficulty), ipc, cutoff)]
    strata = min(strata, ipc)
    edges = np.linspace(kept[0], kept[-1], strata + 1)

    def stratum(value: float) -> int:
        return min(strata - 1, sum(value >= edge for edge in edges[1:])) if kept[-1] > kept[0] else 0

    sizes, given_by = Counter(map(stratum, kept)), Counter(stratum(difficulty[i]) for i in picks)
    assert all(difficulty[i] <= kept[-1] for i in picks)
    by_size = sorted((sizes[s], given_by[s]) for s in range(strata))
    left = ipc
    expected = []
    for number, (size, _) in enumerate(by_size):
        expected.append((size, min(size, left // (strata - number))))
        left -= expected[-1][1]
    assert by_size == sorted(expected)


INFO = DatasetInfo(
    classes=10,
    train_class_sizes=(50,),
    resolution=8,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    mirror=False,
    crop_scale_min=0.6,
)


@pytest.mark.parametrize(
    ("params", "ipc", "message"),
    [
        ({"cutoffs": (0.1,), "cutoff": 0.1}, 5, "cutoff and cutoffs are both given"),
        (
            {"cutoffs": (0.1,), "holdout_student": "convnet33"},
            5,
            "no architecture 'convnet33'; did you mean 'convnet3'",
        ),
        ({"cutoffs": (0.1,), "holdout_student": "convnet4"}, 5, "'convnet4' needs images of 16 px"),
        ({"cutoffs": (0.1,), "holdout_share": 0.5}, 26, "holdout_share = 0.5 holds out 25 of the 50 images"),
        ({"cutoffs": (0.1,), "holdout_share": 0.5}, 25, ""),
        ({"holdout_student": "convnet33"}, 5, "holdout_student: of a trial, and there is none"),
        ({"cutoff": 0.1}, 60, ""),
    ],
)
def test_trials_that_cannot_be_held_are_refused_by_the_plan(params: dict[str, Any], ipc: int, message: str) -> None:
    """Before anything is computed; without several cut-offs nothing is tried."""
    found = registry.load("coresets", "ccs").objection(PLUGIN.Params(**params), INFO, ipc)
    assert message in found if message else found == ""


def test_trials_of_a_dataset_whose_files_are_elsewhere_are_planned() -> None:
    """The sizes of its classes are not known, so the task itself has to look."""
    absent = msgspec.structs.replace(INFO, train_class_sizes=())
    assert PLUGIN.objection(PLUGIN.Params(cutoffs=(0.1, 0.5)), absent, 60) == ""


def test_each_cut_off_is_a_candidate_once() -> None:
    """The smallest first, so that it wins ties."""
    trials = PLUGIN.trials(PLUGIN.Params(cutoffs=(0.5, 0.1, 0.5), holdout_steps=7))
    assert trials is not None
    assert [candidate.cutoff for candidate in trials.candidates] == [0.1, 0.5]
    assert (trials.share, trials.student, trials.steps) == (0.1, "convnet3", 7)
    assert PLUGIN.trials(PLUGIN.Params()) is None
