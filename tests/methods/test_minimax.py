"""Minimax: phases, settings, and that a set at a smaller ipc is the beginning of a larger one."""

from typing import Any

import msgspec
import numpy as np
import pytest
from tiny_data import MemorySplit, made, make_spec

from condhpc import registry

MINIMAX = registry.load("methods", "minimax")
INFO = registry.load("datasets", "imagenet1k").INFO
TINY: dict[str, Any] = {"phase_classes": 2, "epochs": 1, "batch": 6, "ema_decay": 0.5, "steps": 3}


@pytest.mark.parametrize(("classes", "size"), [(1000, 20), (100, 10), (10, 10), (4, 4)])
def test_phases_of_the_publication(classes: int, size: int) -> None:
    """Twenty classes of ImageNet-1K, else ten, never more than there are; what is given stays."""
    info = msgspec.structs.replace(INFO, classes=classes)
    found = MINIMAX.settled(MINIMAX.Params(), info, 10)
    assert (found.phase_classes, found.mirror) == (size, True)
    kept = MINIMAX.settled(MINIMAX.Params(phase_classes=3, mirror=False), info, 10)
    assert (kept.phase_classes, kept.mirror) == (3, False)


def test_groups_of_an_odd_number_of_classes() -> None:
    """A phase is a unit; the last is shorter; every place of every class stands once."""
    train = MemorySplit(5, 4, 8)
    spec = make_spec(MINIMAX, train, {"phase_classes": 2}, 3, 0)
    groups = MINIMAX.groups(spec, msgspec.convert(spec.params, MINIMAX.Params))
    assert [unit.name for (unit,) in groups] == ["classes 0-1", "classes 2-3", "classes 4-4"]
    places = [pair for (unit,) in groups for pair in zip(unit.labels, unit.places, strict=True)]
    assert sorted(places) == [(label, place) for label in range(5) for place in range(3)]


def test_sets_are_nested() -> None:
    """Image k of a class is the same at every ipc, up to rounding to grey levels."""
    train = MemorySplit(3, 8, 8)
    one, two = (made(MINIMAX, train, params=TINY, ipc=ipc).astype(int) for ipc in (1, 2))
    assert np.abs(two[::2] - one).max() <= 1
    assert np.abs(two[1::2] - one).max() > 1


@pytest.mark.parametrize("changes", [{"fidelity": "code"}, {"representative": 5.0}, {"diverse": 5.0}, {"memory": 1}])
def test_parameters_change_the_set(changes: dict[str, Any]) -> None:
    """Each of them reaches the numbers."""
    train = MemorySplit(2, 12, 8)
    base = TINY | {"epochs": 3, "representative": 1.0}
    assert not np.array_equal(made(MINIMAX, train, params=base), made(MINIMAX, train, params=base | changes))
