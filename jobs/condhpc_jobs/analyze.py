"""Stage `analyze`: one measure of one condensed set against the real data, in one space of features."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, overload

import msgspec
import numpy as np
import torch

from condhpc import by_hand, encoders, registry, train
from condhpc.errors import StageError
from condhpc.images import ResidentImages
from condhpc.kept import Kept
from condhpc.metrics.base import Points, Scene
from condhpc.spec import EmbedSpec
from condhpc_jobs import embed, inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from condhpc.arrays import CondensedSet, Embeddings
    from condhpc.context import Context
    from condhpc.metrics.base import Metric
    from condhpc.spec import AnalyzeSpec
    from condhpc_jobs.embed import Encoded

_EMBEDDING = "embedding"
_HELDOUT = "heldout"
"""Roles of the real images of the training split, and of the test split."""


def run(ctx: Context) -> dict[str, Any]:
    """All that the measure found, with its unit, its direction and the encoder."""
    train.configure(ctx.threads)
    spec: AnalyzeSpec = ctx.spec
    plugin: Metric = registry.load("metrics", spec.metric)
    params = msgspec.convert(spec.params, plugin.Params)
    condensed = inputs.load_set(ctx, spec.dataset)
    real = inputs.load_embeddings(ctx, _EMBEDDING)
    classes = ClassesOfSet(real, condensed, _encoded_set(ctx, condensed), _heldout(ctx))
    found = plugin.compute(Scene(classes, ctx.device, _kept(ctx)), params)
    return {
        **msgspec.structs.asdict(found),
        "per_class": list(found.per_class),
        "unit": plugin.unit,
        "better": plugin.better,
        "encoder": str(real.attributes["encoder"]),
    }


def _encoded_set(ctx: Context, condensed: CondensedSet) -> Encoded:
    """The set's images, embedded as the real ones were."""
    spec = _embed_spec(ctx)
    stored_NHWC = torch.from_numpy(condensed.images_NHWC)
    images_NRRC = encoders.resized(stored_NHWC, spec.dataset.resolution, "bilinear").numpy()  # as real ones are stored
    return embed.encode(ctx, spec, ResidentImages(images_NRRC, condensed.labels_N, ctx.device))


def _heldout(ctx: Context) -> Embeddings | None:
    """Embeddings of the test split where the measure asks for them."""
    return inputs.load_embeddings(ctx, _HELDOUT) if ctx.roles(_HELDOUT) else None


def _kept(ctx: Context) -> Kept:
    """What depends on the real points alone is shared by all measures of all sets in this embedding."""
    roles = [*ctx.roles(_EMBEDDING), *ctx.roles(_HELDOUT)]
    return Kept(ctx.layout, {role: ctx.task.inputs[role] for role in roles})


def _embed_spec(ctx: Context) -> EmbedSpec:
    """How the real images were embedded; the set's are embedded the same way."""
    role = ctx.roles(_EMBEDDING)[0]
    spec = ctx.record(role).task.spec
    if not isinstance(spec, EmbedSpec):
        raise StageError(f"input '{role}' of {ctx.key} is not an embedding")
    return msgspec.structs.replace(spec, rows=None)


class ClassesOfSet(Sequence[Points]):
    """Real and set points of each class, label order, read when asked for; real rows ascend in source index.

    Raises StageError, when made, for a source index that names no image of its class.
    """

    def __init__(
        self, real: Embeddings, condensed: CondensedSet, encoded: Encoded, heldout: Embeddings | None = None
    ) -> None:
        self._real, self._encoded, self._heldout = real, encoded, heldout
        count = int(condensed.labels_N.max()) + 1
        self._rows = [np.flatnonzero(real.labels_N == label) for label in range(count)]
        self._of_class = [np.flatnonzero(condensed.labels_N == label) for label in range(count)]
        self._own = [self._own_rows(label, condensed.source_index_N) for label in range(count)]

    def __len__(self) -> int:
        return len(self._rows)

    @overload
    def __getitem__(self, label: int) -> Points: ...
    @overload
    def __getitem__(self, label: slice) -> list[Points]: ...
    def __getitem__(self, label: int | slice) -> Points | list[Points]:
        """One class, or some."""
        if isinstance(label, slice):
            return [self[i] for i in range(*label.indices(len(self)))]
        heldout, rows_m = self._heldout, self._of_class[label]
        return Points(
            self._real.rows(self._rows[label]),
            self._encoded.vectors_ND[rows_m],
            self._own[label],
            None if heldout is None else heldout.rows(np.flatnonzero(heldout.labels_N == label)),
            {name: values_M[rows_m] for name, values_M in self._encoded.scores.items()},
        )

    def _own_rows(self, label: int, source_M: NDArray[np.int64] | None) -> NDArray[np.int64]:
        of_class_m, rows_N = self._of_class[label], self._rows[label]
        if source_M is None:
            return np.full(len(of_class_m), -1, dtype=np.int64)
        own_m = np.searchsorted(rows_N, source_M[of_class_m]).astype(np.int64)
        if not len(rows_N) or not np.array_equal(rows_N[np.minimum(own_m, len(rows_N) - 1)], source_M[of_class_m]):
            raise StageError(f"class {label}: the set's source index names images of another class or split")
        return own_m


if __name__ == "__main__":
    raise SystemExit(by_hand.main("analyze"))
