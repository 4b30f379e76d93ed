"""What every distillation method keeps to, in runs of a few steps."""

import tempfile
from pathlib import Path
from typing import Any

import golden
import numpy as np
import pytest
from numpy.typing import NDArray
from tiny_data import MemorySplit, Recorder, made, make_work

from condhpc import registry
from condhpc.errors import Stopped

NAMES = registry.names("methods")
TINY: dict[str, dict[str, Any]] = {
    "cda": {"iterations": 3, "units_per_pass": 2},
    "delt": {"iterations": 4, "rounds": 2, "batch": 4},
    "edc": {"iterations": 4, "batch": 4, "crops": 2, "mipc": 10, "factor": 2},
    "mgd3": {"steps": 4, "stop": 2, "sample_batch": 2},
    "minimax": {"phase_classes": 2, "epochs": 1, "batch": 6, "memory": 8, "ema_decay": 0.5, "steps": 4},
    "rded": {"crops": 2, "mipc": 10, "factor": 2},
    "sre2l": {"iterations": 3, "chunk": 2},
}
"""Parameters that make a method cheap; defaults for those not named."""
RESOLUTION = 16


def condense(name: str, *, seed: int = 0, ipc: int = 2, groups: slice = slice(None)) -> NDArray[np.uint8]:
    """Images of each class, from three classes of twelve."""
    plugin, train = registry.load("methods", name), MemorySplit(3, 12, RESOLUTION)
    return made(plugin, train, params=TINY.get(name), seed=seed, ipc=ipc, groups=groups)


def group_count(name: str, ipc: int = 2) -> int:
    """Groups of that set."""
    plugin = registry.load("methods", name)
    work = make_work(plugin, MemorySplit(3, 12, RESOLUTION), params=TINY.get(name), ipc=ipc)
    return len(plugin.groups(work.spec, work.params))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("ipc", [1, 3])
def test_budget(name: str, ipc: int) -> None:
    """Exactly ipc square images of each class: the driver checks their places, types and sizes."""
    assert condense(name, ipc=ipc).shape == (3 * ipc, RESOLUTION, RESOLUTION, 3)


@pytest.mark.parametrize("name", NAMES)
def test_equal_seeds_are_bit_identical(name: str) -> None:
    """The same seed gives the same images."""
    np.testing.assert_array_equal(condense(name), condense(name))


@pytest.mark.parametrize("name", NAMES)
def test_seed_matters_only_where_declared(name: str) -> None:
    """Another seed gives other images if `seeded`, the very same otherwise."""
    same = np.array_equal(condense(name, seed=0), condense(name, seed=1))
    assert same is not registry.load("methods", name).seeded


@pytest.mark.parametrize("name", NAMES)
def test_shards_change_nothing(name: str) -> None:
    """All groups in one go give the bits of the same groups one by one, in any order."""
    count = group_count(name, ipc=3)
    alone = [condense(name, ipc=3, groups=slice(i, i + 1)) for i in reversed(range(count))][::-1]
    np.testing.assert_array_equal(condense(name, ipc=3, groups=slice(0, count)), np.concatenate(alone))


@pytest.mark.parametrize("name", NAMES)
def test_resumes_to_the_same_bits(name: str) -> None:
    """Stopped at any of its safe points and started again, a method ends with the same images."""
    plugin, train, asked = registry.load("methods", name), MemorySplit(3, 12, RESOLUTION), Recorder()
    whole = made(plugin, train, params=TINY.get(name), report=asked)
    for number in sorted({0, len(asked.ticks) // 3, len(asked.ticks) - 1}):
        with tempfile.TemporaryDirectory() as folder:
            stopping = Recorder(Path(folder), stop_at=asked.ticks[number][0])
            with pytest.raises(Stopped):
                made(plugin, train, params=TINY.get(name), report=stopping)
            again = made(plugin, train, params=TINY.get(name), report=Recorder(Path(folder)))
            np.testing.assert_array_equal(again, whole)


@pytest.mark.parametrize("name", golden.own_plugins("methods"))
def test_golden(name: str) -> None:
    """Images at this version are, up to the rounding of another machine, those of all time."""
    images = condense(name).astype(float)
    quarters = images.reshape(6, 2, RESOLUTION // 2, 2, RESOLUTION // 2, 3).mean(axis=(2, 4, 5))
    found = {f"image {i}": quarters[i].round(2).ravel().tolist() for i in range(6)}
    golden.check("methods", name, registry.load("methods", name).version, found, tolerance=0.5)
