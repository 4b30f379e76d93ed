"""Typed, fully resolved descriptions of tasks: what changes numbers, and nothing else.

Everything here and in `training_spec` is hashed (see `keys`). Paths, partitions, pack sizes and devices live in the
profile and are never part of such a value. A field added here changes every key of its stage.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import UNSET, Meta, UnsetType

from condhpc.plugin_values import ENCODER_PATTERN, ENCODERS, DatasetInfo, Need
from condhpc.training_spec import (
    Augment,
    DiffusionTransformer,
    GeneratorTraining,
    Optimizer,
    Probes,
    Protocol,
    RandAugment,
    Rule,
    TeacherLabels,
    Training,
)
from condhpc.values import Fraction, Positive, Precision, Value

__all__ = [
    "ENCODERS", "ENCODER_PATTERN", "ENGINE_VERSION", "SPEC_TYPES", "STAGES", "AnalyzeSpec", "Augment",
    "CondenseSpec", "DatasetInfo", "DatasetSpec", "DiffusionTransformer", "EmbedSpec", "EvaluateSpec", "FolderSpec",
    "Fraction", "GeneratorSpec", "GeneratorTraining", "Groups", "Need", "NetworkSpec", "Optimizer", "Positive",
    "Precision", "PrepareSpec", "Probes", "Protocol", "RandAugment", "RelabelSpec", "Rows", "Rule", "Spec", "Stage",
    "Task", "TeacherLabels", "TeacherSpec", "Training", "Value", "WeightsSpec",
]  # fmt: skip
"""Import values from here, wherever they stand: records hold digests of plug-ins' files, imports included."""

Stage = Literal["teacher", "generator", "embed", "prepare", "condense", "relabel", "evaluate", "analyze"]
STAGES: tuple[Stage, ...] = (
    "teacher",
    "generator",
    "embed",
    "prepare",
    "condense",
    "relabel",
    "evaluate",
    "analyze",
)


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


class WeightsSpec(Value, frozen=True):
    """Weights trained elsewhere: a name that the profile maps to a file, and the file's digest."""

    name: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    expected_top1_pct: Annotated[float, Meta(ge=0.0, le=100.0)] | None = None
    """Accuracy on the dataset's test split that these weights are known for; None: not compared."""
    tolerance_pct: Annotated[float, Meta(ge=0.0)] = 1.0
    """Points by which the measured accuracy may differ from it."""


class TeacherSpec(Value, frozen=True):
    """A classifier of the whole training split: trained here (`training`) or loaded (`weights`)."""

    dataset: DatasetSpec
    arch: str
    seed: int
    split: str
    training: Training | None
    weights: WeightsSpec | None


class FolderSpec(Value, frozen=True):
    """A folder that diffusers reads: a name that the profile maps to it, and its digest."""

    name: str
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]


class GeneratorSpec(Value, frozen=True):
    """A class-conditional generator: trained here (`arch`, `training`) or loaded (`folder`)."""

    dataset: DatasetSpec
    seed: int
    split: str
    arch: DiffusionTransformer | None
    training: GeneratorTraining | None
    vae: FolderSpec | None
    """Autoencoder in whose latents it is trained here; None: it works on pixels."""
    folder: FolderSpec | None
    """Transformer, autoencoder and noise schedule, trained elsewhere."""
    classes: str
    """Dataset whose label order a loaded generator has; empty: that of its own dataset."""
    pretrained_on: str
    """What loaded parts saw before, for people."""


class NetworkSpec(Value, frozen=True):
    """A network trained elsewhere, on other data, of which only the features are used."""

    library: Literal["torchvision", "timm"]
    arch: str
    """Its name in that library."""
    weights: str
    """A name that the profile maps to a file."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """Of that file."""
    resolution: Positive
    """Side of the square images that it sees, pixels; images of another size are resized (bicubic, antialiased)."""
    mean: tuple[float, float, float]
    std: tuple[float, float, float]


class Rows(Value, frozen=True):
    """A part of a split, by position. Whole batches, so that parts do not change a number."""

    first: Annotated[int, Meta(ge=0)]
    count: Positive


class EmbedSpec(Value, frozen=True):
    """Feature vectors of one split of a dataset, or of a part of it."""

    dataset: DatasetSpec
    split: str
    encoder: Literal["teacher", "network", "pixels", "generator"]
    """Penultimate layer of the input `encoder`, or of `network`; the image itself; or latents of the input `generator`,
    flattened."""
    network: NetworkSpec | None
    batch: Positive
    """Images that share a forward pass (rounding depends on it)."""
    precision: Precision
    """Under bf16 the vectors are kept as float16, which holds every digit that bf16 has."""
    rows: Rows | None
    """None: all of the split. A large one is several tasks, each with its file."""


class PrepareSpec(Value, frozen=True):
    """What a method computes from the data once, for all sets that it builds from them."""

    dataset: DatasetSpec
    method: str
    preparation: str
    """Its name in the method."""
    params: dict[str, Any]
    """The preparation's parameters, defaults filled in."""
    ipc: Positive | None
    """Images per class that it is for; None: for any number."""
    resolution: Positive
    precision: Precision


class Groups(Value, frozen=True):
    """A part of a method's groups, by position (`Method.groups`)."""

    first: Annotated[int, Meta(ge=0)]
    count: Positive


class CondenseSpec(Value, frozen=True):
    """One condensed set, or a shard of it."""

    dataset: DatasetSpec
    kind: Literal["coreset", "method", "external"]
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
    groups: Groups | UnsetType = UNSET
    """The groups of a shard; left out, all of them. Keys hold it only where it is given."""

    @property
    def is_shard(self) -> bool:
        """Whether this is a part of a set."""
        return self.groups is not UNSET


class RelabelSpec(Value, frozen=True):
    """Teachers' labels of every image of every batch of one student's training, in training order."""

    dataset: DatasetSpec
    teacher: TeacherLabels
    steps: Positive
    batch: Positive
    augment: Augment
    seed: int
    """Student seed: batch order and augmentation. Students of all architectures share the labels."""
    precision: Precision


class EvaluateSpec(Value, frozen=True):
    """One student trained on one condensed set (or, without an input `set`, on all training data) and tested."""

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


Spec = TeacherSpec | GeneratorSpec | EmbedSpec | PrepareSpec | CondenseSpec | RelabelSpec | EvaluateSpec | AnalyzeSpec
SPEC_TYPES: dict[Stage, type[Spec]] = {
    "teacher": TeacherSpec,
    "generator": GeneratorSpec,
    "embed": EmbedSpec,
    "prepare": PrepareSpec,
    "condense": CondenseSpec,
    "relabel": RelabelSpec,
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
    shards: tuple[str, ...] = ()
    """Keys of tasks that make parts of what it makes, in order. How it is made, not what: no part of its own key."""

    @property
    def waits_for(self) -> tuple[str, ...]:
        """Keys of all tasks that must be recorded before it starts."""
        return (*self.inputs.values(), *self.shards)


ENGINE_VERSION: dict[Stage, int] = dict.fromkeys(STAGES, 1)
"""Version of each stage's own code; bumped whenever its numbers change, whatever the plug-in."""
