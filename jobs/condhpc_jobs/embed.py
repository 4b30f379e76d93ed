"""Stage `embed`: one feature vector per image of a split."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from condhpc import arrays, augment, by_hand, images, models, ranks, train
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
    with ranks.team(ctx) as team:
        vectors_ND = encode(ctx, spec, images.images_of(split, ctx.device, ctx.threads), team)
    if ctx.place.rank:  # rank 0 has them all
        return {}
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


def encode(ctx: Context, spec: EmbedSpec, source: Images, team: ranks.Alone | None = None) -> NDArray[np.float32]:
    """Vectors (N, D) of any images, exactly as `spec` says; a teacher is the input `encoder` of the task at hand.

    Ranks take turns by batch, as a batch shares a forward pass; all vectors end on rank 0, none on the others.
    Raises StageError where a vector is not finite.
    """
    train.require_precision(spec.precision, ctx.device)
    together = team or ranks.Alone(ctx)
    encoder = inputs.load_teacher(ctx, "encoder") if spec.encoder != "pixels" else None
    parts_nD: list[NDArray[np.float32]] = []
    for turn in range(0, len(source), spec.batch * together.place.ranks):
        start = turn + spec.batch * together.place.rank
        positions_n = np.arange(start, min(start + spec.batch, len(source)))
        own_nD = _vectors(encoder, source.read(positions_n), spec, ctx.device) if len(positions_n) else None
        parts_nD += [part_nD for part_nD in together.collected(own_nD) if part_nD is not None]
        together.report.tick(min(turn + spec.batch * together.place.ranks, len(source)), len(source))
    if not parts_nD:
        return np.zeros((0, 0), dtype=np.float32)
    vectors_ND = np.concatenate(parts_nD)
    bad = np.flatnonzero(~np.isfinite(vectors_ND).all(axis=1))
    if bad.size:
        raise StageError(
            f"{bad.size} of {len(vectors_ND)} embeddings are NaN or infinite (first: image {bad[0]}); "
            "the encoder diverged: change its recipe and submit again"
        )
    return vectors_ND


def _vectors(encoder: nn.Module | None, images_nHWC: Tensor, spec: EmbedSpec, device: str) -> NDArray[np.float32]:
    features_nD = _pixels(images_nHWC) if encoder is None else _features(encoder, images_nHWC, spec, device)
    return features_nD.cpu().numpy()


def _pixels(images_nHWC: Tensor) -> Tensor:
    return images_nHWC.flatten(1).float() / 255.0


def _features(encoder: nn.Module, images_nHWC: Tensor, spec: EmbedSpec, device: str) -> Tensor:
    bf16 = torch.autocast(device, dtype=torch.bfloat16, enabled=spec.precision == "bf16")
    with torch.inference_mode(), bf16:
        images_nCHW = augment.plain(images_nHWC, spec.dataset.mean, spec.dataset.std)
        return models.penultimate(encoder, images_nCHW).float()


if __name__ == "__main__":
    raise SystemExit(by_hand.main("embed"))
