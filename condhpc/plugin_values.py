"""What plug-ins say before there are tasks: what they need beside the images, and what a dataset is. Never hashed."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from condhpc.values import Positive, Value

ENCODERS = "`teacher:<role>` or `encoder:<name>` (penultimate layer), or `pixels`"
ENCODER_PATTERN = "^(pixels|(teacher|encoder):.+)$"


class Need(Value, frozen=True):
    """What a plug-in asks for beside the images: a teacher, a generator, embeddings of a split, a preparation."""

    stage: Literal["teacher", "generator", "embed", "prepare"]
    source: str
    """Teacher role, or generator; for `embed` the encoder: `teacher:<role>`, `encoder:<name>`, `generator:<name>` or
    `pixels`; for `prepare` the name of a preparation of the same method."""
    split: Literal["train", "test"] = "train"
    """Of an embedding: the dataset's training split, or its test split as real images that nothing was chosen from."""
    dynamics: bool = False
    """Of a teacher: its training, epoch by epoch, is what is asked for, so it must be trained here."""
    params: dict[str, Any] = msgspec.field(default_factory=dict)
    """Of a preparation: its parameters; what is left out has its default."""
    per_ipc: bool = False
    """Of a preparation: whether it depends on the number of images per class."""


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
    epochs: Positive = 300
    """Passes over a condensed set in a protocol, unless the manifest says otherwise."""
    full_epochs: Positive = 200
    """Passes over all training data in a full schedule, the ceiling."""
    test_split: str = "test"
    train_split: str = "train"
    train_images: int | None = None
    """In the whole training split, where `train_class_sizes` does not tell."""
