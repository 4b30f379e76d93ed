"""Stage `evaluate`: train one student under a protocol, and test it on the real test split."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch

from condhpc import by_hand, images, judge, labels, models, rng, train
from condhpc.errors import StageError
from condhpc.images import ResidentImages
from condhpc.label_files import LabelReader
from condhpc.spec import RelabelSpec
from condhpc_jobs import inputs, relabel

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import nn

    from condhpc.context import Context
    from condhpc.images import Images
    from condhpc.labels import Loss
    from condhpc.spec import EvaluateSpec


class _Source(NamedTuple):
    """What the student is trained on."""

    images: Images
    soft_NK: NDArray[np.float16] | None
    """Labels that came with the set."""


class _Exam(NamedTuple):
    """What it is tested on."""

    images: Images
    positions_N: NDArray[np.int64] | None

    def score(self, model: nn.Module, ctx: Context) -> judge.Score:
        """Of the network as it is."""
        dataset = ctx.spec.dataset
        return judge.score(model, self.images, dataset.mean, dataset.std, ctx.device, self.positions_N)


def run(ctx: Context) -> dict[str, Any]:
    """Accuracy after the last step, with one bit per test image; test data selects nothing.

    `correct_bits` is base64 of `numpy.packbits`, in the order of the test split.
    """
    train.configure(ctx.threads)
    spec: EvaluateSpec = ctx.spec
    dataset, protocol = spec.dataset, spec.protocol
    source = _source(ctx)
    exam = _exam(ctx, source.images.side)
    # The student seed alone decides the start: students of two condensers are compared in pairs.
    seed = rng.torch_seed(spec.seed, "student-init")
    student = models.build(spec.student, dataset.classes, source.images.side, seed, protocol.student_norm)
    probes = protocol.probes
    recipe = train.Run(
        training=spec.training,
        loss=_loss(ctx, source),
        mean=dataset.mean,
        std=dataset.std,
        seed=spec.seed,
        device=ctx.device,
        report=ctx,
        probe=None if probes is None else train.Probe(probes, lambda model: exam.score(model, ctx).top1_pct),
        compile=ctx.site.compile,
    )
    trained = train.train(student, source.images, recipe)
    values = _values(ctx, exam.score(student, ctx), trained, source)
    if "set" in ctx.task.inputs:
        values["train_top1_pct"] = _Exam(source.images, None).score(student, ctx).top1_pct
    return values


def _values(ctx: Context, score: judge.Score, trained: train.Trained, source: _Source) -> dict[str, Any]:
    training = ctx.spec.training
    found: dict[str, Any] = {
        "top1_pct": score.top1_pct,
        "test_count": len(score.correct_N),
        "test_loss": score.loss,
        "correct_bits": base64.b64encode(np.packbits(score.correct_N).tobytes()).decode("ascii"),
        "loss_last": trained.loss_last,
        "steps": training.steps,
        "batch": training.batch,
        "train_count": len(source.images),
        "resolution": source.images.side,
        "label_bytes": _label_bytes(ctx, source),
    }
    if trained.probed_top1_pct:
        found |= {"probed_top1_pct": list(trained.probed_top1_pct), "top1_pct_best": max(trained.probed_top1_pct)}
    return found


def _label_bytes(ctx: Context, source: _Source) -> int:
    """Storage of cached labels, or of those that came with a set and are used."""
    if "labels" in ctx.task.inputs:
        return int(ctx.record("labels").record.values["label_bytes"])
    if ctx.spec.protocol.labels != "set" or source.soft_NK is None:
        return 0
    return int(source.soft_NK.nbytes)


def _source(ctx: Context) -> _Source:
    """The condensed set; all training data where the task has no set (the reference lines)."""
    spec: EvaluateSpec = ctx.spec
    if "set" not in ctx.task.inputs:
        split = inputs.open_split(ctx, spec.dataset, spec.dataset.train_split)
        return _Source(images.images_of(split, ctx.device, ctx.threads), None)
    condensed = inputs.load_set(ctx, spec.dataset)
    held = ResidentImages(condensed.images_NHWC, condensed.labels_N, ctx.device)
    return _Source(held, condensed.soft_labels_NK)


def _exam(ctx: Context, side: int) -> _Exam:
    """The test split at the resolution that the student is trained at."""
    spec: EvaluateSpec = ctx.spec
    split = inputs.open_split(ctx, spec.dataset, spec.test_split, side)
    few = spec.protocol.test_per_class
    positions_N = None if few is None else judge.first_of_each_class(split.labels_N, few)
    return _Exam(images.images_of(split, ctx.device, ctx.threads), positions_N)


def _loss(ctx: Context, source: _Source) -> Loss:
    """The protocol's label source."""
    protocol = ctx.spec.protocol
    if protocol.labels == "hard":
        return labels.hard_labels(protocol.label_smoothing)
    if protocol.labels == "set":
        if source.soft_NK is None:
            raise StageError(
                f"protocol '{protocol.name}' learns the soft labels that come with a set, but this set has none; "
                "use another protocol for it"
            )
        return labels.set_labels(torch.from_numpy(source.soft_NK).float().to(ctx.device))
    if protocol.source == "cached" and "labels" in ctx.task.inputs:
        return labels.teacher_labels(_cached(ctx, len(source.images)), protocol)
    roles = ctx.roles(str(protocol.teacher_role))
    teachers = [inputs.load_teacher(ctx, role) for role in roles]
    side = ctx.spec.dataset.resolution
    return labels.teacher_labels(labels.online(teachers, protocol.teacher, side, ctx.site.compile), protocol)


def _cached(ctx: Context, count: int) -> labels.Source:
    """Labels from the relabel task of this very training; raises StageError where it was another."""
    spec: EvaluateSpec = ctx.spec
    told = ctx.record("labels").task.spec
    ours = (spec.training.steps, spec.training.batch, spec.training.augment, spec.seed)
    if not isinstance(told, RelabelSpec) or (told.steps, told.batch, told.augment, told.seed) != ours:
        raise StageError(f"input 'labels' of {ctx.key} holds labels of another training")
    reader = LabelReader(ctx.input("labels", "labels"), relabel.label_shape(told, count))
    return labels.cached(reader, spec.dataset.classes, ctx.device)


if __name__ == "__main__":
    raise SystemExit(by_hand.main("evaluate"))
