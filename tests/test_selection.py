"""One driver for the coresets of all classes."""

import threading
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from condhpc import registry, rng, selection
from condhpc.coresets.base import ClassImages, Coreset
from condhpc.errors import StageError

GEOMETRIC = ("herding", "kcenter", "facility_location", "kmedoids", "moderate", "d2")
SIZES = (40, 25, 31, 60, 25, 12)


def images(label: int, count: int, dtype: Any = np.float16) -> ClassImages:
    """A class of its own."""
    stream = rng.stream(label, "selection-test", count)
    vectors = stream.gamma(0.7, 5.0, size=(count, 9)).astype(dtype)
    return ClassImages(count, rng.stream(0, label), vectors, {"el2n": stream.random(count, dtype=np.float32)})


def classes() -> Iterator[ClassImages]:
    """Of unequal sizes."""
    return (images(label, count) for label, count in enumerate(SIZES))


@pytest.mark.parametrize("name", [*GEOMETRIC, "random"])
def test_neither_threads_nor_groups_matter(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Class by class, on any number of threads, or in one pass over groups of any size: the same positions."""
    plugin = registry.load("coresets", name)
    params = plugin.Params()
    alone = [plugin.select(one, 12, params).tolist() for one in classes()]
    for threads in (1, 2, 5):
        found = selection.select_classes(plugin, classes(), 12, params, threads=threads)
        assert [picks.tolist() for picks in found] == alone
    for group_bytes in (1, 150_000, 1 << 30):
        monkeypatch.setattr(selection, "_GROUP_BYTES", group_bytes)
        found = selection.select_classes(plugin, classes(), 12, params, device="cpu:0")  # as on a GPU
        assert [picks.tolist() for picks in found] == alone
        assert {picks.dtype for picks in found} == {np.dtype(np.int64)}


@pytest.mark.parametrize("name", GEOMETRIC)
@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_a_class_that_is_too_small(name: str, device: str) -> None:
    """The error tells both numbers, in groups as well."""
    plugin = registry.load("coresets", name)
    with pytest.raises(StageError, match="has 12 images, ipc = 13"):
        selection.select_classes(plugin, classes(), 13, plugin.Params(), device=device, threads=2)


@pytest.mark.parametrize("rule", ["nearest", "farthest"])
@pytest.mark.parametrize("normalize", [True, False])
def test_parameters_hold_in_groups(rule: str, normalize: Any) -> None:
    """One pass over several classes follows the parameters."""
    plugin = registry.load("coresets", "herding")
    chosen = plugin.Params(rule=rule, normalize=normalize)
    alone = [plugin.select(one, 12, chosen).tolist() for one in classes()]
    assert [p.tolist() for p in selection.select_classes(plugin, classes(), 12, chosen, device="cpu:0")] == alone


def test_cosine_in_groups() -> None:
    """Facility location over cosines too."""
    plugin = registry.load("coresets", "facility_location")
    chosen = plugin.Params(similarity="cosine")
    alone = [plugin.select(one, 12, chosen).tolist() for one in classes()]
    assert [p.tolist() for p in selection.select_classes(plugin, classes(), 12, chosen, device="cpu:0")] == alone


class Watched(Coreset):
    """Takes down what is read, and in which thread with how many torch threads."""

    def __init__(self) -> None:
        self.read = 0
        self.threads: set[tuple[str, int]] = set()

    def select(self, images: ClassImages, ipc: int, params: Any) -> np.ndarray:
        """The first ones."""
        del images, params
        self.threads.add((threading.current_thread().name, torch.get_num_threads()))
        return np.arange(ipc)

    def source(self, count: int) -> Iterator[ClassImages]:
        """Classes of 3 images."""
        for label in range(count):
            self.read += 1
            yield ClassImages(3, rng.stream(label))


def test_progress_in_order_and_read_ahead() -> None:
    """Each class is told once, in order; no more than two classes a thread are read ahead of what is told."""
    plugin, told = Watched(), []

    def tick(done: int) -> None:
        told.append(done)
        assert plugin.read <= done + 2 * 2

    selection.select_classes(plugin, plugin.source(20), 2, None, threads=2, tick=tick)
    assert told == list(range(1, 21))


def test_each_class_has_one_thread() -> None:
    """Products inside are single-threaded, in this thread none is computed, and torch's setting is put back."""
    plugin, before = Watched(), torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        selection.select_classes(plugin, plugin.source(8), 2, None, threads=2)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert {count for _, count in plugin.threads} == {1}
    assert threading.current_thread().name not in {name for name, _ in plugin.threads}


@pytest.mark.parametrize("device", ["cpu", "cpu:0"])
def test_a_stop_ends_the_work(device: str) -> None:
    """What `tick` raises comes out, and the classes behind it are not read."""
    plugin = Watched()

    def tick(done: int) -> None:
        if done == 3:
            raise StageError("stopped")

    before = torch.get_num_threads()
    torch.set_num_threads(2)
    try:
        with pytest.raises(StageError, match="stopped"):
            selection.select_classes(plugin, plugin.source(1000), 2, None, threads=2, tick=tick, device=device)
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(before)
    assert plugin.read < 10 or device != "cpu"
