"""RDED: mosaics of the crops that an observer finds most realistic (Sun et al., CVPR 2024, arXiv 2312.03526, §4).

Per class: `mipc` shuffled images, `crops` random resized squares of each at resolution / factor; the loss of the
observer on a crop, zero-padded around its centre to the full resolution, ranks it; the best crop of each image
enters the ranking; image i is a factor × factor mosaic of ranks i, ipc+i, 2·ipc+i, … Nothing is optimised.

Deviations from the authors' code: crops are resized by Pillow on uint8 (theirs: float tensors); each image has a
random stream of its own; `mipc` grows where factor²·ipc asks for more images. Zero means zero after
normalisation, as in their code.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

from msgspec import Meta

from condhpc.cost_model import FORWARD, Effort
from condhpc.errors import StageError
from condhpc.methods.base import ClassByClass, Work
from condhpc.spec import DatasetInfo, Need, Value

if TYPE_CHECKING:
    import numpy as np
    import torch
    from numpy.typing import NDArray

    from condhpc.cost_model import Sources
    from condhpc.spec import CondenseSpec

_MOSAIC_FROM_PX = 64
_CROP_ATTEMPTS = 10


class RdedParams(Value, frozen=True):
    """Parameters of RDED."""

    crops: Annotated[int, Meta(ge=1, description="random crops per image")] = 5
    mipc: Annotated[int, Meta(ge=1, description="images per class that are looked at")] = 300
    factor: Annotated[int, Meta(ge=0, le=8, description="crops per mosaic side; 0: 2 from 64 px up, else 1")] = 0
    crop_scale_min: Annotated[float, Meta(gt=0.0, le=1.0, description="smallest share of the area a crop keeps")] = 0.08
    score_batch: Annotated[int, Meta(ge=1, description="crops of one class that share a forward pass")] = 250
    observer: Annotated[str, Meta(min_length=1, description="teacher role that scores the crops")] = "single"


class Rded(ClassByClass):
    """Realistic, diverse and efficient distillation: minutes, no gradients."""

    Params = RdedParams

    def needs(self, params: Any) -> dict[str, Need]:
        """A teacher under the role `observer`."""
        return {"observer": Need(stage="teacher", source=params.observer)}

    def objection(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """A mosaic must divide the resolution, and take its crops from different images."""
        factor, smallest = _factor(params, info.resolution), min(info.train_class_sizes)
        if info.resolution % factor:
            return _indivisible(factor, info.resolution)
        return f"the smallest class has {_too_few(smallest, factor, ipc)}" if factor**2 * ipc > smallest else ""

    def cost(self, spec: CondenseSpec, params: Any, sources: Sources) -> Effort | None:
        """Crops through the observer; every image is decoded once."""
        images = min(sources.images, params.mipc * spec.dataset.classes)
        crops = images * params.crops
        found = sources.passes("observer", spec.resolution, crops, crops / params.score_batch, FORWARD)
        return None if found is None else Effort(found, images, spec.resolution)

    def class_images(self, work: Work, label: int) -> NDArray[np.uint8]:
        """The class's mosaics. Raises StageError for a class that is too small."""
        import numpy as np

        factor = mosaic_factor(work.params, work.spec.resolution)
        positions_n = work.train.of_class(label)
        needed = factor**2 * work.spec.ipc
        if len(positions_n) < needed:
            raise StageError(f"class {label} has {_too_few(len(positions_n), factor, work.spec.ipc)}")
        order_n = work.stream("rded-order", label).permutation(len(positions_n))
        chosen_n = positions_n[order_n[: max(work.params.mipc, needed)]]
        side = work.spec.resolution // factor
        crops_nkHWC = np.stack([_crops_of(work, label, int(position), side) for position in chosen_n])
        losses_nk = _losses(work, label, crops_nkHWC.reshape(-1, side, side, 3)).reshape(crops_nkHWC.shape[:2])
        best_n = losses_nk.argmin(axis=1)
        ranked_r = np.argsort(losses_nk.min(axis=1), kind="stable")[:needed]
        return mosaics(crops_nkHWC[ranked_r, best_n[ranked_r]], factor)


def mosaic_factor(params: RdedParams, resolution: int) -> int:
    """Crops per side of a mosaic; raises StageError where the resolution is not a multiple of it."""
    factor = _factor(params, resolution)
    if resolution % factor:
        raise StageError(_indivisible(factor, resolution))
    return factor


def _factor(params: RdedParams, resolution: int) -> int:
    return params.factor or (2 if resolution >= _MOSAIC_FROM_PX else 1)


def _indivisible(factor: int, resolution: int) -> str:
    return f"params.rded.factor = {factor} does not divide the resolution {resolution}"


def _too_few(count: int, factor: int, ipc: int) -> str:
    return (
        f"{count} images; ipc = {ipc} with {factor} × {factor} mosaics needs {factor**2 * ipc}; "
        f"lower ipc or params.rded.factor"
    )


def mosaics(tiles_rHWC: NDArray[np.uint8], factor: int) -> NDArray[np.uint8]:
    """From factor²·n ranked tiles n images; image i holds ranks i, n+i, 2n+i, … row by row."""
    side = tiles_rHWC.shape[1]
    count = len(tiles_rHWC) // factor**2
    grid = tiles_rHWC.reshape(factor, factor, count, side, side, 3)
    return grid.transpose(2, 0, 3, 1, 4, 5).reshape(count, factor * side, factor * side, 3)


def _crops_of(work: Work, label: int, position: int, side: int) -> NDArray[np.uint8]:
    """All crops of one image (crops, side, side, 3), from that image's own stream."""
    import numpy as np
    from PIL import Image

    rng = work.stream("rded-crop", label, position)
    image = Image.fromarray(work.train.raw(position))
    boxes = [crop_box(rng, image.size, work.params.crop_scale_min) for _ in range(work.params.crops)]
    return np.stack([np.asarray(image.crop(box).resize((side, side), Image.Resampling.BILINEAR)) for box in boxes])


def crop_box(rng: np.random.Generator, size: tuple[int, int], scale_min: float) -> tuple[int, int, int, int]:
    """A square (left, top, right, bottom) of `scale_min` to all of the area, as torchvision's RandomResizedCrop.

    After ten draws that do not fit into the image: its largest centred square.
    """
    width, height = size
    for _ in range(_CROP_ATTEMPTS):
        side = round((width * height * rng.uniform(scale_min, 1.0)) ** 0.5)
        if 0 < side <= min(width, height):
            top, left = int(rng.integers(height - side + 1)), int(rng.integers(width - side + 1))
            return left, top, left + side, top + side
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    return left, top, left + side, top + side


def _losses(work: Work, label: int, crops_nHWC: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Cross-entropy of the observer on each padded crop; raises StageError where it is not finite."""
    import numpy as np
    import torch

    bf16 = torch.autocast(work.device, dtype=torch.bfloat16, enabled=work.spec.precision == "bf16")
    batch = work.params.score_batch
    parts = []
    with torch.inference_mode(), bf16:
        for start in range(0, len(crops_nHWC), batch):
            images_NCHW = _padded(work, crops_nHWC[start : start + batch])
            logits_NK = work.teachers["observer"](images_NCHW).float()
            labels_N = torch.full((len(logits_NK),), label, device=logits_NK.device)
            parts.append(torch.nn.functional.cross_entropy(logits_NK, labels_N, reduction="none"))
    losses_n: NDArray[np.float32] = torch.cat(parts).cpu().numpy()
    if not np.isfinite(losses_n).all():
        raise StageError(f"class {label}: the loss of observer '{work.params.observer}' is not finite; train it anew")
    return losses_n


def _padded(work: Work, crops_nHWC: NDArray[np.uint8]) -> torch.Tensor:
    """Crops normalised and centred in zeros: float32 (n, 3, R, R) on the device."""
    import torch

    dataset = work.spec.dataset
    crops_NCHW = torch.from_numpy(crops_nHWC).to(work.device).permute(0, 3, 1, 2).float().div(255.0)
    mean_C11 = torch.tensor(dataset.mean, device=work.device).view(3, 1, 1)
    std_C11 = torch.tensor(dataset.std, device=work.device).view(3, 1, 1)
    gap = work.spec.resolution - crops_NCHW.shape[-1]
    before, after = gap // 2, gap - gap // 2
    return torch.nn.functional.pad((crops_NCHW - mean_C11) / std_C11, (before, after, before, after))


PLUGIN = Rded()
