"""DELT: images of a class join early or late (Shen et al., CVPR 2025, arXiv 2411.19946, §3).

Start: the ipc training images of a class whose true-class probability is nearest to the median, above and below in
turn. They are split in that order into `rounds` groups, the first groups larger by one where it does not divide; group
r joins at iteration r · iterations / rounds and stays; below `rounds` images the last groups are empty. Loss, crops
and optimiser are CDA's, by global time, without rolls; images that have not joined are in no forward pass. A batch
holds whole classes.

Deviations: images are scored as the dataset loads them (authors: 256 px, centre 224); committees by mean probability.
A batch never cuts a class that fits: of 100 images at ipc 30 it has 3 classes (authors: reads on, for their ipc the
same); a class of more than a batch is cut into equal parts, each with rounds of its own. Adam's bias correction counts
from when an image joins; with `fidelity = "code"` from the start, so that late images begin with steps about 1.6 times
as long, and final pixels are truncated. Values are published for ImageNet; smaller images take SRe2L's.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from condhpc.errors import StageError
from condhpc.methods.base import Unit, Work
from condhpc.methods.base_matching import (
    PER_BACKBONE,
    Matching,
    MatchingParams,
    backbones_of,
    class_batches,
    networks_of,
    real_objection,
    recipe_of,
)

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from condhpc.methods.base import Group
    from condhpc.pixels import Batches
    from condhpc.spec import CondenseSpec, DatasetInfo


class DeltParams(MatchingParams, frozen=True):
    """Parameters of DELT."""

    batch: Annotated[int, Meta(ge=1, description="images that are optimised together, whole classes")] = 100
    rounds: Annotated[int, Meta(ge=1, description="groups of each class that join one after the other")] = 8
    init: Annotated[
        Literal["median", "real", "noise"], Meta(description="images of median confidence, random ones, or noise")
    ] = "median"
    score_batch: Annotated[int, Meta(ge=1, description="training images that share a forward pass when scored")] = 100


class Delt(Matching):
    """Early-late training: fewer iterations for most images, and more variety within a class."""

    Params = DeltParams
    per_member = PER_BACKBONE

    def published_roll(self, side: int) -> int:
        """None."""
        del side
        return 0

    def objection(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """Real images to start from must be there."""
        return "" if params.init == "noise" else real_objection(min(info.train_class_sizes), ipc)

    def remark(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """Rounds that no image joins in; one image has all iterations, as published."""
        del info
        if not 1 < ipc < params.rounds:
            return ""
        late = f"the last image joins for {params.rounds - ipc + 1}/{params.rounds} of the iterations"
        return f"params.delt.rounds = {params.rounds} is above ipc: {late}; rounds = {ipc} spreads them evenly"

    def units(self, spec: CondenseSpec, params: Any) -> Iterable[Unit]:
        """Batches of whole classes, class-major; parts of one class where it is larger than a batch."""
        return class_batches(spec, params.batch)

    def active_share(self, groups: list[Group], params: Any) -> float:
        """Images that join late take part in few iterations."""
        total: int = params.iterations
        waits = [wait for group in groups for unit in group for wait in joins(unit, params.rounds, total)]
        return 1.0 - sum(waits) / (total * len(waits))

    def scored(self, spec: CondenseSpec, params: Any, images: int) -> tuple[int, int]:
        """Every training image, to find the median."""
        del spec
        return (images, images) if params.init == "median" else (0, 0)

    def condense(self, work: Work, group: Group) -> NDArray[np.uint8]:
        """The group's images (n, R, R, 3)."""
        from condhpc import pixels, recovery
        from condhpc.unit_augment import scale_curriculum

        params = work.params
        start = {"noise": pixels.noise, "real": pixels.real, "median": median_start}[params.init]
        scales_S = scale_curriculum("cosine", params.iterations, params.crop_scale_min, 1.0)
        recipe = recipe_of(work, scales_S, joins=lambda unit: joins(unit, params.rounds, params.iterations))
        return recovery.recover(work, group, recipe, backbones_of(work), start)


def joins(unit: Unit, rounds: int, iterations: int) -> list[int]:
    """Iteration at which each image of a unit joins."""
    found = []
    for label in dict.fromkeys(unit.labels):
        size, larger = divmod(unit.labels.count(label), rounds)
        for number in range(rounds):
            found += [number * iterations // rounds] * (size + (number < larger))
    return found


def median_start(work: Work, unit: Unit) -> torch.Tensor:
    """Normalised training images of median confidence (n, 3, R, R), for each the one at its place."""
    import numpy as np

    from condhpc import pixels

    source, chosen = pixels.Batches(work, work.spec.dataset), {}
    for label in dict.fromkeys(unit.labels):
        chosen[label] = median_images(work, label, source)
        work.steps.tick(0, work.params.iterations, dict)  # scoring takes minutes where a batch has many classes
    positions = [chosen[label][place] for label, place in zip(unit.labels, unit.places, strict=True)]
    return pixels.normalised(work.train.read(np.asarray(positions)), work.spec.dataset)


def median_images(work: Work, label: int, source: Batches) -> NDArray[np.int64]:
    """Positions of a class's ipc images around the median confidence; StageError for a class that is too small."""
    import numpy as np

    positions_n = work.train.of_class(label)
    if problem := real_objection(len(positions_n), work.spec.ipc):
        raise StageError(f"class {label}: {problem}")
    confidence_n = _confidence(work, label, source.of(positions_n, work.params.score_batch))
    ranked_n = positions_n[np.argsort(confidence_n, kind="stable")]
    return ranked_n[around_median(len(ranked_n), work.spec.ipc)]


def around_median(count: int, wanted: int) -> list[int]:
    """Ranks 0..count−1 outwards from the middle: it, one above, one below, …; on along one side where one ends."""
    middle = count // 2
    return sorted(range(count), key=lambda rank: (abs(rank - middle), rank < middle))[:wanted]


def _confidence(work: Work, label: int, batches: Iterable[torch.Tensor]) -> NDArray[np.float32]:
    """True-class probability of a class's images, mean over the backbones; StageError where it is not finite."""
    import numpy as np
    import torch

    bf16 = torch.autocast(work.device, dtype=torch.bfloat16, enabled=work.spec.precision == "bf16")
    parts = []
    with torch.inference_mode(), bf16:
        for images_NCHW in batches:
            logits = [model(images_NCHW).float() for model in networks_of(work)]
            parts.append(torch.stack([logits_NK.softmax(dim=1)[:, label] for logits_NK in logits]).mean(dim=0))
    confidence_n: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    if not np.isfinite(confidence_n).all():
        raise StageError(f"class {label}: a backbone's confidence is not finite; train '{work.params.backbones}' anew")
    return confidence_n


PLUGIN = Delt()
