"""What every coreset strategy keeps to."""

from functools import cache
from typing import Any

import golden
import numpy as np
import pytest

from condhpc import registry, rng
from condhpc.coresets.base import ClassImages
from condhpc.errors import StageError
from condhpc.scores import NAMES as SCORES

NAMES = registry.names("coresets")
EPOCHS = 12


def read_only(**arrays: np.ndarray) -> dict[str, np.ndarray]:
    """Arrays that refuse to be written."""
    for array in arrays.values():
        array.setflags(write=False)
    return arrays


@cache
def vectors_of(draw: int, count: int) -> np.ndarray:
    """Random embeddings with 6 features; what strategies are given is shared, and none may write into it."""
    vectors = rng.stream(draw, "coreset-contract").gamma(0.7, 5.0, size=(count, 6)).astype(np.float32)
    return read_only(vectors=vectors)["vectors"]


@cache
def scores_of(draw: int, count: int) -> dict[str, np.ndarray]:
    """Each score of the embedding's teacher, at random."""
    return read_only(
        **{key: rng.stream(draw, "coreset-contract", key).random(count, dtype=np.float32) for key in SCORES}
    )


@cache
def dynamics_of(draw: int, count: int) -> dict[str, np.ndarray]:
    """A training that learns; forgetting counts tie, and a last epoch cut short has not seen every image."""
    stream = rng.stream(draw, "coreset-contract-dynamics")
    learnt = np.linspace(-1.0, 4.0, EPOCHS)[:, None] - stream.gamma(1.0, 1.5, size=count)
    margin = (learnt + stream.normal(size=(EPOCHS, count))).astype(np.float16)
    el2n = (np.sqrt(2.0) / (1.0 + np.exp(margin.astype(float)))).astype(np.float16)
    unseen = stream.permutation(count)[: count // 2]
    correct = margin > 0
    margin[-1, unseen], el2n[-1, unseen], correct[-1, unseen] = np.nan, np.nan, False
    return read_only(margin=margin, correct=correct, el2n=el2n)


def select(name: str, seed: int = 0, *, count: int = 40, ipc: int = 7, draw: int = 0) -> np.ndarray:
    """Picks among `count` images of which the strategy is told what it needs, and nothing else."""
    plugin = registry.load("coresets", name)
    params: Any = plugin.Params()
    needs = plugin.needs(params)
    embedded = any(need.stage == "embed" for need in needs.values())
    trained = any(need.dynamics for need in needs.values())
    images = ClassImages(
        count,
        rng.stream(seed, name, 3),
        vectors_of(draw, count) if embedded else None,
        scores_of(draw, count) if embedded else {},
        [{n: dynamics_of(draw, count)[n] for n in plugin.dynamics}] if trained else (),
    )
    return plugin.select(images, ipc, params)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ipc", [1, 7, 40])
def test_budget(name: str, ipc: int) -> None:
    """Exactly ipc distinct positions in range, as int64, up to the whole class."""
    picks = select(name, ipc=ipc)
    assert picks.dtype == np.int64
    assert picks.shape == (ipc,)
    assert len(set(picks.tolist())) == ipc
    assert picks.min() >= 0
    assert picks.max() < 40


@pytest.mark.parametrize("name", NAMES)
def test_ipc_above_the_class_size(name: str) -> None:
    """More than there is stops the stage with both numbers."""
    with pytest.raises(StageError, match=r"5.*6"):
        select(name, count=5, ipc=6)


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_are_bit_identical(name: str) -> None:
    """The same seed gives the same picks in the same order."""
    np.testing.assert_array_equal(select(name), select(name))


@pytest.mark.parametrize("name", NAMES)
def test_seed_matters_only_where_declared(name: str) -> None:
    """Another seed gives another set if `seeded`, the very same otherwise."""
    same = np.array_equal(select(name, 0), select(name, 1))
    assert same is not registry.load("coresets", name).seeded


@pytest.mark.parametrize("name", NAMES)
def test_only_features_that_are_asked_for_matter(name: str) -> None:
    """A strategy that needs embeddings looks at them; its input decides its picks."""
    plugin = registry.load("coresets", name)
    same = np.array_equal(select(name, draw=0), select(name, draw=1))
    assert same is not bool(plugin.needs(plugin.Params()))


@pytest.mark.parametrize("name", golden.own_plugins("coresets"))
def test_golden(name: str) -> None:
    """Picks at this version are those of all time."""
    found = {f"seed {seed}": select(name, seed).tolist() for seed in (0, 1)}
    golden.check("coresets", name, registry.load("coresets", name).version, found, tolerance=0)
