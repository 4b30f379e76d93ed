"""Small groups of units, backbones of a few weights and the progress of a group, for tests of recoveries."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from condhpc import models, pixels, recovery, rng, unit_augment
from condhpc.bn_statistics import batch_norm_term
from condhpc.errors import Stopped
from condhpc.methods.base import Group, Unit
from condhpc.spec import DatasetSpec

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
SIDE = 8


class Progress:
    """Notes values; at step `stop_at` keeps the state as a checkpoint does, and stops."""

    def __init__(self, resumed: dict[str, Any] | None = None, stop_at: int | None = None) -> None:
        self.resumed = resumed
        self.state: dict[str, Any] = {}
        self.values: list[dict[str, float]] = []
        self._stop_at = stop_at

    def tick(self, step: int, total: int, state: Callable[[], dict[str, Any]] | None = None, **values: float) -> None:
        """Note the values of a step."""
        del total
        self.values.append(values)
        if step == self._stop_at:
            assert state is not None
            self.state = copied(state())
            raise Stopped("asked to")


def copied(value: Any) -> Any:
    """A nest of tensors as a checkpoint would hold it."""
    if isinstance(value, dict):
        return {name: copied(part) for name, part in value.items()}
    if isinstance(value, list):
        return [copied(part) for part in value]
    return value.clone() if isinstance(value, torch.Tensor) else value


def make_work(progress: Progress | None = None, *, side: int = SIDE, classes: int = 3, seed: int = 0) -> Any:
    """What the engine takes of a `Work`."""
    dataset = DatasetSpec(name="tiny", loader="tiny", index="0", classes=classes, resolution=side, mean=MEAN, std=STD)
    spec = SimpleNamespace(dataset=dataset, resolution=side, precision="fp32", ipc=2)
    stream = partial(rng.stream, seed)
    return SimpleNamespace(spec=spec, device="cpu", stream=stream, steps=progress or Progress())


def network(seed: int = 0, side: int = SIDE, classes: int = 3) -> nn.Module:
    """A frozen ConvNet-3 whose batch norms remember random statistics."""
    model = models.build("convnet3", classes, side, seed)
    draw = torch.Generator().manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.running_mean is not None
            assert module.running_var is not None
            module.running_mean.normal_(0.0, 0.3, generator=draw)
            module.running_var.uniform_(0.2, 1.5, generator=draw)
    return models.placed(models.frozen(model), "cpu")


def backbones(count: int = 1, weight: float = 0.1) -> list[recovery.Backbone]:
    """Networks with their batch-norm terms."""
    found = [network(seed) for seed in range(count)]
    return [recovery.Backbone(model, batch_norm_term(model, 10.0), weight) for model in found]


def recipe(steps: int = 6, **changes: Any) -> recovery.Recipe:
    """A recipe with all augmentation."""
    values: dict[str, Any] = {
        "steps": steps,
        "lr": 0.1,
        "scale_min_S": unit_augment.scale_curriculum("none", steps, 0.08, 1.0),
        "flip": True,
        "roll_px": 2,
        "fidelity": "paper",
    }
    return recovery.Recipe(**(values | changes))


def unit(place: int, labels: tuple[int, ...] = (0, 1, 2)) -> Unit:
    """One image of each class."""
    return Unit(f"ipc {place}", labels, (place,) * len(labels))


def run(work: Any, group: Group, recipe: recovery.Recipe, networks: list[recovery.Backbone]) -> np.ndarray:
    """From noise."""
    return recovery.recover(work, group, recipe, networks, pixels.noise)
