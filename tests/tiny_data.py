"""Small inputs for plug-in tests: images in memory, an observer of a few weights, a reporter that can stop."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import torch
from numpy.typing import NDArray

from condhpc import distillation, rng
from condhpc.arrays import Embeddings
from condhpc.datasets.base import Split
from condhpc.errors import Stopped
from condhpc.methods.base import Method, Preparing, Steps, Work
from condhpc.registry import Plugin
from condhpc.spec import CondenseSpec, DatasetInfo, DatasetSpec, Need, PrepareSpec

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
    """4 × 4 average pooling and one linear layer with fixed weights.

    Before them a batch norm and a convolution that change nothing, for methods that look at what enters such layers.
    """

    def __init__(self, classes: int) -> None:
        super().__init__()
        weights = rng.stream(3, "tiny-observer", classes).normal(size=(classes, 48))
        self.weights = torch.from_numpy(weights.astype(np.float32))
        self.norm = torch.nn.BatchNorm2d(3, eps=0.0)
        self.conv = torch.nn.Conv2d(3, 3, 1, groups=3, bias=False)
        torch.nn.init.ones_(self.conv.weight)
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes)."""
        return torch.nn.functional.adaptive_avg_pool2d(self.conv(self.norm(images_NCHW)), 4).flatten(1) @ self.weights.T


class Recorder:
    """A reporter that notes its ticks and, at step `stop_at`, saves and stops as a context does."""

    def __init__(self, folder: Path | None = None, stop_at: int | None = None) -> None:
        self.ticks: list[tuple[int, int]] = []
        self.values: list[dict[str, float]] = []
        self._path = folder / "checkpoint.pt" if folder is not None else None
        self._stop_at = stop_at

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """Note the step."""
        self.ticks.append((step, total))
        self.values.append(values)
        if step == self._stop_at:
            if save is not None:
                assert self._path is not None
                save(self._path)
            raise Stopped("asked to")

    def checkpoint(self) -> Path | None:
        """What was saved, if anything."""
        return self._path if self._path is not None and self._path.exists() else None


class Still:
    """Safe points that note what is said and never stop."""

    def __init__(self, resumed: dict[str, Any] | None = None) -> None:
        self.resumed = resumed
        self.ticks: list[tuple[int, int, dict[str, float]]] = []

    def tick(self, step: int, total: int, state: Callable[[], dict[str, Any]] | None = None, **values: float) -> None:
        """Note the step."""
        del state
        self.ticks.append((step, total, values))


def make_spec(plugin: Method, train: MemorySplit, params: dict[str, Any] | None, ipc: int, seed: int) -> CondenseSpec:
    """The task of a set of `train`, its parameters settled."""
    total = int(train.labels_N.max()) + 1
    dataset = DatasetSpec(
        name="tiny", loader="tiny", index="0", classes=total, resolution=train.resolution, mean=MEAN, std=STD
    )
    sizes = tuple(len(train.of_class(label)) for label in range(total))
    info = DatasetInfo(
        classes=total, train_class_sizes=sizes, resolution=train.resolution, mean=MEAN, std=STD, mirror=True,
        crop_scale_min=0.5,
    )  # fmt: skip
    return CondenseSpec(
        dataset=dataset,
        kind="method",
        condenser="tiny",
        params=msgspec.to_builtins(plugin.settled(plugin.Params(**(params or {})), info, ipc)),
        ipc=ipc,
        seed=seed,
        resolution=train.resolution,
        precision="fp32",
    )


def make_work(
    plugin: Method,
    train: MemorySplit,
    *,
    params: dict[str, Any] | None = None,
    ipc: int = 2,
    seed: int = 0,
    steps: Steps | None = None,
) -> Work:
    """All that a method may use, on `train`, with every input that the plug-in needs."""
    spec = make_spec(plugin, train, params, ipc, seed)
    settled = msgspec.convert(spec.params, plugin.Params)
    given = _given(plugin, settled, train)
    given["prepared"] = {
        role: _prepared(plugin, need, train, spec)
        for role, need in plugin.needs(settled).items()
        if need.stage == "prepare"
    }
    return Work(
        spec=spec,
        params=settled,
        train=train,
        device="cpu",
        stream=partial(rng.stream, seed),
        steps=steps or Still(),
        **given,
    )


def _given(plugin: Plugin, params: Any, train: MemorySplit) -> dict[str, Any]:
    """Teachers and embeddings that a plug-in needs."""
    total = int(train.labels_N.max()) + 1
    needs = plugin.needs(params)
    pixels_ND = train.read(np.arange(len(train))).reshape(len(train), -1).astype(np.float32)
    return {
        "teachers": {role: TinyObserver(total) for role, need in needs.items() if need.stage == "teacher"},
        "embeddings": {r: Embeddings(pixels_ND, train.labels_N) for r, need in needs.items() if need.stage == "embed"},
        "prepared": {},
    }


def _prepared(plugin: Method, need: Need, train: MemorySplit, spec: CondenseSpec) -> dict[str, NDArray[Any]]:
    before = plugin.preparations[need.source]
    params = msgspec.convert(need.params, before.Params)
    prepare = PrepareSpec(
        dataset=spec.dataset,
        method="tiny",
        preparation=need.source,
        params=msgspec.to_builtins(params),
        ipc=spec.ipc if need.per_ipc else None,
        resolution=spec.resolution,
        precision="fp32",
    )
    work = Preparing(
        spec=prepare, params=params, train=train, device="cpu", steps=Still(), **_given(before, params, train)
    )
    return before.prepare(work)


def made(
    plugin: Method,
    train: MemorySplit,
    *,
    params: dict[str, Any] | None = None,
    ipc: int = 2,
    seed: int = 0,
    report: Recorder | None = None,
    groups: slice = slice(None),
) -> NDArray[np.uint8]:
    """Images of all groups in class order, or of some groups as they come, driven as the stage drives a method."""
    work = make_work(plugin, train, params=params, ipc=ipc, seed=seed)
    planned = plugin.groups(work.spec, work.params)
    images = distillation.run(
        lambda steps, group: plugin.condense(dataclasses.replace(work, steps=steps), group),
        planned[groups],
        train.resolution,
        report or Recorder(),
    )
    return distillation.in_class_order(images, planned, ipc) if groups == slice(None) else images
