"""Published rules that turn a dataset, an ipc and a protocol into one exact training run."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

from condhpc.spec import Augment, DatasetInfo, DatasetSpec, Optimizer, Precision, Protocol, TeacherSpec, Training

if TYPE_CHECKING:
    from condhpc.manifest import Teacher, TrainingOverride

EMBED_BATCH = 256
"""Images that share a forward pass when a split is embedded."""
MANY_CLASSES = 100
"""From this many classes on, batches double (RDED's rule, which DELT and D3HR follow)."""


def set_batch(classes: int, ipc: int) -> int:
    """Batch for training on a condensed set, at most the set: 10, 50 or 100 for ipc below 10, below 50, from 50 on."""
    base = 10 if ipc < 10 else 50 if ipc < 50 else 100
    return min(base * (2 if classes >= MANY_CLASSES else 1), classes * ipc)


def steps(images: int, batch: int, epochs: int) -> int:
    """Optimiser steps of so many passes; the last batch of a pass may be short."""
    return epochs * ceil(images / batch)


def student_training(
    info: DatasetInfo, ipc: int, protocol: Protocol, override: TrainingOverride | None, precision: Precision
) -> Training:
    """How a student is trained on a condensed set: fixed steps per dataset and ipc, whatever built the set."""
    images = info.classes * ipc
    batch, epochs = set_batch(info.classes, ipc), info.epochs
    if override is not None:
        batch = min(override.batch or batch, images)
        epochs = override.epochs or epochs
    return Training(
        steps=steps(images, batch, epochs),
        batch=batch,
        bn_group=batch,
        optimizer=protocol.optimizer,
        augment=Augment(crop_scale_min=info.crop_scale_min, flip=info.mirror, cutmix_alpha=protocol.cutmix_alpha),
        precision=precision,
    )


def teacher_specs(
    teacher: Teacher, dataset: DatasetSpec, info: DatasetInfo, images: int, precision: Precision
) -> Sequence[TeacherSpec]:
    """One spec per member; `images` is the size of the split they train on. No CutMix for teachers."""
    training = None
    if teacher.epochs is not None:
        batch = min(teacher.batch, images)
        training = Training(
            steps=steps(images, batch, teacher.epochs),
            batch=batch,
            bn_group=batch,
            optimizer=Optimizer(name=teacher.optimizer, lr=teacher.lr, weight_decay=teacher.weight_decay),
            augment=Augment(crop_scale_min=info.crop_scale_min, flip=info.mirror, cutmix_alpha=0.0),
            precision=precision,
        )
    return [
        TeacherSpec(dataset=dataset, arch=arch, seed=seed, split=teacher.split, training=training, weights=weights)
        for arch, seed, weights in teacher.members
    ]
