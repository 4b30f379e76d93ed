"""What methods share that recover images from what batch norms remember: parameters, units, backbones, starts.

Published values go by the side of the images: ImageNet above 64 px, Tiny-ImageNet from 33 to 64, CIFAR up to 32.
"""

from __future__ import annotations

import itertools
from abc import abstractmethod
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, NamedTuple

import msgspec
from msgspec import Meta

from condhpc.cost_model import FORWARD, MATCHED, Effort
from condhpc.methods.base import Given, Method, Unit, Work
from condhpc.spec import Need, Value
from condhpc.teachers import SINGLE

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.cost_model import Sources
    from condhpc.methods.base import Group
    from condhpc.recovery import Backbone, Recipe
    from condhpc.spec import CondenseSpec, DatasetInfo

Positive = Annotated[float, Meta(gt=0.0)]
Count = Annotated[int, Meta(ge=1)]
Weight = Annotated[float, Meta(ge=0.0)]
Backbones = Annotated[
    str, Meta(min_length=1, description="teacher role to recover from; members of a committee take turns")
]
CropScale = Annotated[float, Meta(gt=0.0, le=1.0, description="smallest share of the area a crop keeps")]
Flip = Annotated[bool | None, Meta(description="mirror half of the time; None: where labels allow")]
UnitsPerPass = Annotated[int, Meta(ge=1, description="units that share forward passes; rounding only")]
Fidelity = Annotated[
    Literal["paper", "code"], Meta(description="code: as the authors' code where it differs from the paper")
]

BACKBONES = "backbones"
"""Role of the networks; its members take turns, one per step."""
PER_BACKBONE: Mapping[str, str] = {"r_bn_scales": BACKBONES}
"""What of `MatchingParams` has a value for each of them."""
_TINY_UP_TO_PX, _CIFAR_UP_TO_PX = 64, 32
_ROLL_PX, _ROLL_AT_PX = 32, 224


class Published(NamedTuple):
    """Values that depend on the dataset family."""

    lr: float
    iterations: int
    r_bn: float


FAMILIES = {
    "imagenet": Published(lr=0.25, iterations=4000, r_bn=0.01),
    "tiny": Published(lr=0.1, iterations=4000, r_bn=1.0),
    "cifar": Published(lr=0.25, iterations=1000, r_bn=0.01),
}
"""SRe2L's, by its code."""


class MatchingParams(Value, frozen=True):
    """Parameters of recoveries by batch-norm statistics."""

    backbones: Backbones = SINGLE
    lr: Annotated[Positive | None, Meta(description="Adam's, at step 0; None: published, by family")] = None
    iterations: Annotated[Count | None, Meta(description="optimiser steps; None: published, by family")] = None
    r_bn: Annotated[Weight | None, Meta(description="weight of the batch-norm term; None: published, by family")] = None
    r_bn_scales: Annotated[
        tuple[Weight, ...],
        Meta(description="factor of r_bn for each backbone, in order; the term grows with depth; empty: 1 for all"),
    ] = ()
    first_bn: Annotated[float, Meta(ge=0.0, description="weight of the first batch norm among the others")] = 10.0
    tv: Annotated[float, Meta(ge=0.0, description="weight of total variation")] = 0.0
    l2: Annotated[float, Meta(ge=0.0, description="weight of the mean norm of an image")] = 0.0
    crop_scale_min: CropScale = 0.08
    flip: Flip = None
    roll_px: Annotated[
        Annotated[int, Meta(ge=0)] | None,
        Meta(description="largest roll along each axis; None: the method's at 224 px, in proportion"),
    ] = None
    units_per_pass: UnitsPerPass = 1
    fidelity: Fidelity = "paper"


class ChunkedParams(MatchingParams, frozen=True):
    """Parameters of recoveries of one image of each class of a chunk at a time."""

    chunk: Annotated[int, Meta(ge=1, description="consecutive classes of a unit, one image of each")] = 100
    init: Annotated[
        Literal["noise", "real"], Meta(description="start from normal noise, or from random training images")
    ] = "noise"


class Matching(Method):
    """A method that runs the recovery loop over units."""

    takes_committees = True
    passes_each: ClassVar[float] = MATCHED
    """Of an image and iteration, for predictions: forward, backward, statistics."""

    def needs(self, params: Any) -> dict[str, Need]:
        """The backbones."""
        return {BACKBONES: Need(stage="teacher", source=params.backbones)}

    def settled(self, params: Any, info: DatasetInfo, ipc: int) -> Any:
        """Published values of the family; flips where mirrored images keep their labels."""
        del ipc
        family = FAMILIES[family_of(info.resolution)]
        values = {"flip": info.mirror, "roll_px": self.published_roll(info.resolution), **family._asdict()}
        missing = {name: value for name, value in values.items() if getattr(params, name) is None}
        return msgspec.structs.replace(params, **missing)

    def cost(self, spec: CondenseSpec, params: Any, sources: Sources) -> Effort | None:
        """Every image for all iterations that it takes part in, and what is looked at before."""
        images, groups = spec.ipc * spec.dataset.classes, self.groups(spec, params)
        iterations = params.iterations * self.active_share(groups, params)
        batch = images / len(groups)
        found = sources.recovery(BACKBONES, spec.resolution, images, iterations, batch, self.passes_each)
        decoded, seen = self.scored(spec, params, sources.images)
        if found is None or not seen:
            return found
        scoring = sources.passes(BACKBONES, spec.resolution, seen, seen / params.score_batch, FORWARD) or ()
        return Effort((*found.passes, *scoring), decoded, spec.resolution)

    def scored(self, spec: CondenseSpec, params: Any, images: int) -> tuple[int, int]:
        """Of `images` training images, how many are decoded to start from; how many pictures all backbones score."""
        del spec, params, images
        return 0, 0

    def active_share(self, groups: list[Group], params: Any) -> float:
        """Of all images and iterations, how many meet."""
        del groups, params
        return 1.0

    def published_roll(self, side: int) -> int:
        """SRe2L's 32 px at 224 px, in proportion elsewhere."""
        return round(_ROLL_PX * side / _ROLL_AT_PX)

    def groups(self, spec: CondenseSpec, params: Any) -> list[Group]:
        """`units_per_pass` consecutive units each."""
        found = list(self.units(spec, params))
        per_pass = params.units_per_pass
        return [tuple(found[first : first + per_pass]) for first in range(0, len(found), per_pass)]

    @abstractmethod
    def units(self, spec: CondenseSpec, params: Any) -> Iterable[Unit]:
        """All units of a set, in order."""

    @abstractmethod
    def condense(self, work: Work, group: Group) -> NDArray[np.uint8]:
        """Pixels of a group, optimised."""


class ChunkedMatching(Matching):
    """SRe2L's units: image i of each of so many consecutive classes. Image i is the same at every ipc above it."""

    Params = ChunkedParams
    per_member = PER_BACKBONE

    def objection(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """Real images to start from must be there."""
        smallest = min(info.train_class_sizes)
        return real_objection(smallest, ipc) if params.init == "real" else ""

    def units(self, spec: CondenseSpec, params: Any) -> Iterable[Unit]:
        """(ipc index × chunk of classes); the last chunk may be smaller."""
        classes = spec.dataset.classes
        for place in range(spec.ipc):
            for first in range(0, classes, params.chunk):
                labels = tuple(range(first, min(first + params.chunk, classes)))
                yield Unit(f"ipc {place}, classes {first}-{labels[-1]}", labels, (place,) * len(labels))

    def condense(self, work: Work, group: Group) -> NDArray[np.uint8]:
        """The group's images (n, R, R, 3)."""
        from condhpc import pixels, recovery

        start = {"noise": pixels.noise, "real": pixels.real}[work.params.init]
        return recovery.recover(work, group, self.recipe(work), backbones_of(work), start)

    @abstractmethod
    def recipe(self, work: Work) -> Recipe:
        """How pixels are optimised."""


def class_batches(spec: CondenseSpec, batch: int) -> Iterable[Unit]:
    """Whole classes of up to `batch` images together, class-major; equal parts of one class where it is larger."""
    classes, ipc = spec.dataset.classes, spec.ipc
    if ipc > batch:
        parts = -(-ipc // batch)
        bounds = [ipc * part // parts for part in range(parts + 1)]
        for label in range(classes):
            for first, stop in itertools.pairwise(bounds):
                places = tuple(range(first, stop))
                yield Unit(f"class {label}, images {first}-{stop - 1}", (label,) * len(places), places)
        return
    per_batch = batch // ipc
    for first in range(0, classes, per_batch):
        stop = min(first + per_batch, classes)
        labels = tuple(label for label in range(first, stop) for _ in range(ipc))
        yield Unit(f"classes {first}-{stop - 1}", labels, tuple(range(ipc)) * (stop - first))


def family_of(side: int) -> str:
    """Whose published values hold for images of that side."""
    return "cifar" if side <= _CIFAR_UP_TO_PX else "tiny" if side <= _TINY_UP_TO_PX else "imagenet"


def real_objection(smallest: int, ipc: int) -> str:
    """Why a class is too small to start from its images; empty where it is not."""
    too_few = f"the smallest class has {smallest} images to start from, ipc = {ipc} needs as many; lower ipc"
    return too_few if ipc > smallest else ""


def backbones_of(work: Work) -> list[Backbone]:
    """Networks of the role in order, each with its batch-norm term; StageError for another number of scales."""
    from condhpc.bn_statistics import batch_norm_term
    from condhpc.errors import StageError
    from condhpc.recovery import Backbone

    params, models = work.params, networks_of(work)
    scales = params.r_bn_scales or (1.0,) * len(models)
    if len(scales) != len(models):
        raise StageError(
            f"r_bn_scales has {len(scales)} numbers, the role '{params.backbones}' has {len(models)} networks; "
            "give one number for each, or none"
        )
    return [
        Backbone(model, batch_norm_term(model, params.first_bn), params.r_bn * scale)
        for model, scale in zip(models, scales, strict=True)
    ]


def networks_of(work: Given) -> list[Any]:
    """The networks of the role `backbones`, in order."""
    if BACKBONES in work.teachers:
        return [work.teachers[BACKBONES]]
    count = sum(role.startswith(f"{BACKBONES}.") for role in work.teachers)
    return [work.teachers[f"{BACKBONES}.{member}"] for member in range(count)]


def recipe_of(work: Work, scale_min_S: NDArray[np.float64], **others: Any) -> Recipe:
    """What the parameters say, with crops of those scales."""
    from condhpc.recovery import Recipe

    params = work.params
    return Recipe(
        steps=params.iterations,
        lr=params.lr,
        scale_min_S=scale_min_S,
        flip=params.flip,
        roll_px=params.roll_px,
        fidelity=params.fidelity,
        tv_weight=params.tv,
        l2_weight=params.l2,
        compile=work.compile,
        **others,
    )
