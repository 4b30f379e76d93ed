"""Typed, fully resolved descriptions of tasks: what changes numbers, and nothing else.

Everything here is hashed (see `keys`). Paths, partitions, pack sizes and devices live in the profile and
are never part of a value in this module. A field added here changes every key of its stage.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Stage = Literal["teacher", "embed", "condense", "evaluate", "analyze"]
STAGES: tuple[Stage, ...] = ("teacher", "embed", "condense", "evaluate", "analyze")

Precision = Literal["fp32", "bf16"]
"""Arithmetic of forward and backward passes; bf16 runs on CUDA only."""

Positive = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all values: frozen, compared by content, strict about unknown fields."""


class DatasetSpec(Value, frozen=True):
    """The images a task reads: which loader, and the digest of exactly which files under which labels."""

    name: str
    """Name in manifests; the profile maps it to a path."""
    loader: str
    """Dataset plug-in that reads it."""
    index: str
    """Digest of the file list, sizes and label map of all splits (`Index.digest`)."""
    classes: Positive
    resolution: Positive
    """Side of the square images that models see, pixels."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    """Channel statistics for normalisation, images in [0, 1]."""
    train_split: str = "train"
    """Split that is condensed."""
    test_split: str = "test"
    """Split that tests teachers and students."""


class Augment(Value, frozen=True):
    """Training-time augmentation, drawn per image (crop, flip) or per batch (CutMix)."""

    crop_scale_min: Annotated[float, Meta(gt=0.0, le=1.0)]
    """Smallest share of the area that a random resized crop keeps; 1.0 turns cropping off."""
    flip: bool
    """Mirror left-right with probability 0.5."""
    cutmix_alpha: Annotated[float, Meta(ge=0.0)]
    """Beta parameter of CutMix; 0 turns it off."""


class Optimizer(Value, frozen=True):
    """Optimiser and its schedule (cosine to zero over all steps, no warm-up)."""

    name: Literal["adamw", "sgd"]
    lr: Annotated[float, Meta(gt=0.0)]
    weight_decay: Annotated[float, Meta(ge=0.0)]
    """Not applied to norm parameters and biases."""
    momentum: Fraction = 0.9
    """SGD (Nesterov) momentum; AdamW's first beta."""
    beta2: Fraction = 0.999


class Training(Value, frozen=True):
    """One training run, fixed in optimiser steps."""

    steps: Positive
    batch: Positive
    """Global batch, images."""
    bn_group: Positive
    """Images that share batch-norm statistics; equals `batch` on one device."""
    optimizer: Optimizer
    augment: Augment
    precision: Precision


class WeightsSpec(Value, frozen=True):
    """Weights trained elsewhere: a name that the profile maps to a file, and the file's digest."""

    name: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class TeacherSpec(Value, frozen=True):
    """A classifier of the whole training split: trained here (`training`) or loaded (`weights`)."""

    dataset: DatasetSpec
    arch: str
    seed: int
    split: str
    training: Training | None
    weights: WeightsSpec | None


class EmbedSpec(Value, frozen=True):
    """Feature vectors of one split of a dataset."""

    dataset: DatasetSpec
    split: str
    encoder: str
    """`teacher` (penultimate layer of the input `encoder`) or `pixels`."""
    batch: Positive
    """Images that share a forward pass (rounding depends on it)."""
    precision: Precision


class CondenseSpec(Value, frozen=True):
    """One condensed set."""

    dataset: DatasetSpec
    kind: Literal["coreset", "method"]
    condenser: str
    params: dict[str, Any]
    """The plug-in's parameters, defaults filled in."""
    ipc: Positive
    """Images per class."""
    seed: int | None
    """Set seed; None where the condenser is not seeded."""
    resolution: Positive
    """Side of the set's square images, pixels."""
    precision: Precision


class Protocol(Value, frozen=True):
    """How labels reach a student; with `Training` the full recipe that judges a condensed set."""

    name: str
    labels: Literal["hard", "teacher"]
    teacher_role: str | None
    """Role in `[teachers.x]` that gives the labels; None for hard labels."""
    temperature: Annotated[float, Meta(gt=0.0)]
    """Softmax temperature of teacher and student in the KL loss (no T² factor)."""
    label_smoothing: Fraction
    optimizer: Optimizer
    cutmix_alpha: Annotated[float, Meta(ge=0.0)]
    test: Literal["last"]
    """Which epoch is reported. Test data selects nothing."""


class EvaluateSpec(Value, frozen=True):
    """One student trained on one condensed set and tested on the real test split."""

    dataset: DatasetSpec
    student: str
    protocol: Protocol
    training: Training
    seed: int
    """Student seed: init, batch order and augmentation."""
    test_split: str


class AnalyzeSpec(Value, frozen=True):
    """One measure of one condensed set against the real data."""

    dataset: DatasetSpec
    metric: str
    params: dict[str, Any]
    precision: Precision


Spec = TeacherSpec | EmbedSpec | CondenseSpec | EvaluateSpec | AnalyzeSpec
SPEC_TYPES: dict[Stage, type[Spec]] = {
    "teacher": TeacherSpec,
    "embed": EmbedSpec,
    "condense": CondenseSpec,
    "evaluate": EvaluateSpec,
    "analyze": AnalyzeSpec,
}


class Task(Value, frozen=True):
    """One stage of one cell with its seeds. Its key is its content: same key, same numbers."""

    stage: Stage
    spec: Spec
    inputs: dict[str, str]
    """Role to key of the task whose record it consumes; committee members are `role.0`, `role.1`, …"""
    version: tuple[int, int]
    """(version of the stage's engine, version of the plug-in)."""


class Need(Value, frozen=True):
    """What a plug-in asks for beside the images: a teacher, or embeddings of the training split."""

    stage: Literal["teacher", "embed"]
    source: str
    """Teacher role, or for `embed` the encoder: `teacher:<role>` or `pixels`."""


class DatasetInfo(Value, frozen=True):
    """What is known of a dataset before its files are seen."""

    classes: Positive
    train_class_sizes: tuple[int, ...]
    """Images per class in the training split, label order; one entry stands for 'at least this many' of all."""
    resolution: Positive
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    mirror: bool
    """Whether a mirrored image keeps its label (false for digits)."""
    crop_scale_min: Annotated[float, Meta(gt=0.0, le=1.0)]
    """Lower bound of random resized crops that keeps an image recognisable."""
    epochs: Positive
    """Passes over a condensed set in a protocol, unless the manifest says otherwise."""
    test_split: str = "test"
    train_split: str = "train"


ENGINE_VERSION: dict[Stage, int] = {"teacher": 1, "embed": 1, "condense": 1, "evaluate": 1, "analyze": 1}
"""Version of each stage's own code; bumped whenever its numbers change, whatever the plug-in."""
