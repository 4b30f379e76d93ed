"""A coreset of every class: class by class on CPU threads, or by groups of classes on a GPU."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.coresets.base import ClassImages, Coreset

_GROUP_BYTES = 1 << 30
"""For a group of classes on a device that does not tell its free memory."""


def select_classes(
    plugin: Coreset,
    classes: Iterable[ClassImages],
    ipc: int,
    params: Any,
    *,
    device: str = "cpu",
    threads: int = 1,
    tick: Callable[[int], None] | None = None,
) -> list[NDArray[np.int64]]:
    """Per class, in their order, the positions that `plugin` selects; neither threads nor groups change them.

    `classes` is read lazily, in this thread, little ahead of the work. `tick(done)` is called here after each class,
    in order; what it raises ends the work, as an error of a class does in its turn. On a CPU each class has one thread:
    products are single-threaded.
    """
    if device == "cpu":
        chosen = _in_threads(lambda images: plugin.select(images, ipc, params), classes, threads)
    else:
        chosen = _in_groups(lambda group: plugin.select_many(group, ipc, params, device), classes, device)
    found = []
    with closing(chosen):
        for picks in chosen:
            found.append(picks)
            if tick is not None:
                tick(len(found))
    return found


def _in_threads(
    select: Callable[[ClassImages], NDArray[np.int64]], classes: Iterable[ClassImages], threads: int
) -> Generator[NDArray[np.int64], None, None]:
    """Results in order; at most two classes a thread are under way or waiting to be taken."""
    with _single_threaded(), ThreadPoolExecutor(threads, initializer=torch.set_num_threads, initargs=(1,)) as pool:
        waiting: deque[Future[NDArray[np.int64]]] = deque()
        try:
            for images in classes:
                waiting.append(pool.submit(select, images))
                if len(waiting) >= 2 * threads:
                    yield waiting.popleft().result()
            while waiting:
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


@contextmanager
def _single_threaded() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _in_groups(
    select_many: Callable[[list[ClassImages]], list[NDArray[np.int64]]], classes: Iterable[ClassImages], device: str
) -> Generator[NDArray[np.int64], None, None]:
    """As many classes at a time as fit into part of the free memory, at least one."""
    room = torch.cuda.mem_get_info(device)[0] // 2 if device.startswith("cuda") else _GROUP_BYTES
    group: list[ClassImages] = []
    for images in classes:
        if group and _bytes_of([*group, images]) > room:
            yield from select_many(group)
            group = []
        group.append(images)
    if group:
        yield from select_many(group)


def _bytes_of(group: list[ClassImages]) -> int:
    """What a strategy may hold for a group: its vectors a few times in double precision, and N × N values."""
    longest = max(images.count for images in group)
    dimensions = max((images.embeddings_ND.shape[1] for images in group if images.embeddings_ND is not None), default=0)
    return len(group) * longest * (4 * 8 * dimensions + 4 * 4 * longest)
