"""RDED: mosaics of the crops that an observer finds most realistic (Sun et al., CVPR 2024, arXiv 2312.03526, §4).

Per class: `mipc` shuffled images, `crops` random resized squares of each at resolution / factor; the loss of the
observer on a crop, zero-padded around its centre to the full resolution, ranks it; the best crop of each image
enters the ranking; image i is a factor × factor mosaic of ranks i, ipc+i, 2·ipc+i, … Nothing is optimised.

Deviations from the authors' code: crops are resized in uint8 arithmetic (theirs: float tensors); each image has a
random stream of its own; `mipc` grows where factor²·ipc asks for more images. Zero means zero after
normalisation, as in their code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from condhpc import tiling
from condhpc.cost_model import FORWARD, Effort
from condhpc.errors import StageError
from condhpc.methods.base import ClassByClass, Work
from condhpc.spec import DatasetInfo, Need, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.cost_model import Sources
    from condhpc.spec import CondenseSpec


class RdedParams(Value, frozen=True):
    """Parameters of RDED."""

    crops: Annotated[int, Meta(ge=1, description="random crops per image")] = 5
    mipc: Annotated[int, Meta(ge=1, description="images per class that are looked at")] = 300
    factor: Annotated[int, Meta(ge=0, le=8, description="crops per mosaic side; 0: 1 up to 64 px, else 2")] = 0
    crop_scale_min: Annotated[float, Meta(gt=0.0, le=1.0, description="smallest share of the area a crop keeps")] = 0.08
    score_batch: Annotated[int, Meta(ge=1, description="crops of one class that share a forward pass")] = 250
    observer: Annotated[str, Meta(min_length=1, description="teacher role that scores the crops")] = "single"


class Rded(ClassByClass):
    """Realistic, diverse and efficient distillation: minutes, no gradients."""

    version = 2  # crops are resized by torch: three times Pillow's speed, a grey level apart in one value of 300
    Params = RdedParams

    def needs(self, params: Any) -> dict[str, Need]:
        """A teacher under the role `observer`."""
        return {"observer": Need(stage="teacher", source=params.observer)}

    def objection(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """A mosaic must divide the resolution, and take its crops from different images."""
        return tiling.objection("rded", params.factor, info, ipc)

    def cost(self, spec: CondenseSpec, params: Any, sources: Sources) -> Effort | None:
        """Crops through the observer; every image is decoded once."""
        needed = tiling.factor_of(params.factor, spec.resolution) ** 2 * spec.ipc
        images = min(sources.images, max(params.mipc, needed) * spec.dataset.classes)
        crops = images * params.crops
        found = sources.passes("observer", spec.resolution, crops, crops / params.score_batch, FORWARD)
        return None if found is None else Effort(found, images, spec.resolution)

    def class_images(self, work: Work, label: int) -> NDArray[np.uint8]:
        """The class's mosaics. Raises StageError for a class that is too small."""
        import numpy as np
        import torch

        from condhpc import mosaics

        factor = tiling.required_factor("rded", work.params.factor, work.spec.resolution)
        positions_n, needed = work.train.of_class(label), factor**2 * work.spec.ipc
        tiling.require_enough("rded", label, len(positions_n), factor, work.spec.ipc)
        order_n = work.stream("rded-order", label).permutation(len(positions_n))
        chosen_n = positions_n[order_n[: max(work.params.mipc, needed)]].tolist()
        crops = mosaics.in_threads(lambda position: _crops_of(work, label, position), chosen_n, torch.get_num_threads())
        jury = mosaics.Jury([work.teachers["observer"]], work.spec, work.device, work.params.score_batch)
        tiles_N, losses_N = jury.judged(crops, len(chosen_n) * work.params.crops, label)
        if not np.isfinite(losses_N).all():
            who = f"observer '{work.params.observer}'"
            raise StageError(f"class {label}: the loss of {who} is not finite; train it anew")
        return mosaics.join(tiles_N[mosaics.best(losses_N.reshape(len(chosen_n), -1), needed)], factor)


def _crops_of(work: Work, label: int, position: int) -> NDArray[np.uint8]:
    """All crops of one image (crops, side, side, 3), from that image's own stream."""
    from condhpc import mosaics

    rng = work.stream("rded-crop", label, position)
    side = work.spec.resolution // tiling.factor_of(work.params.factor, work.spec.resolution)
    image_HWC = work.train.glimpse(position)
    height, width = image_HWC.shape[:2]
    boxes = [mosaics.square_box(rng, height, width, work.params.crop_scale_min) for _ in range(work.params.crops)]
    return mosaics.cut(image_HWC, boxes, side)


PLUGIN = Rded()
