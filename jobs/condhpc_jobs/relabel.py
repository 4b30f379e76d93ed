"""Stage `relabel`: teachers' labels of all batches of one student's training, in training order, in one file."""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch

from condhpc import by_hand, labels, train
from condhpc.feed import Plan, feed, rows
from condhpc.images import ResidentImages
from condhpc.label_files import LabelShape, LabelWriter
from condhpc_jobs import inputs

if TYPE_CHECKING:
    from pathlib import Path

    from condhpc.context import Context
    from condhpc.images import Images
    from condhpc.spec import RelabelSpec


def run(ctx: Context) -> dict[str, Any]:
    """Publish the artefact `labels` (fp16); its size is what the labels cost in storage."""
    train.configure(ctx.threads)
    spec: RelabelSpec = ctx.spec
    train.require_precision(spec.precision, ctx.device)
    condensed = inputs.load_set(ctx, spec.dataset)
    source = ResidentImages(condensed.images_NHWC, condensed.labels_N, ctx.device)
    shape = label_shape(spec, len(source))
    ctx.artefact("labels", "h5", partial(_write, ctx, source, shape))
    return {"label_bytes": ctx.published["labels"].bytes, "count": shape.rows, "kept": shape.kept}


def label_shape(spec: RelabelSpec, count: int) -> LabelShape:
    """What a file of labels for a set of `count` images must hold."""
    classes = spec.dataset.classes
    kept = min(spec.teacher.top_k or classes, classes)
    return LabelShape(rows(count, spec.batch, spec.steps), classes, kept)


def _write(ctx: Context, images: Images, shape: LabelShape, path: Path) -> None:
    spec: RelabelSpec = ctx.spec
    roles = [role for role in ctx.task.inputs if role != "set"]
    teachers = [inputs.load_teacher(ctx, role) for role in sorted(roles, key=_number)]
    ask = labels.online(teachers, spec.teacher, spec.dataset.resolution, ctx.site.compile)
    plan = Plan(spec.steps, spec.batch, spec.augment, spec.seed, spec.dataset.mean, spec.dataset.std)
    writer = LabelWriter(path, shape, ctx.checkpoint())
    for batch in feed(images, plan, writer.step):
        with torch.autocast(ctx.device, dtype=torch.bfloat16, enabled=spec.precision == "bf16"):
            target_nK = ask(batch)
        writer.write(batch.row, labels.stored(labels.kept(target_nK, spec.teacher.top_k)))
        ctx.tick(batch.step + 1, spec.steps, partial(writer.save, step=batch.step + 1))
    writer.close({"form": spec.teacher.form, "temperature": spec.teacher.temperature, "key": ctx.key})


def _number(role: str) -> int:
    return int(role.rpartition(".")[2])


if __name__ == "__main__":
    raise SystemExit(by_hand.main("relabel"))
