"""EDC: mosaics refined by statistics of several networks (Shao et al., NeurIPS 2024, arXiv 2404.13733, §3).

Statistics, once for all sets: of what enters each batch norm and each convolution of each backbone, over all training
images and over each class (`class_statistics`), and the cross-entropy of the backbones' mean logits on each image.
Start: the `mipc` images of a class with the lowest loss, `crops` random resized crops of each at full resolution,
ranked by the same loss; the best 4 · ipc are halved and tiled 2 × 2, drawn in random order, mirrored, their tiles
shuffled.
Recovery: cross-entropy + r_loss · `class_matching.ClassTerm`, one backbone per iteration in turn, batches class-major.

Backbones are the paper's resnet18, mobilenet_v2, efficientnet_b0, shufflenet_v2_x0_5 and, from 64 px on, alexnet: the
role `edc_backbones`, which needs no block (`teachers`). Any other role will do, also one of a single network.

Deviations: the best crop of an image alone is ranked, as in RDED. A mosaic starts one image, never two. Statistics are
those of images as the dataset loads them, not of random crops, so that one pass serves both them and the ranking. A
batch holds whole classes where they fit (authors: so many images, on each of several GPUs, each with statistics of its
own). The paper's flatness term is left out: the released ImageNet code has it at zero, and published numbers are
without it. Networks are not compiled, because targets change with each batch.

With `fidelity = "code"`, as the official code where it differs: variances of a class leave out how images differ in
their means, class mean and variance of places have changed places, averages of statistics start at zero, and final
pixels are truncated. Values are published for ImageNet-1K, ImageNet-10 and Tiny-ImageNet's iterations; ImageNet subsets
of up to ten classes take ImageNet-10's, other large images ImageNet-1K's, small images Tiny-ImageNet's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import Meta

from condhpc import tiling
from condhpc.cost_model import MATCHED_CONVOLUTIONS
from condhpc.methods.base import Preparation, Preparing, Unit, Work
from condhpc.methods.base_matching import (
    BACKBONES,
    Backbones,
    Count,
    CropScale,
    Fidelity,
    Flip,
    Matching,
    UnitsPerPass,
    Weight,
    class_batches,
    family_of,
    networks_of,
    real_objection,
)
from condhpc.spec import Need, Value
from condhpc.teachers import EDC_BACKBONES

if TYPE_CHECKING:
    from collections.abc import Mapping

    import numpy as np
    import torch
    from numpy.typing import NDArray

    from condhpc.class_statistics import Spreads
    from condhpc.methods.base import Group
    from condhpc.pixels import Batches
    from condhpc.recovery import Backbone
    from condhpc.spec import CondenseSpec, DatasetInfo

STATISTICS = "statistics"
"""Role and name of the preparation."""
_FEW_CLASSES = 10


class Published(NamedTuple):
    """Values that depend on the dataset."""

    iterations: int
    batch: int
    r_loss: float
    alpha: float


PUBLISHED = {
    "imagenet": Published(iterations=1000, batch=80, r_loss=0.1, alpha=0.8),
    "few": Published(iterations=50, batch=100, r_loss=0.01, alpha=0.0),
    "tiny": Published(iterations=2000, batch=80, r_loss=0.1, alpha=0.8),
    "cifar": Published(iterations=2000, batch=80, r_loss=0.1, alpha=0.8),
}
"""`few`: ImageNet-10."""


class StatisticsParams(Value, frozen=True):
    """Parameters of the statistics."""

    backbones: Annotated[str, Meta(min_length=1, description="teacher role whose networks look")] = EDC_BACKBONES
    batch: Annotated[int, Meta(ge=1, description="images of one class that share a forward pass")] = 100


class Statistics(Preparation):
    """Layer statistics by class and in all, and the loss of each training image; resumes after any class."""

    takes_committees = True
    Params = StatisticsParams

    def needs(self, params: Any) -> dict[str, Need]:
        """The backbones."""
        return {BACKBONES: Need(stage="teacher", source=params.backbones)}

    def prepare(self, work: Preparing) -> dict[str, NDArray[Any]]:
        """Arrays of `class_statistics.arrays_of`, and `losses` (N,) by position in the training split."""
        import numpy as np

        from condhpc import class_statistics, pixels

        held = work.steps.resumed or {"classes": [], "losses": []}
        classes: list[list[Spreads]] = [_unpacked(packed) for packed in held["classes"]]
        losses: list[torch.Tensor] = list(held["losses"])
        networks, total = networks_of(work), work.spec.dataset.classes
        source = pixels.Batches(work, work.spec.dataset)
        for label in range(len(classes), total):
            spreads, loss_n = _class_statistics(work, source, networks, label)
            classes.append(spreads)
            losses.append(loss_n)
            work.steps.tick(
                label + 1, total, lambda: {"classes": [_packed(found) for found in classes], "losses": losses}
            )
        found: dict[str, NDArray[Any]] = dict(class_statistics.arrays_of(networks, classes))
        found["losses"] = np.empty(len(work.train), dtype=np.float32)
        for label, loss_n in enumerate(losses):
            found["losses"][work.train.of_class(label)] = loss_n.numpy()
        return found


def _class_statistics(
    work: Preparing, source: Batches, networks: list[Any], label: int
) -> tuple[list[Spreads], torch.Tensor]:
    """Spreads of each network, and losses (n,) of a class's images in position order; decodes while networks look."""
    import torch

    from condhpc import class_statistics

    batches = source.of(work.train.of_class(label), work.params.batch)
    with torch.autocast(work.device, dtype=torch.bfloat16, enabled=work.spec.precision == "bf16"):
        spreads, logits_nK = class_statistics.of_class(networks, batches)
    labels_n = torch.full((len(logits_nK),), label)
    return spreads, torch.nn.functional.cross_entropy(logits_nK, labels_n, reduction="none")


def _packed(of_networks: list[Spreads]) -> list[dict[str, list[Any]]]:
    """As checkpoints hold them."""
    return [{name: list(spread) for name, spread in spreads.items()} for spreads in of_networks]


def _unpacked(of_networks: list[dict[str, list[Any]]]) -> list[Spreads]:
    from condhpc.class_statistics import Spread

    return [{name: Spread(*values) for name, values in spreads.items()} for spreads in of_networks]


class EdcParams(Value, frozen=True):
    """Parameters of EDC."""

    backbones: Backbones = EDC_BACKBONES
    lr: Annotated[float, Meta(gt=0.0, description="Adam's, at step 0")] = 0.05
    iterations: Annotated[Count | None, Meta(description="optimiser steps; None: published, by dataset")] = None
    batch: Annotated[Count | None, Meta(description="images recovered together; None: published, by dataset")] = None
    r_loss: Annotated[Weight | None, Meta(description="weight of the statistics term; None: published, by dataset")] = (
        None
    )
    alpha: Annotated[
        Annotated[float, Meta(ge=0.0, lt=1.0)] | None,
        Meta(description="share of the average in statistics; None: published, by dataset"),
    ] = None
    first_layer: Annotated[float, Meta(ge=0.0, description="weight of the first layer among the others")] = 10.0
    crop_scale_min: CropScale = 0.5
    flip: Flip = None
    init: Annotated[
        Literal["mosaics", "real", "noise"], Meta(description="start from mosaics, random images or normal noise")
    ] = "mosaics"
    mipc: Annotated[int, Meta(ge=1, description="images per class that mosaics are cut from")] = 300
    crops: Annotated[int, Meta(ge=1, description="random crops of each of them")] = 4
    factor: Annotated[int, Meta(ge=0, le=8, description="crops per mosaic side; 0: 1 up to 64 px, else 2")] = 0
    init_scale_min: Annotated[
        float, Meta(gt=0.0, le=1.0, description="smallest share of the area that a mosaic's crop keeps")
    ] = 0.08
    score_batch: Annotated[int, Meta(ge=1, description="crops or images that share a forward pass when scored")] = 100
    units_per_pass: UnitsPerPass = 1
    fidelity: Fidelity = "paper"


class Edc(Matching):
    """Elucidated dataset condensation: real mosaics, several backbones, statistics of classes."""

    Params = EdcParams
    passes_each: ClassVar[float] = MATCHED_CONVOLUTIONS
    preparations: ClassVar[Mapping[str, Preparation]] = {STATISTICS: Statistics()}

    def needs(self, params: Any) -> dict[str, Need]:
        """The backbones, and what they know of the training images."""
        told = {"backbones": params.backbones, "batch": params.score_batch}
        return {
            BACKBONES: Need(stage="teacher", source=params.backbones),
            STATISTICS: Need(stage="prepare", source=STATISTICS, params=told),
        }

    def settled(self, params: Any, info: DatasetInfo, ipc: int) -> Any:
        """Published values; flips where mirrored images keep their labels."""
        del ipc
        family = family_of(info.resolution)
        few = family == "imagenet" and info.classes <= _FEW_CLASSES
        values = {"flip": info.mirror, **PUBLISHED["few" if few else family]._asdict()}
        missing = {name: value for name, value in values.items() if getattr(params, name) is None}
        return msgspec.structs.replace(params, **missing)

    def objection(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """Images to start from must be there."""
        if params.init == "mosaics":
            return tiling.objection("edc", params.factor, info, ipc)
        return real_objection(min(info.train_class_sizes), ipc) if params.init == "real" else ""

    def units(self, spec: CondenseSpec, params: Any) -> Iterable[Unit]:
        """Batches of whole classes, class-major; parts of one class where it is larger than a batch."""
        return class_batches(spec, params.batch)

    def scored(self, spec: CondenseSpec, params: Any, images: int) -> tuple[int, int]:
        """All crops that mosaics are chosen from."""
        if params.init != "mosaics":
            return 0, 0
        needed = tiling.factor_of(params.factor, spec.resolution) ** 2 * spec.ipc
        looked_at = min(images, max(params.mipc, needed) * spec.dataset.classes)
        return looked_at, looked_at * params.crops

    def condense(self, work: Work, group: Group) -> NDArray[np.uint8]:
        """The group's images (n, R, R, 3)."""
        import numpy as np

        from condhpc import mosaic_start, pixels, recovery

        params = work.params
        recipe = recovery.Recipe(
            steps=params.iterations,
            lr=params.lr,
            scale_min_S=np.full(params.iterations, params.crop_scale_min),
            flip=params.flip,
            roll_px=0,
            fidelity=params.fidelity,
        )
        losses_N, networks = work.prepared[STATISTICS]["losses"], networks_of(work)
        mosaics = partial(mosaic_start.start, losses_N=losses_N, networks=networks)
        starts: dict[str, Callable[[Work, Unit], torch.Tensor]] = {
            "noise": pixels.noise,
            "real": pixels.real,
            "mosaics": mosaics,
        }
        return recovery.recover(work, group, recipe, backbones_of(work, group), starts[params.init])


def backbones_of(work: Work, group: Group) -> list[Backbone]:
    """Networks of the role in order, each with its statistics term for the units of a group."""
    from condhpc import class_statistics
    from condhpc.class_matching import ClassTerm
    from condhpc.recovery import Backbone

    params, found = work.params, []
    for member, network in enumerate(networks_of(work)):
        known = [
            class_statistics.known(work.prepared[STATISTICS], member, network, unit.labels, params.fidelity)
            for unit in group
        ]
        term = ClassTerm(
            network,
            known,
            alpha=params.alpha,
            first_weight=params.first_layer,
            fidelity=params.fidelity,
            device=work.device,
        )
        found.append(Backbone(network, term, params.r_loss))
    return found


PLUGIN = Edc()
