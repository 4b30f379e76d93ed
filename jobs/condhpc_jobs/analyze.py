"""Stage `analyze`: one measure of one condensed set against the real data, in one space of features."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np
import torch
from torch.nn import functional

from condhpc import by_hand, registry, train
from condhpc.errors import StageError
from condhpc.images import ResidentImages
from condhpc.metrics.base import Points
from condhpc.spec import EmbedSpec
from condhpc_jobs import embed, inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from condhpc.arrays import CondensedSet, Embeddings
    from condhpc.context import Context
    from condhpc.metrics.base import Metric
    from condhpc.spec import AnalyzeSpec


def run(ctx: Context) -> dict[str, Any]:
    """The measure's value, per class too, with its unit and direction."""
    train.configure(ctx.threads)
    spec: AnalyzeSpec = ctx.spec
    plugin: Metric = registry.load("metrics", spec.metric)
    params = msgspec.convert(spec.params, plugin.Params)
    condensed = inputs.load_set(ctx, spec.dataset)
    real = inputs.load_embeddings(ctx, "embedding")
    images_NRRC = _resized(condensed.images_NHWC, spec.dataset.resolution)
    set_MD = embed.encode(ctx, _embed_spec(ctx), ResidentImages(images_NRRC, condensed.labels_N, ctx.device)).vectors_ND
    found = plugin.compute(points_by_class(real, condensed, set_MD), params)
    return {
        "value": found.value,
        "per_class": list(found.per_class),
        "reason": found.reason,
        "unit": plugin.unit,
        "better": plugin.better,
    }


def _resized(images_NHWC: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Images of a set of another resolution as the dataset's encoders see real ones: bilinear, antialiased."""
    if images_NHWC.shape[1] == side:
        return images_NHWC
    images_NCHW = torch.from_numpy(images_NHWC).permute(0, 3, 1, 2).float()
    resized_NCHW = functional.interpolate(images_NCHW, size=(side, side), mode="bilinear", antialias=True)
    return resized_NCHW.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous().numpy()


def _embed_spec(ctx: Context) -> EmbedSpec:
    """How the real images were embedded; the set's are embedded the same way."""
    role = ctx.roles("embedding")[0]
    spec = ctx.record(role).task.spec
    if not isinstance(spec, EmbedSpec):
        raise StageError(f"input '{role}' of {ctx.key} is not an embedding")
    return msgspec.structs.replace(spec, rows=None)


def points_by_class(real: Embeddings, condensed: CondensedSet, set_MD: NDArray[np.floating[Any]]) -> list[Points]:
    """Real and set points of each class, label order; rows of the real ones ascend in source index."""
    source_M = condensed.source_index_N
    classes = []
    for label in range(int(condensed.labels_N.max()) + 1):
        rows_N = np.flatnonzero(real.labels_N == label)
        of_class_M = np.flatnonzero(condensed.labels_N == label)
        own_M = np.full(len(of_class_M), -1, dtype=np.int64)
        if source_M is not None:
            own_M = np.searchsorted(rows_N, source_M[of_class_M]).astype(np.int64)
            if not np.array_equal(rows_N[np.minimum(own_M, len(rows_N) - 1)], source_M[of_class_M]):
                raise StageError(f"class {label}: the set's source index names images of another class or split")
        classes.append(Points(real.rows(rows_N), set_MD[of_class_M], own_M))
    return classes


if __name__ == "__main__":
    raise SystemExit(by_hand.main("analyze"))
