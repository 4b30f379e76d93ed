"""Published rules that turn a dataset, an ipc and a protocol into one exact training run."""

from __future__ import annotations

from collections.abc import Sequence
from math import ceil
from typing import TYPE_CHECKING

import msgspec

from condhpc.spec import (
    Augment,
    DatasetInfo,
    DatasetSpec,
    GeneratorSpec,
    GeneratorTraining,
    Optimizer,
    Precision,
    Protocol,
    Rows,
    Rule,
    TeacherSpec,
    Training,
)

if TYPE_CHECKING:
    from condhpc.manifest import Generator, LabelChoice, TrainingOverride
    from condhpc.teachers import Teacher

EMBED_BATCH = 256
"""Images that share a forward pass when a split is embedded."""
EMBED_ROWS = 512 * EMBED_BATCH
"""Images that one task embeds; a larger split is several tasks, which can run side by side."""
MANY_CLASSES = 100
"""From this many classes on, batches double (RDED's rule, which DELT and D3HR follow)."""
FULL_BATCH = 128
"""Of a full schedule on all training data; doubled like the others."""


def set_batch(classes: int, ipc: int) -> int:
    """Batch for training on a condensed set, at most the set: 10, 50 or 100 for ipc below 10, below 50, from 50 on."""
    base = 10 if ipc < 10 else 50 if ipc < 50 else 100
    return min(base * (2 if classes >= MANY_CLASSES else 1), classes * ipc)


def steps(images: int, batch: int, epochs: int) -> int:
    """Steps of so many passes; the last batch of a pass may be short."""
    return epochs * ceil(images / batch)


def rule_of(protocol: Protocol, classes: int, ipc: int) -> Rule:
    """The protocol's own rule for such sets; an empty one where it has none."""
    for rule in protocol.rules:
        if ipc <= (rule.ipc_up_to or ipc) and classes <= (rule.classes_up_to or classes):
            return rule
    return Rule()


def resolved(protocol: Protocol, rule: Rule, choice: LabelChoice) -> Protocol:
    """The protocol as a task holds it: the manifest's choice of label source in, the rule's teacher weights in."""
    teacher = protocol.teacher
    if teacher is None:
        return protocol
    if rule.teacher_weights:
        teacher = msgspec.structs.replace(teacher, weights=rule.teacher_weights)
    if rule.teacher_group is not None:
        teacher = msgspec.structs.replace(teacher, group=rule.teacher_group)
    source = choice.source or protocol.source
    top_k = choice.top_k or teacher.top_k if source == "cached" else None
    return msgspec.structs.replace(protocol, teacher=msgspec.structs.replace(teacher, top_k=top_k), source=source)


def student_training(
    info: DatasetInfo, ipc: int, protocol: Protocol, override: TrainingOverride | None, precision: Precision
) -> Training:
    """How a student is trained on a condensed set: fixed steps per dataset and ipc, whatever built the set."""
    images, rule = info.classes * ipc, rule_of(protocol, info.classes, ipc)
    batch = min(rule.batch or set_batch(info.classes, ipc), images)
    epochs = rule.epochs or info.epochs
    if override is not None:
        batch = min(override.batch or batch, images)
        epochs = override.epochs or epochs
    return _training(info, protocol, rule, precision, (steps(images, batch, epochs), batch))


def full_training(
    info: DatasetInfo, images: int, protocol: Protocol, override: TrainingOverride | None, precision: Precision
) -> Training:
    """A whole schedule on all `images` of the training split: the protocol's recipe for large sets, our length."""
    epochs = (override.full_epochs if override is not None else None) or info.full_epochs
    batch = min(FULL_BATCH * (2 if info.classes >= MANY_CLASSES else 1), images)
    rule = rule_of(protocol, info.classes, images)
    return _training(info, protocol, rule, precision, (steps(images, batch, epochs), batch))


def _training(
    info: DatasetInfo, protocol: Protocol, rule: Rule, precision: Precision, length: tuple[int, int]
) -> Training:
    """`length`: steps and batch."""
    given = {"lr": rule.lr, "weight_decay": rule.weight_decay}
    changes = {name: value for name, value in given.items() if value is not None}
    return Training(
        steps=length[0],
        batch=length[1],
        bn_group=ceil(length[1] / protocol.accumulate),
        optimizer=msgspec.structs.replace(protocol.optimizer, **changes),
        augment=Augment(
            crop_scale_min=protocol.crop_scale_min or info.crop_scale_min,
            flip=info.mirror and protocol.mirror is not False,
            cutmix_alpha=protocol.cutmix_alpha,
            mixup_alpha=protocol.mixup_alpha,
            patch_shuffle=protocol.patch_shuffle,
            randaugment=protocol.randaugment,
            color_jitter=protocol.color_jitter,
            lighting_std=protocol.lighting_std,
        ),
        precision=precision,
        accumulate=protocol.accumulate,
        ema_decay=protocol.ema_decay,
        extra_forward=protocol.extra_forward,
    )


def embed_rows(images: int) -> list[Rows | None]:
    """The parts in which a split of so many images is embedded; one without bounds where it is small."""
    if images <= EMBED_ROWS:
        return [None]
    return [Rows(first=first, count=min(EMBED_ROWS, images - first)) for first in range(0, images, EMBED_ROWS)]


def teacher_specs(
    teacher: Teacher, dataset: DatasetSpec, info: DatasetInfo, images: int, precision: Precision
) -> Sequence[TeacherSpec]:
    """One spec per member; `images` is the size of the split they train on. No CutMix for teachers."""
    trainings: list[Training | None] = [None] * len(teacher.members)
    if teacher.epochs is not None:
        length = steps(images, min(teacher.batch, images), teacher.epochs), min(teacher.batch, images)
        trainings = [_teacher_training(teacher, lr, length, info, precision) for lr in teacher.rates]
    return [
        TeacherSpec(dataset=dataset, arch=arch, seed=seed, split=teacher.split, training=training, weights=weights)
        for (arch, seed, weights), training in zip(teacher.members, trainings, strict=True)
    ]


def _teacher_training(
    teacher: Teacher, lr: float, length: tuple[int, int], info: DatasetInfo, precision: Precision
) -> Training:
    """Of one member; `length`: steps and batch."""
    return Training(
        steps=length[0],
        batch=length[1],
        bn_group=length[1],
        optimizer=Optimizer(name=teacher.optimizer, lr=lr, weight_decay=teacher.weight_decay),
        augment=Augment(crop_scale_min=info.crop_scale_min, flip=info.mirror, cutmix_alpha=0.0),
        precision=precision,
    )


def generator_spec(
    generator: Generator, dataset: DatasetSpec, info: DatasetInfo, images: int, precision: Precision
) -> GeneratorSpec:
    """A generator made elsewhere, or trained on a split of so many images."""
    if generator.folder is not None:
        return GeneratorSpec(
            dataset=dataset,
            seed=0,
            split=generator.split,
            arch=None,
            training=None,
            vae=None,
            folder=generator.outside,
            classes=generator.classes or "",
            pretrained_on=generator.pretrained_on,
        )
    training = GeneratorTraining(
        steps=generator.steps or 1,
        batch=min(generator.batch, images),
        lr=generator.lr,
        ema_decay=generator.ema_decay,
        label_dropout=generator.label_dropout,
        mirror=info.mirror,
        precision=precision,
    )
    return GeneratorSpec(
        dataset=dataset,
        seed=generator.seed,
        split=generator.split,
        arch=generator.size,
        training=training,
        vae=generator.outside,
        folder=None,
        classes="",
        pretrained_on=generator.pretrained_on,
    )
