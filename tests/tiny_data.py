"""Small inputs for plug-in tests: images in memory, an observer of a few weights, a reporter that can stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from condhpc import rng
from condhpc.arrays import Embeddings
from condhpc.datasets.base import Split
from condhpc.errors import Stopped
from condhpc.methods.base import Method, Work
from condhpc.spec import CondenseSpec, DatasetSpec

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


class MemorySplit(Split):
    """Random images of different sizes; counts how often each is read."""

    def __init__(self, classes: int, per_class: int, resolution: int) -> None:
        draw = rng.stream(7, "memory-split", classes, per_class, resolution)
        count = classes * per_class
        self.labels_N = draw.permutation(np.repeat(np.arange(classes), per_class)).astype(np.int64)
        self.resolution = resolution
        sides = draw.integers(resolution, 2 * resolution, size=(count, 2))
        self.images = [draw.integers(0, 256, size=(h, w, 3), dtype=np.uint8) for h, w in sides]
        self.reads = [0] * count

    def read(self, positions_n: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The top left corner of each image."""
        side = self.resolution
        return np.stack([self.images[p][:side, :side] for p in positions_n])

    def raw(self, position: int) -> NDArray[np.uint8]:
        """The image as drawn."""
        self.reads[position] += 1
        return self.images[position]


class TinyObserver(torch.nn.Module):
    """4 × 4 average pooling and one linear layer with fixed weights."""

    def __init__(self, classes: int) -> None:
        super().__init__()
        weights = rng.stream(3, "tiny-observer", classes).normal(size=(classes, 48))
        self.weights = torch.from_numpy(weights.astype(np.float32))

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes)."""
        return torch.nn.functional.adaptive_avg_pool2d(images_NCHW, 4).flatten(1) @ self.weights.T


class Recorder:
    """A reporter that notes its ticks and, at step `stop_at`, saves and stops as a context does."""

    def __init__(self, folder: Path | None = None, stop_at: int | None = None) -> None:
        self.ticks: list[tuple[int, int]] = []
        self._path = folder / "checkpoint.h5" if folder is not None else None
        self._stop_at = stop_at

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """Note the step."""
        del values
        self.ticks.append((step, total))
        if step == self._stop_at:
            assert save is not None
            assert self._path is not None
            save(self._path)
            raise Stopped("asked to")

    def checkpoint(self) -> Path | None:
        """What was saved, if anything."""
        return self._path if self._path is not None and self._path.exists() else None


def make_work(
    plugin: Method,
    train: MemorySplit,
    *,
    params: dict[str, Any] | None = None,
    classes: Sequence[int] | None = None,
    ipc: int = 2,
    seed: int = 0,
    report: Recorder | None = None,
) -> Work:
    """All that a method may use, on `train`, with every input that the plug-in needs."""
    total = int(train.labels_N.max()) + 1
    dataset = DatasetSpec(
        name="tiny", loader="tiny", index="0", classes=total, resolution=train.resolution, mean=MEAN, std=STD
    )
    values = plugin.Params(**(params or {}))
    spec = CondenseSpec(
        dataset=dataset,
        kind="method",
        condenser="tiny",
        params={},
        ipc=ipc,
        seed=seed,
        resolution=train.resolution,
        precision="fp32",
    )
    needs = plugin.needs(values)
    pixels_ND = train.read(np.arange(len(train))).reshape(len(train), -1).astype(np.float32)
    return Work(
        spec=spec,
        params=values,
        train=train,
        classes=range(total) if classes is None else classes,
        device="cpu",
        stream=partial(rng.stream, seed),
        teachers={role: TinyObserver(total) for role, need in needs.items() if need.stage == "teacher"},
        embeddings={r: Embeddings(pixels_ND, train.labels_N) for r, need in needs.items() if need.stage == "embed"},
        report=report or Recorder(),
    )
