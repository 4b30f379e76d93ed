"""How networks are trained, as values: augmentation, optimiser, length, labels, and the protocol that judges a set.

Everything here is hashed as a part of a task's spec: a field added here changes keys. Import it from `spec`.
"""

from __future__ import annotations

from typing import Annotated, Literal

from msgspec import UNSET, Meta, UnsetType

from condhpc.values import Fraction, Positive, Precision, Value


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
