"""Strategies that rank a class by difficulty: each score against its definition, and which end of it is kept."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from condhpc import registry, rng, scores
from condhpc.coresets.base import ClassImages
from condhpc.coresets.base_scored import early_error, forgetting_count, mean_margin
from condhpc.errors import StageError

Oracle = Callable[[np.ndarray, np.ndarray, int], float]
"""From features (D,), logits (K,) and the label to how hard the image is."""


def pick(name: str, images: ClassImages, ipc: int, **params: Any) -> list[int]:
    """Positions that a plug-in picks."""
    plugin = registry.load("coresets", name)
    return plugin.select(images, ipc, plugin.Params(**params)).tolist()


def trained(*members: dict[str, np.ndarray], seed: int = 0) -> ClassImages:
    """Images of which only trainings are known."""
    count = next(iter(members[0].values())).shape[1]
    return ClassImages(count, rng.stream(seed, "scored-test"), dynamics=members)


def dynamics(margin_EN: Any, *, unseen: Sequence[int] = ()) -> dict[str, np.ndarray]:
    """A training by its margins; in the last epoch some images are not seen."""
    margin = np.array(margin_EN, dtype=np.float16)
    el2n = (math.sqrt(2.0) / (1.0 + np.exp(margin.astype(float)))).astype(np.float16)
    correct = margin > 0
    margin[-1, list(unseen)], el2n[-1, list(unseen)], correct[-1, list(unseen)] = np.nan, np.nan, False
    return {"margin": margin, "correct": correct, "el2n": el2n}


def random_dynamics(seed: int, epochs: int = 9, count: int = 30) -> dict[str, np.ndarray]:
    """Half of the images are not seen in the last epoch."""
    draw = rng.stream(seed, "scored-dynamics")
    return dynamics(draw.normal(0.5, 2.0, size=(epochs, count)), unseen=draw.permutation(count)[: count // 2])


# Scores from one forward pass


def softmax(logits: np.ndarray) -> list[float]:
    """Probabilities, by the definition."""
    total = sum(math.exp(z) for z in logits)
    return [math.exp(z) / total for z in logits]


def gradient_norm(features: np.ndarray, logits: np.ndarray, label: int) -> float:
    """Of the loss in the weights and the bias of a last layer that gives these logits, by automatic differentiation."""
    h, z = torch.from_numpy(features), torch.from_numpy(logits)
    weight = torch.outer(z, h / (h @ h)).requires_grad_()
    bias = torch.zeros_like(z).requires_grad_()
    torch.nn.functional.cross_entropy((weight @ h + bias)[None], torch.tensor([label])).backward()
    assert weight.grad is not None
    assert bias.grad is not None
    return float((weight.grad.square().sum() + bias.grad.square().sum()).sqrt())


def small_margin(features: np.ndarray, logits: np.ndarray, label: int) -> float:
    """Second probability minus the first."""
    first, second = sorted(softmax(logits), reverse=True)[:2]
    return second - first


def entropy(features: np.ndarray, logits: np.ndarray, label: int) -> float:
    """−Σ p ln p."""
    return -sum(p * math.log(p) for p in softmax(logits))


def doubt(features: np.ndarray, logits: np.ndarray, label: int) -> float:
    """One minus the largest probability."""
    return 1.0 - max(softmax(logits))


@pytest.mark.parametrize(
    ("name", "oracle"),
    [("grand", gradient_norm), ("margin", small_margin), ("entropy", entropy), ("least_confidence", doubt)],
)
@pytest.mark.parametrize("seed", range(3))
def test_a_forward_score_ranks_as_its_definition(name: str, oracle: Oracle, seed: int) -> None:
    """From features and logits through the stored scores to the ranking: that of the definition, image by image."""
    draw = rng.stream(seed, "scored-forward")
    features, logits = draw.gamma(1.0, 2.0, size=(25, 6)), draw.normal(0.0, 1.5, size=(25, 5))
    labels = draw.integers(0, 5, size=25)
    batch = scores.of_batch(*(torch.from_numpy(a) for a in (features.astype("f4"), logits.astype("f4"), labels)))
    images = ClassImages(25, rng.stream(0), scores={n: score.numpy() for n, score in batch.items()})
    hardness = [oracle(f, z, int(y)) for f, z, y in zip(features, logits, labels, strict=True)]
    assert pick(name, images, 25) == sorted(range(25), key=lambda i: -hardness[i])
    assert pick(name, images, 25, direction="easy") == sorted(range(25), key=lambda i: hardness[i])


@pytest.mark.parametrize("name", ["el2n", "grand", "nearness", "doubt"])
def test_sure_networks_do_not_tie(name: str) -> None:
    """Where the largest probability rounds to 1 in single precision, what is left to 1 still ranks, to 1e-5."""
    logits = np.array([[z, 0.0, -1.0] for z in (20.0, 25.0, 30.0, 40.0)], dtype="f4")
    found = scores.of_batch(torch.zeros(4, 2), torch.from_numpy(logits), torch.zeros(4, dtype=torch.int64))[name]
    rest = [(math.exp(-z), math.exp(-1.0 - z)) for z in (20.0, 25.0, 30.0, 40.0)]  # p to 1e-8
    norm = [math.sqrt((a + b) ** 2 + a**2 + b**2) for a, b in rest]
    expected = {
        "el2n": norm,
        "grand": norm,
        "nearness": [2 * a + b for a, b in rest],
        "doubt": [a + b for a, b in rest],
    }
    np.testing.assert_allclose(found.numpy(), expected[name], rtol=1e-5)


@pytest.mark.parametrize("name", ["grand", "margin", "entropy", "least_confidence"])
def test_scores_that_are_missing_or_broken(name: str) -> None:
    """An encoder without classes has no scores; NaN, infinite and misplaced ones are named."""
    read = {"grand": "grand", "margin": "nearness", "entropy": "entropy", "least_confidence": "doubt"}[name]
    for held, message in (
        ({"other": np.zeros(3, "f4")}, rf"score '{read}': found only \['other'\]"),
        ({read: np.zeros(4, "f4")}, r"found an array \(4,\), expected \(3,\)"),
        ({read: np.array([0.0, np.nan, np.inf], "f4")}, "NaN or infinite for 2 of 3 images .* position 1"),
    ):
        with pytest.raises(StageError, match=message):
            pick(name, ClassImages(3, rng.stream(0), scores=held), 1)


# Scores from a training


def last_seen(column: np.ndarray) -> float:
    """The last number of a column that is one."""
    return float([v for v in column if not np.isnan(v)][-1])


@pytest.mark.parametrize("seed", range(4))
def test_el2n_is_the_error_at_the_early_epoch(seed: int) -> None:
    """The epoch that ends the share; where an image was not seen in it, the last before."""
    held = random_dynamics(seed)
    for share, epochs in ((0.01, 1), (0.1, 1), (0.5, 5), (1.0, 9)):
        expected = [last_seen(held["el2n"][:epochs, i]) for i in range(30)]
        assert early_error(held, share).tolist() == expected
        order = sorted(range(30), key=lambda i: -expected[i])
        assert pick("el2n", trained(held), 30, epoch_share=share) == order


@pytest.mark.parametrize("seed", range(4))
def test_aum_is_the_mean_margin(seed: int) -> None:
    """Over the epochs in which an image was seen; low is hard."""
    held = random_dynamics(seed)
    columns = [[float(v) for v in held["margin"][:, i] if not np.isnan(v)] for i in range(30)]
    expected = [sum(column) / len(column) for column in columns]
    np.testing.assert_allclose(mean_margin(held), expected, rtol=1e-12)
    assert pick("aum", trained(held), 30) == sorted(range(30), key=lambda i: expected[i])


@pytest.mark.parametrize("seed", range(4))
def test_forgetting_counts_losses(seed: int) -> None:
    """Right and then wrong, over the epochs in which an image was seen; never right counts as all epochs."""
    held = random_dynamics(seed, epochs=7)
    expected = []
    for i in range(30):
        seen = [bool(c) for c, m in zip(held["correct"][:, i], held["margin"][:, i], strict=True) if not np.isnan(m)]
        lost = sum(before and not after for before, after in pairwise(seen))
        expected.append(float(lost if any(seen) else 7))
    assert forgetting_count(held).tolist() == expected
    picks = pick("forgetting", trained(held), 30)
    assert [expected[i] for i in picks] == sorted(expected, reverse=True)


def test_an_epoch_that_was_cut_short_forgets_nothing() -> None:
    """An image that was right until the data ended counts no loss, although the array says it was not right."""
    held = dynamics([[1.0, 1.0, -1.0], [1.0, 1.0, -1.0], [1.0, -1.0, -1.0]], unseen=[0, 2])
    assert not held["correct"][2, 0]
    assert forgetting_count(held).tolist() == [0.0, 1.0, 3.0]


def test_ties_of_forgetting_are_drawn() -> None:
    """Counts come before the draw; among equal ones each seed has its own order, and none is that of the files."""
    held = dynamics(np.where(np.arange(40) < 5, [[1.0], [-1.0], [1.0]], [[1.0], [1.0], [1.0]]))
    drawn = {tuple(pick("forgetting", trained(held, seed=seed), 20)) for seed in range(4)}
    assert len(drawn) == 4
    assert all(set(picks[:5]) == set(range(5)) for picks in drawn)
    assert all(list(picks[5:]) != sorted(picks[5:]) for picks in drawn)


@pytest.mark.parametrize(
    ("name", "of_member"), [("el2n", lambda m: early_error(m, 0.1)), ("aum", lambda m: -mean_margin(m))]
)
def test_a_committee_is_averaged(name: str, of_member: Callable[[Any], np.ndarray]) -> None:
    """The mean of what each network says, though they were trained for different numbers of epochs."""
    members = [random_dynamics(seed, epochs=5 + seed) for seed in range(3)]
    mean = (of_member(members[0]) + of_member(members[1]) + of_member(members[2])) / 3
    assert pick(name, trained(*members), 30) == np.argsort(-mean, kind="stable").tolist()


@pytest.mark.parametrize("name", ["el2n", "aum", "forgetting", "ccs"])
def test_broken_dynamics_are_named(name: str) -> None:
    """No training, one of other images, one that has not seen an image, one that overflowed."""
    plugin = registry.load("coresets", name)
    good = {n: dynamics(np.ones((3, 4)))[n] for n in plugin.dynamics}
    with pytest.raises(StageError, match="found none, expected those of the role 'proxy'"):
        pick(name, ClassImages(4, rng.stream(0)), 1)
    with pytest.raises(StageError, match=r"found \(3, 4\), expected \(epochs, 5\)"):
        pick(name, ClassImages(5, rng.stream(0), dynamics=[good]), 1)
    for value, message in ((np.nan, "NaN in every epoch .* for 1 of 4 images .* position 2"), (np.inf, "infinite")):
        bad = {n: a.copy() for n, a in good.items()}
        for n in set(bad) - {"correct"}:
            bad[n][:, 2] = value
        with pytest.raises(StageError, match=message):
            pick(name, trained(bad), 1)


# Which end is kept


def test_a_quantile_without_a_window_is_refused_by_the_plan() -> None:
    """It would count for nothing, and whoever wrote it meant a window."""
    plugin = registry.load("coresets", "el2n")
    info = registry.load("datasets", "digits").INFO
    refused = plugin.objection(plugin.Params(quantile=0.7), info, 1)
    assert refused == "quantile = 0.7 counts for direction = 'window' alone, found 'hard'; change one of the two"
    assert plugin.objection(plugin.Params(quantile=0.7, direction="window"), info, 1) == ""
    assert plugin.objection(plugin.Params(direction="easy"), info, 1) == ""


def test_directions_and_windows() -> None:
    """Hard from the top, easy from the bottom, a window around its centre and shifted inwards at an end."""
    margins = [[3.0, -1.0, 0.0, 2.0, 1.0]]  # aum: hardness order from easy to hard 0 3 4 2 1
    images = trained(dynamics(margins))
    assert pick("aum", images, 3) == [1, 2, 4]
    assert pick("aum", images, 3, direction="easy") == [0, 3, 4]
    assert pick("aum", images, 3, direction="window") == [4, 3, 2]
    assert pick("aum", images, 3, direction="window", quantile=0.25) == [3, 0, 4]
    assert pick("aum", images, 3, direction="window", quantile=0.0) == [0, 3, 4]
    assert pick("aum", images, 3, direction="window", quantile=1.0) == [1, 2, 4]
    assert pick("aum", images, 1, direction="window", quantile=0.6) == [4]


@pytest.mark.parametrize("direction", ["hard", "easy", "window"])
def test_ties_go_to_the_lowest_position(direction: str) -> None:
    """Where all images are equally hard, a strategy that is not seeded takes the first (in a window, the middle)."""
    picks = pick("aum", trained(dynamics(np.ones((2, 5)))), 3, direction=direction)
    assert picks == ([2, 1, 3] if direction == "window" else [0, 1, 2])


@settings(deadline=None)
@given(
    margins=st.lists(st.sampled_from([-2.0, 0.0, 0.5, 1.0, 7.0]), min_size=1, max_size=12),
    data=st.data(),
    name=st.sampled_from(["aum", "el2n", "forgetting"]),
    direction=st.sampled_from(["hard", "easy", "window"]),
    quantile=st.floats(0.0, 1.0),
)
def test_budget_and_ranks(
    margins: list[float], data: st.DataObject, name: str, direction: str, quantile: float
) -> None:
    """Exactly ipc; neighbours in the ranking, as close to where they should be as can be; a smaller ipc is nested."""
    ipc = data.draw(st.integers(1, len(margins)))
    held = dynamics([margins])
    count = {"aum": [-m for m in margins], "forgetting": [0.0 if m > 0 else 1.0 for m in margins]}
    hardness = count.get(name, held["el2n"][0].astype(float).tolist())
    picks = pick(name, trained(held), ipc, direction=direction, quantile=quantile)
    assert len(set(picks)) == ipc
    assert picks == pick(name, trained(held), len(margins), direction=direction, quantile=quantile)[:ipc]
    ranked = sorted(hardness)
    centre = {"hard": len(ranked) - 1.0, "easy": 0.0}.get(direction, quantile * (len(ranked) - 1))
    nearest = sorted(range(len(ranked)), key=lambda rank: (abs(rank - centre), rank))[:ipc]
    assert sorted(hardness[i] for i in picks) == sorted(ranked[rank] for rank in nearest)
