"""The bootstrap against plain loops, its intervals against simulated truths, and what is paired with what."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
from scipy import stats

from condhpc.paper import bootstrap
from condhpc.paper.bootstrap import Arm, differences, paired
from condhpc.paper.spread import IMAGES, SETS, STUDENTS, Seeds


def plain_arm(values: dict[Seeds, float], alike: dict[Seeds, object] | None = None) -> Arm:
    """An arm without bits."""
    return Arm(values, None, None, alike or {})


def arms(*runs: dict[Seeds, np.ndarray[Any, Any]]) -> list[Arm]:
    """Arms with bits, on the same drawn images."""
    found = []
    for of_arm in runs:
        sums_BR = bootstrap.resampled(np.stack(list(of_arm.values())), "test")
        top1 = {seeds: float(right_N.mean()) for seeds, right_N in of_arm.items()}
        found.append(Arm(top1, of_arm, {seeds: sums_BR[:, i] for i, seeds in enumerate(of_arm)}, {}))
    return found


def test_drawn_images_are_an_ordinary_bootstrap() -> None:
    """A loop over the same draws, image by image, gives the same accuracies; draws hold as many images as there are."""
    right_RN = (np.random.default_rng(0).random((3, 50)) < 0.6).astype(np.uint8)
    found_BR = bootstrap.resampled(right_RN, "loop")
    draw = bootstrap.generator("images", "loop", 50)
    for b in range(20):
        chosen = draw.integers(0, 50, size=50, dtype=np.int32)
        expected = [sum(int(right_N[i]) for i in chosen) / 50 for right_N in right_RN]
        assert found_BR[b].tolist() == expected


def test_drawn_accuracies_spread_as_the_binomial_does() -> None:
    """Closed form: the bootstrap's variance of a share is p (1 − p) / N."""
    right_N = (np.arange(2000) % 5 < 2).astype(np.uint8)
    found_B = bootstrap.resampled(right_N[None], "closed")[:, 0]
    assert found_B.mean() == pytest.approx(0.4, abs=0.002)
    assert found_B.var() == pytest.approx(0.4 * 0.6 / 2000, rel=0.1)


def test_run_weights_are_hierarchical() -> None:
    """They add up to one; a set's share is shared by its students, and a student's share is the same in every set."""
    seeds: list[Seeds] = [(0, 0), (0, 1), (1, 0), (1, 1), (2, 0), (2, 1)]
    found_BR = bootstrap.run_weights(seeds)
    assert np.allclose(found_BR.sum(axis=1), 1.0)
    share_B = found_BR[:, 0] / (found_BR[:, 0] + found_BR[:, 1])
    assert np.allclose(found_BR[:, 4] / (found_BR[:, 4] + found_BR[:, 5]), share_B)
    # Dirichlet(1, 1, 1): the variance of one set's share is 2 / (9 · 4)
    assert (found_BR[:, 0] + found_BR[:, 1]).var() == pytest.approx(1 / 18, rel=0.1)


def test_one_comparison_of_paired_students_is_a_t_interval() -> None:
    """Without bits and with one set, the interval is scipy's for paired samples."""
    first, second = [0.61, 0.66, 0.70, 0.64], [0.58, 0.61, 0.69, 0.60]
    left, right = ({(0, i): v for i, v in enumerate(side)} for side in (first, second))
    (found,) = differences([(plain_arm(left), plain_arm(right))])
    assert found is not None
    expected = stats.ttest_rel(first, second).confidence_interval(0.95)
    assert (found.low, found.high) == pytest.approx((expected.low, expected.high))
    assert (found.n, found.n_sets, found.over) == (4, 1, (STUDENTS,))


def test_several_comparisons_are_wider_than_one_and_narrower_than_bonferroni() -> None:
    """The studentised maximum corrects for the choice, and knows that comparisons with one arm hang together."""
    draw = np.random.default_rng(3)
    runs = [plain_arm({(0, i): float(v) for i, v in enumerate(draw.normal(size=40))}) for _ in range(6)]
    (alone,) = differences([(runs[1], runs[0])])
    together = differences([(one, runs[0]) for one in runs[1:]])
    assert alone is not None
    assert alone.high is not None
    pairs = [(one, runs[0]) for one in runs[1:]]
    level = bootstrap._level([bootstrap._contrast(*pair) for pair in pairs], pairs)  # type: ignore[misc]
    assert 0.95 < level < 1 - 0.05 / 5
    widths = [one.high - one.value for one in together if one is not None and one.high is not None]
    assert min(widths) > 0.8 * (alone.high - alone.value)


def test_few_seeds_do_not_hide_the_number_of_comparisons() -> None:
    """All pairs of six arms with three seeds each: at least Tukey's quantile of the studentised range, by scipy."""
    draw = np.random.default_rng(4)
    runs = [plain_arm({(s, 0): float(v) for s, v in enumerate(draw.normal(size=3))}) for _ in range(6)]
    pairs = [(one, other) for i, one in enumerate(runs) for other in runs[i + 1 :]]
    level = bootstrap._level([bootstrap._contrast(*pair) for pair in pairs], pairs)  # type: ignore[misc]
    tukey = float(stats.studentized_range.ppf(0.95, 6, np.inf)) / np.sqrt(2.0)
    assert stats.norm.ppf((1 + level) / 2) == pytest.approx(tukey, rel=0.03)


def covered(condensers: int, sets: int, students: int, runs: int, noise: Sequence[float]) -> float:
    """Share of simulated tables without any difference in which no interval misses 0."""
    draw = np.random.default_rng(11)
    of_set, of_student, rest = noise
    held = 0
    for _ in range(runs):
        found = []
        for _ in range(condensers):
            values_ST = draw.normal(0, of_set, (sets, 1)) + draw.normal(0, of_student, (1, students))
            values_ST = values_ST + draw.normal(0, rest, (sets, students))
            found.append(plain_arm({(s, t): float(v) for (s, t), v in np.ndenumerate(values_ST)}))
        held += all(one is not None and one.holds_zero for one in differences([(a, found[0]) for a in found[1:]]))
    return held / runs


@pytest.mark.parametrize(
    ("condensers", "sets", "students", "noise"),
    [(2, 3, 3, (1.0, 0.3, 0.5)), (6, 3, 3, (1.0, 0.3, 0.5)), (6, 5, 2, (0.5, 0.5, 1.0)), (6, 1, 3, (0.0, 0.5, 1.0))],
)
def test_intervals_hold_all_at_once(condensers: int, sets: int, students: int, noise: Sequence[float]) -> None:
    """In tables without differences at most one in twenty names one, within 3 standard errors, few seeds or not."""
    runs = 150
    assert covered(condensers, sets, students, runs, noise) > 0.95 - 3 * np.sqrt(0.95 * 0.05 / runs)


def test_intervals_over_images_hold() -> None:
    """New test images and new students, drawn from a population without a difference: most intervals hold 0."""
    draw = np.random.default_rng(5)
    runs, held = 60, 0
    for _ in range(runs):
        hard_N = draw.normal(size=300)
        bits = [
            {(0, t): (hard_N + draw.normal(size=300) < draw.normal(0.3, 0.05)).astype(np.uint8) for t in range(3)}
            for _ in range(2)
        ]
        (found,) = differences([tuple(arms(*bits))])  # type: ignore[list-item]
        assert found is not None
        assert found.over == (STUDENTS, IMAGES)
        held += found.holds_zero
    assert held / runs > 0.95 - 3 * np.sqrt(0.95 * 0.05 / runs)


def test_a_difference_is_found() -> None:
    """Eight points between students that vary by one are told apart with three sets and three students."""
    draw = np.random.default_rng(6)
    hard_N = draw.normal(size=1000)
    bits: list[dict[Seeds, np.ndarray[Any, Any]]] = [
        {
            (s, t): (hard_N + 0.5 * draw.normal(size=1000) < level + draw.normal(0, 0.03)).astype(np.uint8)
            for s in range(3)
            for t in range(3)
        }
        for level in (0.0, 0.25)
    ]
    weak, strong = arms(*bits)
    (found,) = differences([(strong, weak)])
    assert found is not None
    assert found.low is not None
    assert found.low > 0
    assert found.over == (SETS, STUDENTS, IMAGES)


def test_one_pair_of_runs_speaks_of_images_alone() -> None:
    """There is an interval, but it says nothing of other seeds."""
    draw = np.random.default_rng(8)
    one, other = arms(*({(0, 0): (draw.random(500) < p).astype(np.uint8)} for p in (0.5, 0.6)))
    (found,) = differences([(one, other)])
    assert found is not None
    assert (found.over, found.seeded) == ((IMAGES,), False)


def test_one_pair_without_bits_has_no_interval() -> None:
    """A number alone is not a claim: nobody knows that the two differ."""
    (found,) = differences([(plain_arm({(0, 0): 0.9}), plain_arm({(0, 0): 0.1}))])
    assert found is not None
    assert (found.low, found.high, found.over) == (None, None, ())
    assert found.holds_zero


def test_pairs_share_their_seeds() -> None:
    """Equal student seed and equal set seed; what only one side has is left out."""
    left = plain_arm(dict.fromkeys([(0, 0), (0, 1), (1, 0)], 0.5))
    right = plain_arm(dict.fromkeys([(0, 1), (1, 0), (2, 0)], 0.5))
    found, unlike = paired(left, right)
    assert [pair for pair, _, _ in found] == [(0, 1), (1, 0)]
    assert unlike == 0


def test_a_set_without_a_seed_stands_beside_every_set() -> None:
    """Herding chooses the same images whatever the seed: it is compared with each random set, student by student."""
    left = plain_arm(dict.fromkeys([(None, 0), (None, 1)], 0.5))
    right = plain_arm(dict.fromkeys([(3, 0), (4, 0), (4, 1)], 0.5))
    found, _ = paired(left, right)
    assert [pair for pair, _, _ in found] == [(3, 0), (4, 0), (4, 1)]


def test_unlike_runs_are_not_compared() -> None:
    """Other teachers or another training: the pair is left out and counted."""
    keys: list[Seeds] = [(0, 0), (0, 1)]
    left = plain_arm(dict.fromkeys(keys, 0.5), {(0, 0): "teacher a", (0, 1): "teacher a"})
    right = plain_arm(dict.fromkeys(keys, 0.4), {(0, 0): "teacher a", (0, 1): "teacher b"})
    (found,) = differences([(left, right)])
    assert found is not None
    assert (found.n, found.unlike) == (1, 1)


def test_arms_without_common_seeds_have_no_difference() -> None:
    """Nothing is compared that is not paired."""
    assert differences([(plain_arm({(0, 0): 0.5}), plain_arm({(0, 1): 0.5}))]) == [None]


def test_the_same_numbers_give_the_same_interval() -> None:
    """Streams have names: nothing depends on the order in which comparisons are made."""
    draw = np.random.default_rng(9)
    one, other = (plain_arm({(s, 0): float(v) for s, v in enumerate(draw.normal(size=4))}) for _ in range(2))
    first = differences([(one, other)])
    bootstrap.seed_weights.cache_clear()
    assert differences([(one, other)]) == first
