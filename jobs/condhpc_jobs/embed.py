"""Stage `embed`: one feature vector per image of a split."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from condhpc import arrays, augment, by_hand, images, models, train
from condhpc.arrays import Embeddings
from condhpc.errors import StageError
from condhpc_jobs import inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor, nn

    from condhpc.context import Context
    from condhpc.images import Images
    from condhpc.spec import EmbedSpec


def run(ctx: Context) -> dict[str, Any]:
    """Publish the artefact `embeddings`: vectors (N, D) float32, row = source index."""
    train.configure(ctx.threads)
    spec: EmbedSpec = ctx.spec
    split = inputs.open_split(ctx, spec.dataset, spec.split)
    vectors_ND = encode(ctx, spec, images.images_of(split, ctx.device))
    attributes = {
        "encoder": spec.encoder if spec.encoder == "pixels" else f"{spec.encoder}:{ctx.task.inputs['encoder']}",
        "split": spec.split,
        "preprocessing": preprocessing(spec),
        "key": ctx.key,
    }
    content = Embeddings(vectors_ND, split.labels_N, attributes)
    ctx.artefact("embeddings", "h5", partial(arrays.write_embeddings, embeddings=content))
    return {"count": len(vectors_ND), "dimensions": vectors_ND.shape[1]}


def preprocessing(spec: EmbedSpec) -> str:
    """What happens to a uint8 image before the encoder, for people."""
    side = spec.dataset.resolution
    if spec.encoder == "pixels":
        return f"{side}×{side} RGB / 255, flattened"
    return f"{side}×{side} RGB / 255, minus mean {spec.dataset.mean}, over std {spec.dataset.std}; {spec.precision}"


def encode(ctx: Context, spec: EmbedSpec, source: Images) -> NDArray[np.float32]:
    """Vectors (N, D) of any images, exactly as `spec` says; a teacher is the input `encoder` of the task at hand.

    Raises StageError where a vector is not finite.
    """
    train.require_precision(spec.precision, ctx.device)
    encoder = inputs.load_teacher(ctx, "encoder") if spec.encoder != "pixels" else None
    parts_nD: list[NDArray[np.float32]] = []
    for start in range(0, len(source), spec.batch):
        images_nHWC = source.read(np.arange(start, min(start + spec.batch, len(source))))
        features_nD = _pixels(images_nHWC) if encoder is None else _features(encoder, images_nHWC, spec, ctx.device)
        parts_nD.append(features_nD.cpu().numpy())
        ctx.tick(min(start + spec.batch, len(source)), len(source))
    vectors_ND = np.concatenate(parts_nD)
    bad = np.flatnonzero(~np.isfinite(vectors_ND).all(axis=1))
    if bad.size:
        raise StageError(
            f"{bad.size} of {len(vectors_ND)} embeddings are NaN or infinite (first: image {bad[0]}); "
            "the encoder diverged: change its recipe and submit again"
        )
    return vectors_ND


def _pixels(images_nHWC: Tensor) -> Tensor:
    return images_nHWC.flatten(1).float() / 255.0


def _features(encoder: nn.Module, images_nHWC: Tensor, spec: EmbedSpec, device: str) -> Tensor:
    bf16 = torch.autocast(device, dtype=torch.bfloat16, enabled=spec.precision == "bf16")
    with torch.inference_mode(), bf16:
        images_nCHW = augment.plain(images_nHWC, spec.dataset.mean, spec.dataset.std)
        return models.penultimate(encoder, images_nCHW).float()


if __name__ == "__main__":
    raise SystemExit(by_hand.main("embed"))
