"""Stage `evaluate`: train one student on one condensed set under a protocol, and test it on the real test split."""

from __future__ import annotations

import base64
from typing import TYPE_CHECKING, Any

import numpy as np

from condhpc import by_hand, images, labels, models, rng, train
from condhpc.errors import StageError
from condhpc.images import ResidentImages
from condhpc_jobs import inputs

if TYPE_CHECKING:
    from condhpc.context import Context
    from condhpc.labels import Loss
    from condhpc.spec import EvaluateSpec


def run(ctx: Context) -> dict[str, Any]:
    """Accuracy after the last step, with one bit per test image; test data selects nothing.

    `correct_bits` is base64 of `numpy.packbits`, in the order of the test split.
    """
    train.configure(ctx.threads)
    spec: EvaluateSpec = ctx.spec
    dataset, training = spec.dataset, spec.training
    condensed = inputs.load_set(ctx, dataset)
    source = ResidentImages(condensed.images_NHWC, condensed.labels_N, ctx.device)
    # The student seed alone decides the start: students of two condensers are compared in pairs.
    student = models.build(spec.student, dataset.classes, dataset.resolution, rng.torch_seed(spec.seed, "student-init"))
    recipe = train.Run(
        training=training,
        loss=_loss(ctx),
        mean=dataset.mean,
        std=dataset.std,
        seed=spec.seed,
        device=ctx.device,
        report=ctx,
    )
    loss_last = train.train(student, source, recipe)
    test = images.images_of(inputs.open_split(ctx, dataset, spec.test_split), ctx.device)
    score = train.score(student, test, dataset.mean, dataset.std, ctx.device)
    return {
        "top1_pct": score.top1_pct,
        "test_count": len(test),
        "test_loss": score.loss,
        "correct_bits": base64.b64encode(np.packbits(score.correct_N).tobytes()).decode("ascii"),
        "train_top1_pct": train.score(student, source, dataset.mean, dataset.std, ctx.device).top1_pct,
        "loss_last": loss_last,
        "steps": training.steps,
        "batch": training.batch,
    }


def _loss(ctx: Context) -> Loss:
    """The protocol's label source."""
    protocol = ctx.spec.protocol
    if protocol.labels == "hard":
        return labels.hard_labels(protocol.label_smoothing)
    if protocol.teacher_role is None:
        raise StageError(f"protocol '{protocol.name}' takes labels from teachers, but names no teacher role")
    teachers = [inputs.load_teacher(ctx, role) for role in ctx.roles(protocol.teacher_role)]
    return labels.teacher_labels(teachers, protocol.temperature)


if __name__ == "__main__":
    raise SystemExit(by_hand.main("evaluate"))
