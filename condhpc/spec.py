"""Typed, fully resolved descriptions of tasks: what changes numbers, and nothing else.

Everything here is hashed (see `keys`). Paths, partitions, pack sizes and devices live in the profile and
are never part of a value in this module. A field added here changes every key of its stage.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

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


class RandAugment(Value, frozen=True):
    """Random operations per image, by timm's rule and scale (`rand-m6-n2-mstd1.0`)."""

    operations: Positive
    """Operations drawn per image, with replacement."""
    magnitude: Annotated[float, Meta(ge=0.0, le=10.0)]
    magnitude_std: Annotated[float, Meta(ge=0.0)]
    """The magnitude of each operation is drawn from a normal around `magnitude`, clipped to 0..10."""
    probability: Fraction = 0.5
    """Of applying an operation that was drawn."""


class Augment(Value, frozen=True):
    """Training-time augmentation, in this order: RandAugment, patches, crop, flip, jitter and lighting per image; then
    mixing per batch.
    """

    crop_scale_min: Annotated[float, Meta(gt=0.0, le=1.0)]
    """Smallest share of the area that a random resized crop keeps; 1.0 turns cropping off."""
    flip: bool
    """Mirror left-right with probability 0.5."""
    cutmix_alpha: Annotated[float, Meta(ge=0.0)]
    """Beta parameter of CutMix; 0 turns it off."""
    mixup_alpha: Annotated[float, Meta(ge=0.0)] = 0.0
    """Beta parameter of MixUp; 0 turns it off. Not together with CutMix."""
    patch_shuffle: Positive = 1
    """Strips along each axis that are permuted per image before the crop (RDED: 2); 1 leaves images alone."""
    randaugment: RandAugment | None = None
    color_jitter: Fraction = 0.0
    """Brightness, contrast and saturation factors are uniform in 1 ± this, in random order per image; 0: off."""
    lighting_std: Annotated[float, Meta(ge=0.0)] = 0.0
    """Standard deviation of AlexNet's PCA colour noise; 0 turns it off."""


class Optimizer(Value, frozen=True):
    """Optimiser and its schedule, no warm-up."""

    name: Literal["adamw", "sgd"]
    lr: Annotated[float, Meta(gt=0.0)]
    weight_decay: Annotated[float, Meta(ge=0.0)]
    """Not applied to norm parameters and biases, unless `decay_all`."""
    momentum: Fraction = 0.9
    """SGD momentum; AdamW's first beta."""
    beta2: Fraction = 0.999
    nesterov: bool = True
    """Of SGD with momentum."""
    decay_all: bool = False
    schedule: Literal["cosine", "step"] = "cosine"
    stretch: Annotated[float, Meta(ge=1.0)] = 1.0
    """A cosine reaches zero after `stretch` × the steps; with 2 it ends at half the peak."""
    milestones: tuple[Fraction, ...] = ()
    """Of a step schedule: shares of the steps after which lr is multiplied by `gamma`."""
    gamma: Annotated[float, Meta(gt=0.0)] = 1.0


class Training(Value, frozen=True):
    """One training run, fixed in steps."""

    steps: Positive
    """Batches, with an optimiser step each."""
    batch: Positive
    """Global batch, images."""
    bn_group: Positive
    """Images that share batch-norm statistics, over however many devices: a batch, or a part of one (`accumulate`)."""
    optimizer: Optimizer
    augment: Augment
    precision: Precision
    accumulate: Positive = 1
    """Equal parts of a batch that pass one after the other, each with batch statistics of its own."""
    ema_decay: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    """Decay per optimiser step of the average of weights that is tested; 0 tests the weights themselves."""
    extra_forward: bool = False
    """A second forward pass of the student, in train mode on the unmixed batch, that moves its batch-norm statistics
    and nothing else (a side effect of RDED's code)."""


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


class DiffusionTransformer(Value, frozen=True):
    """Size of a class-conditional diffusion transformer (DiT)."""

    patch: Positive
    """Side of the patches, latent pixels."""
    width: Positive
    depth: Positive
    """Blocks."""
    heads: Positive


class GeneratorTraining(Value, frozen=True):
    """How a diffusion transformer is trained; AdamW without decay, at one learning rate."""

    steps: Positive
    batch: Positive
    lr: Annotated[float, Meta(gt=0.0)]
    ema_decay: Annotated[float, Meta(ge=0.0, lt=1.0)]
    """Decay per step of the average of weights that is kept; 0 keeps the weights themselves."""
    label_dropout: Fraction
    """Share of images that it sees without their label, for classifier-free guidance."""
    mirror: bool
    """Mirror left-right with probability 0.5."""
    precision: Precision


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


class TeacherLabels(Value, frozen=True):
    """How a committee's logits (a committee of one, too) become the label of an image."""

    form: Literal["softmax", "logits", "softmax_of_logits"]
    """Mean of softmax at `temperature`, mean of raw logits, or softmax at `temperature` of the mean of logits."""
    temperature: Annotated[float, Meta(gt=0.0)] = 1.0
    """Of the softmax; not used by logits."""
    equal_norms: bool = False
    """Logits only: each member's are scaled per image to the members' mean norm first (G-VBSM)."""
    weights: tuple[Fraction, ...] = ()
    """One per member; empty: all the same."""
    batch_statistics: bool = False
    """Members normalise by the statistics of the batch they label, not by their running ones (CV-DD)."""
    group: Positive | None = None
    """Images that share these statistics: a batch is cut into equal parts of about so many; None: the whole batch."""
    top_k: Positive | None = None
    """Largest entries kept of a cached label, the rest is spread evenly; None keeps all."""


class Rule(Value, frozen=True):
    """Training length and step size where a protocol's depend on the case; the first rule that fits counts."""

    ipc_up_to: Positive | None = None
    """Fits sets of at most so many images per class; None: any."""
    classes_up_to: Positive | None = None
    epochs: Positive | None = None
    """Passes over the set; None leaves them to the dataset, like the next fields to the protocol."""
    batch: Positive | None = None
    lr: Annotated[float, Meta(gt=0.0)] | None = None
    weight_decay: Annotated[float, Meta(ge=0.0)] | None = None
    teacher_weights: tuple[Fraction, ...] = ()
    teacher_group: Positive | None = None


class Probes(Value, frozen=True):
    """Tests during training, evenly spaced. The best is recorded apart (`top1_pct_best`) and selects nothing."""

    count: Positive
    after: Fraction = 0.0
    """Share of the steps before the first of them."""


class Protocol(Value, frozen=True):
    """How labels reach a student, and how it learns; with `Training` the full recipe that judges a condensed set."""

    name: str
    follows: Literal["condhpc", "paper", "code"]
    """Whose rules these are: our own, or a publication's, by its text or by its code where the two differ."""
    labels: Literal["hard", "teacher", "set"]
    """Label source: the images' classes, teachers, or soft labels that came with an external set."""
    loss: Literal["ce", "kl", "mse"]
    """Cross-entropy; KL at the labels' temperature without the factor T²; or mean squared error of logits."""
    optimizer: Optimizer
    cutmix_alpha: Annotated[float, Meta(ge=0.0)]
    test: Literal["last"]
    """Which epoch is reported. Test data selects nothing."""
    teacher_role: str | None = None
    """Role in `[teachers.x]` that gives the labels; None where no teacher does."""
    committee: tuple[str, ...] = ()
    """Architectures that the role must have, in this order; empty: whatever the manifest says."""
    teacher: TeacherLabels | None = None
    source: Literal["online", "cached"] = "online"
    """Teachers are asked at every step, or once: a relabel task writes all labels in training order."""
    hard_weight: Annotated[float, Meta(ge=0.0)] = 0.0
    """Weight of cross-entropy with hard labels, added to a teacher's loss."""
    label_smoothing: Fraction = 0.0
    mixup_alpha: Annotated[float, Meta(ge=0.0)] = 0.0
    crop_scale_min: Annotated[float, Meta(gt=0.0, le=1.0)] | None = None
    """None: the dataset's."""
    patch_shuffle: Positive = 1
    randaugment: RandAugment | None = None
    color_jitter: Fraction = 0.0
    lighting_std: Annotated[float, Meta(ge=0.0)] = 0.0
    rules: tuple[Rule, ...] = ()
    accumulate: Positive = 1
    """Parts of a batch, each with its own batch statistics in the student."""
    ema_decay: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.0
    extra_forward: bool = False
    student_norm: Literal["batch", "instance"] = "batch"
    """Norm layers of the student."""
    probes: Probes | None = None
    """Tests on the way, in native protocols alone: their publications report the best epoch on test data."""
    test_per_class: Positive | None = None
    """First images of each test class that count; None: all."""
    mirror: bool | UnsetType = UNSET
    """False: nothing is mirrored; left out, the dataset decides. Keys hold it only where it is given."""


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
    params: dict[str, Any] = {}
    """Of a preparation: its parameters; what is left out has its default."""
    per_ipc: bool = False
    """Of a preparation: whether it depends on the number of images per class."""


ENCODERS = "`teacher:<role>` or `encoder:<name>` (penultimate layer), or `pixels`"
ENCODER_PATTERN = "^(pixels|(teacher|encoder):.+)$"


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


ENGINE_VERSION: dict[Stage, int] = dict.fromkeys(STAGES, 1)
"""Version of each stage's own code; bumped whenever its numbers change, whatever the plug-in."""
