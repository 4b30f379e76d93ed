"""What every distillation method keeps to, in runs of a few steps."""

from typing import Any

import golden
import numpy as np
import pytest
from tiny_data import MemorySplit, make_work

from condhpc import registry
from condhpc.arrays import CondensedSet

NAMES = registry.names("methods")
TINY: dict[str, dict[str, Any]] = {"rded": {"crops": 2, "mipc": 10, "factor": 2}}
"""Parameters that make a method cheap; defaults for those not named."""
RESOLUTION = 16


def condense(name: str, *, seed: int = 0, classes: list[int] | None = None) -> CondensedSet:
    """Two images of each class, from three classes of twelve."""
    plugin = registry.load("methods", name)
    train = MemorySplit(3, 12, RESOLUTION)
    return plugin.condense(make_work(plugin, train, params=TINY.get(name), classes=classes, seed=seed))


@pytest.mark.parametrize("name", NAMES)
def test_budget_and_balance(name: str) -> None:
    """Exactly ipc square uint8 images of each class, class by class."""
    found = condense(name)
    assert found.images_NHWC.dtype == np.uint8
    assert found.images_NHWC.shape == (6, RESOLUTION, RESOLUTION, 3)
    assert found.labels_N.dtype == np.int64
    assert found.labels_N.tolist() == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_are_bit_identical(name: str) -> None:
    """The same seed gives the same images."""
    np.testing.assert_array_equal(condense(name).images_NHWC, condense(name).images_NHWC)


@pytest.mark.parametrize("name", NAMES)
def test_seed_matters_only_where_declared(name: str) -> None:
    """Another seed gives other images if `seeded`, the very same otherwise."""
    same = np.array_equal(condense(name, seed=0).images_NHWC, condense(name, seed=1).images_NHWC)
    assert same is not registry.load("methods", name).seeded


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("shards", [[[0], [1, 2]], [[0, 1], [2]], [[0], [1], [2]]])
def test_shards_change_nothing(name: str, shards: list[list[int]]) -> None:
    """All classes in one call give the bits of the same classes in several."""
    parts = [condense(name, classes=classes) for classes in shards]
    whole = condense(name)
    np.testing.assert_array_equal(np.concatenate([p.images_NHWC for p in parts]), whole.images_NHWC)
    np.testing.assert_array_equal(np.concatenate([p.labels_N for p in parts]), whole.labels_N)


@pytest.mark.parametrize("name", golden.own_plugins("methods"))
def test_golden(name: str) -> None:
    """Images at this version are, up to the rounding of another machine, those of all time."""
    images = condense(name).images_NHWC.astype(float)
    quarters = images.reshape(6, 2, RESOLUTION // 2, 2, RESOLUTION // 2, 3).mean(axis=(2, 4, 5))
    found = {f"image {i}": quarters[i].round(2).ravel().tolist() for i in range(6)}
    golden.check("methods", name, registry.load("methods", name).version, found, tolerance=0.5)
