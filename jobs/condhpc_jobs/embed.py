"""Stage `embed`: one feature vector per image of a split, or of a part of it, and what a classifier says of it."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from condhpc import arrays, by_hand, encoders, images, models, ranks, train
from condhpc.arrays import ArrayFile, Embeddings
from condhpc.errors import CorruptArtefactError, StageError
from condhpc.spec import WeightsSpec
from condhpc_jobs import inputs, weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import nn

    from condhpc.context import Context
    from condhpc.encoders import Encoder, Seen
    from condhpc.images import Images
    from condhpc.spec import EmbedSpec, NetworkSpec

_ADVICE = "give the profile the right file, or the manifest this digest, and submit again"
_VECTORS = "vectors"
_PUBLISHED_CLASSES = 1000
"""Of torchvision's weights: ImageNet-1K."""


class Encoded(NamedTuple):
    """Vectors and scores of N images."""

    vectors_ND: NDArray[np.floating[Any]]
    scores: dict[str, NDArray[np.float32]]
    """(N,) by name; none where the encoder knows no classes."""


def run(ctx: Context) -> dict[str, Any]:
    """Publish the artefact `embeddings`: vectors (N, D), row = source index (of a part, from its first image on)."""
    train.configure(ctx.threads)
    spec: EmbedSpec = ctx.spec
    split = inputs.open_split(ctx, spec.dataset, spec.split, _resolution(ctx, spec))
    with ranks.team(ctx) as team:
        found = encode(ctx, spec, images.images_of(split, ctx.device, ctx.threads), team)
    if ctx.place.rank:  # rank 0 has them all
        return {}
    first, stop = _bounds(spec, len(split))
    attributes = {
        "encoder": encoder_name(ctx),
        "split": spec.split,
        "first": first,
        "preprocessing": preprocessing(spec),
        "key": ctx.key,
    }
    content = Embeddings(found.vectors_ND, split.labels_N[first:stop], attributes, found.scores)
    ctx.artefact("embeddings", "h5", partial(arrays.write_embeddings, embeddings=content))
    named = {"source": f"weights:{spec.network.weights}"} if spec.network is not None else {}
    return {"count": stop - first, "dimensions": found.vectors_ND.shape[1], **named}


def encoder_name(ctx: Context) -> str:
    """Which network it was, for people."""
    spec: EmbedSpec = ctx.spec
    if spec.network is not None:
        return f"{spec.network.library}:{spec.network.arch}:{spec.network.sha256}"
    role = "generator" if spec.encoder == "generator" else "encoder"
    return spec.encoder if spec.encoder == "pixels" else f"{spec.encoder}:{ctx.task.inputs[role]}"


def preprocessing(spec: EmbedSpec) -> str:
    """What happens to a uint8 image before the encoder, for people."""
    side = spec.dataset.resolution
    if spec.encoder == "pixels":
        return f"{side}×{side} RGB / 255, flattened"
    if spec.encoder == "generator":
        return f"the generator's own resolution, RGB in -1..1, latents as it sees them, flattened; {spec.precision}"
    size, mean, std = f"{side}×{side}", spec.dataset.mean, spec.dataset.std
    if spec.network is not None:
        mean, std = spec.network.mean, spec.network.std
        if spec.network.resolution != side:
            size += f" bicubic to {spec.network.resolution}×{spec.network.resolution}"
    return f"{size} RGB / 255, minus mean {mean}, over std {std}; {spec.precision}"


def encode(ctx: Context, spec: EmbedSpec, source: Images, team: ranks.Alone | None = None) -> Encoded:
    """Vectors (N, D) of images, exactly as `spec` says; a teacher is the input `encoder` of the task at hand.

    Ranks take turns by batch, as a batch shares a forward pass; all vectors end on rank 0, none on the others. With a
    `team` a checkpoint holds what is done. Raises StageError where a vector is not finite.
    """
    train.require_precision(spec.precision, ctx.device)
    together = team or ranks.Alone(ctx)
    first, stop = _bounds(spec, len(source))
    encoder, place = _encoder(ctx, spec), together.place
    held = _Held(stop - first, np.float16 if spec.precision == "bf16" else np.float32)
    if team is not None:
        held.resume(team.report.checkpoint())
    done = together.told(held.done)
    for turn in range(first + done, stop, spec.batch * place.ranks):
        start = turn + spec.batch * place.rank
        positions_n = np.arange(start, min(start + spec.batch, stop))
        seen = encoder(source.read(positions_n), source.labels_N[start:stop][: spec.batch]) if start < stop else None
        for part in together.collected(None if seen is None else _on_cpu(seen)):
            held.add(part)
        save = held.save if team is not None and not place.rank else None
        together.report.tick(min(turn + spec.batch * place.ranks, stop) - first, stop - first, save)
    return held.finished(first)


def _resolution(ctx: Context, spec: EmbedSpec) -> int | None:
    """A generator encodes images of its own size, read as such from the files; None: the dataset's."""
    return inputs.generator_resolution(ctx, "generator") if spec.encoder == "generator" else None


def _bounds(spec: EmbedSpec, count: int) -> tuple[int, int]:
    return (0, count) if spec.rows is None else (spec.rows.first, spec.rows.first + spec.rows.count)


def _encoder(ctx: Context, spec: EmbedSpec) -> Encoder:
    if spec.network is not None:
        return encoders.of_network(_network(ctx, spec.network), spec.network, spec.precision)
    if spec.encoder == "pixels":
        return encoders.pixels
    if spec.encoder == "generator":
        return inputs.load_generator(ctx, "generator", spec.precision).as_encoder()
    return encoders.of_teacher(inputs.load_teacher(ctx, "encoder"), spec.dataset, spec.precision)


def _network(ctx: Context, spec: NetworkSpec) -> nn.Module:
    """A network made elsewhere, frozen, on the task's device; raises StageError where its file is not as planned."""
    path = ctx.weights_file(spec.weights)
    if spec.library == "timm":
        model = encoders.load_timm(path, spec, _ADVICE)
    else:
        model = models.build(spec.arch, _PUBLISHED_CLASSES, spec.resolution, seed=0)
        weights.load_file(model, path, WeightsSpec(name=spec.weights, sha256=spec.sha256))
    return models.frozen(models.placed(model, ctx.device))


def _on_cpu(seen: Seen) -> Encoded:
    return Encoded(seen.vectors_nD.cpu().numpy(), {name: s.float().cpu().numpy() for name, s in seen.scores.items()})


class _Held:
    """What is done so far, in one matrix that is allocated once."""

    def __init__(self, count: int, dtype: type[np.floating[Any]]) -> None:
        self.done = 0
        self._count = count
        self._dtype = dtype
        self._vectors_ND: NDArray[np.floating[Any]] = np.zeros((0, 0), dtype=dtype)
        self._scores: dict[str, NDArray[np.float32]] = {}

    def add(self, part: Encoded | None) -> None:
        """The next images."""
        if part is None:
            return
        if not self.done:
            self._vectors_ND = np.empty((self._count, part.vectors_ND.shape[1]), dtype=self._dtype)
            self._scores = {name: np.empty(self._count, dtype=np.float32) for name in part.scores}
        stop = self.done + len(part.vectors_ND)
        with np.errstate(over="ignore"):  # what is too large for float16 becomes infinite, and is found in the end
            self._vectors_ND[self.done : stop] = part.vectors_ND
        for name, score_n in part.scores.items():
            self._scores[name][self.done : stop] = score_n
        self.done = stop

    def save(self, path: Path) -> None:
        """All that is done, to go on from."""
        held = {_VECTORS: self._vectors_ND, **self._scores}
        arrays.write(path, "embedding", ArrayFile({name: array[: self.done] for name, array in held.items()}))

    def resume(self, checkpoint: Path | None) -> None:
        """Take over what an earlier attempt has done; one that cannot be read is as good as none."""
        if checkpoint is None:
            return
        try:
            held = dict(arrays.read(checkpoint, "embedding").arrays)
        except CorruptArtefactError:
            return
        self.add(Encoded(held.pop(_VECTORS), held))

    def finished(self, first: int) -> Encoded:
        """All of them; raises StageError where one is not finite."""
        bad = np.flatnonzero(~np.isfinite(self._vectors_ND).all(axis=1))
        if bad.size:
            raise StageError(
                f"{bad.size} of {self._count} embeddings are NaN or infinite (first: image {first + bad[0]}); "
                "the encoder diverged, or exceeds float16 under bf16: change its recipe or the precision, submit again"
            )
        return Encoded(self._vectors_ND, self._scores)


if __name__ == "__main__":
    raise SystemExit(by_hand.main("embed"))
