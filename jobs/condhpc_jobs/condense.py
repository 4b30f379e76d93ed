"""Stage `condense`: one condensed set (or a shard of it), by a coreset strategy or a distillation method."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from condhpc import arrays, by_hand, distillation, external, image_list, keys, registry, rng, sharding, store, train
from condhpc.arrays import ArrayFile, CondensedSet
from condhpc.errors import StageError
from condhpc.layout import TaskFolder
from condhpc.methods.base import Work
from condhpc.misfits import Wanted
from condhpc_jobs import choice, inputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from condhpc.context import Context
    from condhpc.coresets.base import Coreset
    from condhpc.datasets.base import Split
    from condhpc.methods.base import Group, Method, Steps
    from condhpc.spec import CondenseSpec, Task
    from condhpc.store import Record


def run(ctx: Context) -> dict[str, Any]:
    """Publish the artefact `set`: exactly ipc images of each class, class-major."""
    train.configure(ctx.threads)
    spec: CondenseSpec = ctx.spec
    train.require_precision(spec.precision, ctx.device)
    split = inputs.open_split(ctx, spec.dataset, spec.dataset.train_split, spec.resolution)
    if spec.is_shard:
        return _run_shard(ctx, split)
    make = {"coreset": _select, "method": _distil, "external": _take}[spec.kind]
    condensed, told = make(ctx, split)
    require_valid(condensed, spec, len(split))
    listing = None if condensed.source_index_N is None else _listing(ctx, split, condensed.source_index_N)
    condensed = dataclasses.replace(condensed, attributes=_attributes(ctx), listing=listing)
    ctx.artefact("set", "h5", partial(arrays.write_condensed_set, condensed=condensed))
    soft = condensed.soft_labels_NK
    return {
        "count": len(condensed.labels_N),
        "set_bytes": int(condensed.images_NHWC.nbytes),
        "soft_label_bytes": 0 if soft is None else int(soft.nbytes),
        **told,
    }


def _select(ctx: Context, train_split: Split) -> tuple[CondensedSet, dict[str, Any]]:
    """Real images, and what the record tells of their choice."""
    spec: CondenseSpec = ctx.spec
    plugin: Coreset = registry.load("coresets", spec.condenser)
    needs = plugin.needs(msgspec.convert(spec.params, plugin.Params))
    embeddings = inputs.embeddings(ctx, needs, len(train_split)).get("embedding")
    source_index_N, told = choice.select(ctx, train_split, embeddings)
    labels_N = train_split.labels_N[source_index_N]
    return CondensedSet(train_split.read(source_index_N), labels_N, source_index_N), told


def _distil(ctx: Context, train_split: Split) -> tuple[CondensedSet, dict[str, Any]]:
    """Images of all groups, made here or in shards, in class order."""
    spec: CondenseSpec = ctx.spec
    groups = sharding.groups_of(spec)
    if ctx.shards:
        parts = [_read_shard(ctx, shard) for shard in ctx.shards]
        images, told = np.concatenate([part for part, _ in parts]), _summed([record for _, record in parts])
    else:
        images, told = _make(ctx, train_split, groups), {}
    ordered = distillation.in_class_order(images, groups, spec.ipc)
    return CondensedSet(ordered, np.repeat(np.arange(spec.dataset.classes, dtype=np.int64), spec.ipc)), told


def _make(ctx: Context, train_split: Split, groups: list[Group]) -> NDArray[np.uint8]:
    """Images of groups, one after the other."""
    spec: CondenseSpec = ctx.spec
    plugin: Method = registry.load("methods", spec.condenser)
    params = msgspec.convert(spec.params, plugin.Params)
    given = inputs.given(ctx, plugin.needs(params), len(train_split))
    stream = partial(rng.stream, spec.seed or 0, spec.condenser)

    def condense(steps: Steps, group: Group) -> NDArray[np.uint8]:
        work = Work(spec=spec, params=params, train=train_split, device=ctx.device, stream=stream, steps=steps, **given)
        return plugin.condense(work, group)

    return distillation.run(condense, groups, spec.resolution, ctx)


def _read_shard(ctx: Context, shard: Task) -> tuple[NDArray[np.uint8], Record]:
    found = ctx.recorded("condense", keys.key(shard))
    path = store.verified(TaskFolder(found.folder), found.record, "shard")
    return arrays.read(path, "shard").arrays["images"], found.record


def _summed(records: list[Record]) -> dict[str, Any]:
    """What the shards took, for those who ask what the set cost."""
    costs = {name: sum(record.cost.get(name, 0.0) for record in records) for name in ("cpu_s", "gpu_s")}
    return {"shards": len(records), **{f"shards_{name}": round(cost, 6) for name, cost in costs.items()}}


def _run_shard(ctx: Context, split: Split) -> dict[str, Any]:
    """Publish the artefact `shard`: images of its groups, one after the other."""
    images = _make(ctx, split, sharding.groups_of(ctx.spec))
    content = ArrayFile({"images": images}, {"key": ctx.key})
    ctx.artefact("shard", "h5", partial(arrays.write, kind="shard", content=content))
    return {"count": len(images)}


def _take(ctx: Context, train_split: Split) -> tuple[CondensedSet, dict[str, Any]]:
    """A set made elsewhere, as it is."""
    spec: CondenseSpec = ctx.spec
    params = msgspec.convert(spec.params, external.ExternalParams)
    index = inputs.open_index(ctx, spec.dataset)
    wanted = Wanted(index.class_names, spec.ipc, spec.resolution)
    real = external.Real(train_split, index, spec.dataset)
    return external.load(ctx.set_path(params.name), params, wanted, real), {}


def _listing(ctx: Context, train_split: Split, source_index_N: NDArray[np.int64]) -> tuple[str, ...]:
    """A line for each real image of the set, in its order, that leads back to its file."""
    spec: CondenseSpec = ctx.spec
    paths = inputs.open_index(ctx, spec.dataset).splits[spec.dataset.train_split].paths
    lines = []
    for done, position in enumerate(source_index_N.tolist(), 1):
        lines.append(image_list.line_for(position, paths[position], train_split.digest(position)))
        ctx.tick(done, len(source_index_N))
    return tuple(lines)


def require_valid(condensed: CondensedSet, spec: CondenseSpec, train_count: int) -> None:
    """Raise StageError unless the plug-in kept to budget, balance, order and types."""
    side = spec.resolution
    expected_N = np.repeat(np.arange(spec.dataset.classes, dtype=np.int64), spec.ipc)
    images, source = condensed.images_NHWC, condensed.source_index_N
    problems = []
    if images.dtype != np.uint8 or images.shape != (len(expected_N), side, side, 3):
        problems.append(f"images {images.dtype} {images.shape}, expected uint8 {(len(expected_N), side, side, 3)}")
    if condensed.labels_N.dtype != np.int64 or not np.array_equal(condensed.labels_N, expected_N):
        problems.append(f"labels must be int64, class by class, {spec.ipc} of each of {spec.dataset.classes}")
    if source is not None and (source.shape != expected_N.shape or not np.all((source >= 0) & (source < train_count))):
        problems.append(f"source index must be {len(expected_N)} positions in 0..{train_count - 1}")
    elif source is not None and len(np.unique(source)) != len(source):
        problems.append("an image was chosen twice")
    if problems:
        raise StageError(f"condenser '{spec.condenser}' broke its contract: {'; '.join(problems)}")


def _attributes(ctx: Context) -> dict[str, Any]:
    spec: CondenseSpec = ctx.spec
    return {
        "dataset": spec.dataset.name,
        "class_names": list(inputs.open_index(ctx, spec.dataset).class_names),
        "value_range": "0..255",
        "mean": spec.dataset.mean,
        "std": spec.dataset.std,
        "seed": -1 if spec.seed is None else spec.seed,
        "ipc": spec.ipc,
        "resolution": spec.resolution,
        "condenser": spec.condenser,
        "key": ctx.key,
    }


if __name__ == "__main__":
    raise SystemExit(by_hand.main("condense"))
