"""Decodes every image of a dataset, and says which cannot be used and why."""

from __future__ import annotations

import multiprocessing
from collections import Counter
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from typing import TYPE_CHECKING, NamedTuple

from condhpc import registry
from condhpc.errors import InputError, StageError

if TYPE_CHECKING:
    from pathlib import Path

    from condhpc.datasets.base import Dataset, Split
    from condhpc.facts import Facts
    from condhpc.file_index import Index
    from condhpc.spec import DatasetInfo

_CHUNK = 128
"""Images that a process takes at a time."""


class Looked(NamedTuple):
    """Some images more that were decoded."""

    images: int
    problems: list[str]
    """Path and reason of each that cannot be used."""


def check(held: Facts, processes: int) -> Iterator[Looked]:
    """Decode every image of every split, in the index's order. Raises StageError where a process dies of an image."""
    if held.index is None:
        raise InputError("; ".join(held.warnings))
    chunks = [
        (name, start, min(start + _CHUNK, len(split.labels)))
        for name, split in held.index.splits.items()
        for start in range(0, len(split.labels), _CHUNK)
    ]
    # Forked children share the index; a million paths are not sent to each.
    context = multiprocessing.get_context("fork")
    arguments = (held.loader, held.index, held.folder, held.info.resolution)
    with ProcessPoolExecutor(processes, mp_context=context, initializer=_open, initargs=arguments) as pool:
        try:
            for (_, start, end), problems in zip(chunks, pool.map(_look, chunks), strict=True):
                yield Looked(end - start, problems)
        except BrokenProcessPool as error:
            raise StageError("a process died while decoding (out of memory?); use fewer with --jobs") from error


def shortfall(preset: DatasetInfo | None, index: Index) -> list[str]:
    """Classes with fewer training images than a preset knows of; an incomplete copy, or a subset on purpose."""
    if preset is None or preset.train_split not in index.splits:
        return []
    sizes = preset.train_class_sizes
    expected = sizes * preset.classes if len(sizes) == 1 else sizes
    counts = Counter(index.splits[preset.train_split].labels)
    at_least = "at least " if len(sizes) == 1 else ""
    return [
        f"class {index.class_names[label]}: {counts[label]:,} training images here, {at_least}{full:,} in the original"
        for label, full in enumerate(expected)
        if counts[label] < full
    ]


_splits: dict[str, Split] = {}
"""Of a child: what it decodes from."""


def _open(loader: str, index: Index, folder: Path | None, resolution: int) -> None:
    plugin: Dataset = registry.load("datasets", loader)
    _splits.update({name: plugin.split(index, folder, name, resolution) for name in index.splits})


def _look(chunk: tuple[str, int, int]) -> list[str]:
    name, start, end = chunk
    faults = (_splits[name].fault(position) for position in range(start, end))
    return [fault for fault in faults if fault]
