"""Small trainings for tests of the engine: digits, a few steps, a reporter that can stop."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from torch import nn

from condhpc import labels, models, registry, train
from condhpc.datasets.base import Split
from condhpc.errors import Stopped
from condhpc.images import ResidentImages
from condhpc.labels import Loss
from condhpc.spec import Augment, Optimizer, Protocol, TeacherLabels, Training
from condhpc.train import Run

SIDE_PX = 8
MEAN, STD = (0.3, 0.3, 0.3), (0.4, 0.4, 0.4)


class Reporter:
    """Notes ticks; after `stop_at` steps saves and stops, as a context does. Asked again, it goes on."""

    def __init__(self, folder: Path | None = None, stop_at: int | None = None) -> None:
        self.steps: list[int] = []
        self.values: list[dict[str, float]] = []
        self.path = folder / "checkpoint" if folder is not None else None
        self._stop_at = stop_at

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """Note the step."""
        del total
        self.steps.append(step)
        self.values.append(values)
        if step == self._stop_at:
            self._stop_at = None
            assert save is not None
            assert self.path is not None
            save(self.path)
            raise Stopped("asked to")

    def checkpoint(self) -> Path | None:
        """What was saved, if anything."""
        return self.path if self.path is not None and self.path.exists() else None


@cache
def digits(split: str) -> Split:
    """A split of the digits."""
    plugin = registry.load("datasets", "digits")
    found: Split = plugin.split(plugin.index(None), None, split, SIDE_PX)
    return found


def few_digits(count: int) -> ResidentImages:
    """The first training digits."""
    split = digits("train")
    return ResidentImages(split.read(np.arange(count)), split.labels_N[:count].copy(), "cpu")


def training(steps: int, batch: int, **changes: Any) -> Training:
    """AdamW with crops and, unless said otherwise, CutMix."""
    fields: dict[str, Any] = {
        "bn_group": batch,
        "optimizer": Optimizer(name="adamw", lr=0.001, weight_decay=0.01),
        "augment": Augment(crop_scale_min=0.6, flip=False, cutmix_alpha=1.0),
        "precision": "fp32",
    }
    return Training(steps=steps, batch=batch, **{**fields, **changes})


def run(recipe: Training, loss: Loss | None = None, seed: int = 0, report: Reporter | None = None) -> Run:
    """What `train` takes, on the CPU."""
    return Run(
        training=recipe,
        loss=loss or labels.hard_labels(0.0),
        mean=MEAN,
        std=STD,
        seed=seed,
        device="cpu",
        report=report or Reporter(),
    )


def teacher_loss(teachers: Sequence[nn.Module], temperature: float) -> Loss:
    """KL to the mean softmax of teachers asked online, as in the protocol `single_teacher`."""
    protocol: Protocol = registry.load("protocols", "single_teacher")
    told = TeacherLabels(form="softmax", temperature=temperature)
    protocol = msgspec.structs.replace(protocol, teacher=told)
    return labels.teacher_labels(labels.online(teachers, told, SIDE_PX), protocol)


def student(seed: int = 0, arch: str = "convnet3") -> nn.Module:
    """An untrained network for digits."""
    train.configure(1)
    return models.build(arch, 10, SIDE_PX, seed)


def bits(model: nn.Module) -> bytes:
    """All weights and buffers, as bytes."""
    return b"".join(tensor.contiguous().numpy().tobytes() for tensor in model.state_dict().values())
