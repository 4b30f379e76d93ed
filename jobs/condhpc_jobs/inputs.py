"""What stages read: splits of the planned dataset, and the artefacts of tasks that went before."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from condhpc import arrays, diffusers_models, diffusion, keys, models, registry
from condhpc.errors import CorruptArtefactError, InputError, StageError
from condhpc.file_index import Index
from condhpc.generators import Generator
from condhpc.spec import CondenseSpec, TeacherSpec
from condhpc_jobs import weights

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import nn

    from condhpc.arrays import CondensedSet, Embeddings
    from condhpc.context import Context
    from condhpc.datasets.base import Dataset, Split
    from condhpc.spec import DatasetSpec, Need, Precision


def open_index(ctx: Context, dataset: DatasetSpec) -> Index:
    """The dataset's file list as planned: from the root, or, where that copy is gone, by listing the folder anew.

    Raises StageError where what is found is not what was planned.
    """
    kept = _kept_index(ctx, dataset)
    if kept is not None:
        return kept
    folder = ctx.data_folder(dataset.name)
    try:
        found = _loader(dataset).index(folder, (dataset.train_split, dataset.test_split))
    except InputError as error:
        raise StageError(f"dataset '{dataset.name}': {error}") from error
    if found.digest() != dataset.index:
        where = folder if folder is not None else "its package"
        raise StageError(
            f"the dataset '{dataset.name}' at {where} is not the one that was planned: its index has digest "
            f"{found.digest()}, the task names {dataset.index}; restore its files, or submit again to use these"
        )
    return found


def _kept_index(ctx: Context, dataset: DatasetSpec) -> Index | None:
    """The copy under the root, unless it is missing or damaged; its own bytes are digested, not those of a copy."""
    data = ctx.index_bytes(dataset.index)
    if data is None or keys.digest(data) != dataset.index:
        return None
    return msgspec.json.decode(data, type=Index)


def open_split(ctx: Context, dataset: DatasetSpec, name: str, resolution: int | None = None) -> Split:
    """One split, at the dataset's resolution unless another is asked for."""
    index = open_index(ctx, dataset)
    side = dataset.resolution if resolution is None else resolution
    return _loader(dataset).split(index, ctx.data_folder(dataset.name), name, side)


def _loader(dataset: DatasetSpec) -> Dataset:
    loader: Dataset = registry.load("datasets", dataset.loader)
    return loader


def load_teacher(ctx: Context, role: str) -> nn.Module:
    """The frozen eval-mode network behind an input role, on the task's device."""
    spec = ctx.record(role).task.spec
    if not isinstance(spec, TeacherSpec):
        raise StageError(f"input '{role}' of {ctx.key} is not a teacher")
    path = ctx.input(role, "model")
    model = models.build(spec.arch, spec.dataset.classes, spec.dataset.resolution, seed=0)
    weights.load_arrays(model, arrays.read(path, "model").arrays, path)
    return models.frozen(models.placed(model, ctx.device))


def load_generator(ctx: Context, role: str, precision: Precision) -> Generator:
    """The frozen generator behind an input role, on the task's device; raises CorruptArtefactError."""
    path = ctx.input(role, "generator")
    held = arrays.read(path, "generator")
    try:
        parts = {
            name: make(json.loads(held.attributes[name]))
            for name, make in (("network", diffusers_models.network_of), ("vae", diffusers_models.vae_of))
            if name == "network" or name in held.attributes
        }
        chain, labels_K = diffusion.linear_chain(betas=held.arrays["betas"]), held.arrays["labels"]
    except (KeyError, TypeError, ValueError) as error:
        raise CorruptArtefactError(f"{path}: not a generator ({error}); delete its task and submit") from error
    for name, part in parts.items():
        weights.load_arrays(part, held.arrays, path, f"{name}/")
    network = diffusers_models.with_shared_embedding(parts["network"])
    return Generator(network, parts.get("vae"), chain, labels_K, precision).placed(ctx.device)


def generator_resolution(ctx: Context, role: str) -> int:
    """Side of the images that the generator behind an input role makes, pixels."""
    return int(ctx.record(role).record.values["resolution"])


def load_embeddings(ctx: Context, role: str) -> Embeddings:
    """The embeddings behind an input role, of all its parts; row = source index."""
    return arrays.joined([arrays.read_embeddings(ctx.input(part, "embeddings")) for part in ctx.roles(role)])


def given(ctx: Context, needs: dict[str, Need], count: int) -> dict[str, Any]:
    """What a plug-in asked for, by kind and role, as `methods.base.Given` has it; `count` training images."""
    teachers = [role for name, need in needs.items() if need.stage == "teacher" for role in ctx.roles(name)]
    prepared = [role for role, need in needs.items() if need.stage == "prepare"]
    drawing = [role for role, need in needs.items() if need.stage == "generator"]
    return {
        "compile": ctx.site.compile,
        "teachers": {role: load_teacher(ctx, role) for role in teachers},
        "embeddings": embeddings(ctx, needs, count),
        "prepared": {role: arrays.read(ctx.input(role, "prepared"), "prepared").arrays for role in prepared},
        "generators": {role: load_generator(ctx, role, ctx.spec.precision) for role in drawing},
    }


def embeddings(ctx: Context, needs: dict[str, Need], count: int) -> dict[str, Embeddings]:
    """Embeddings by role; raises CorruptArtefactError unless they have a row for each training image."""
    found = {}
    for role, need in needs.items():
        if need.stage != "embed":
            continue
        found[role] = load_embeddings(ctx, role)
        if len(found[role].vectors_ND) != count:
            raise CorruptArtefactError(
                f"input '{role}' of {ctx.key} has {len(found[role].vectors_ND)} rows, the training split {count} images"
            )
    return found


def load_dynamics(ctx: Context, role: str, names: Sequence[str], count: int) -> dict[str, NDArray[Any]]:
    """What is named of the training of the teacher behind a role, (E, N) each; column = position in the training split.

    Raises StageError where it was not trained here or on another split, CorruptArtefactError where images are missing.
    """
    spec = ctx.record(role).task.spec
    dataset = ctx.spec.dataset
    if not isinstance(spec, TeacherSpec) or spec.training is None:
        raise StageError(
            f"input '{role}' of {ctx.key} was not trained here and left no dynamics; train it with `epochs`"
        )
    if (spec.dataset.index, spec.split) != (dataset.index, dataset.train_split):
        raise StageError(
            f"input '{role}' of {ctx.key} was trained on the split '{spec.split}' of '{spec.dataset.name}', "
            f"expected '{dataset.train_split}' of '{dataset.name}', whose images are chosen"
        )
    path = ctx.input(role, "model")
    found = arrays.read_dynamics(path, names)
    for name, array_EN in found.items():
        if array_EN.shape[1] != count:
            raise CorruptArtefactError(f"{path}: '{name}' of {array_EN.shape[1]} images, the split has {count}")
    return found


def load_set(ctx: Context, dataset: DatasetSpec) -> CondensedSet:
    """The condensed set behind the role `set`; raises CorruptArtefactError where it cannot belong to the dataset."""
    path = ctx.input("set", "set")
    held = arrays.read_condensed_set(path)
    labels = np.unique(held.labels_N)
    if not np.array_equal(labels, np.arange(dataset.classes)):
        raise CorruptArtefactError(f"{path}: {len(labels)} classes, '{dataset.name}' has {dataset.classes}")
    spec = ctx.record("set").task.spec
    side = spec.resolution if isinstance(spec, CondenseSpec) else dataset.resolution
    if held.images_NHWC.shape[1:] != (side, side, 3):
        raise CorruptArtefactError(
            f"{path}: images of shape {held.images_NHWC.shape[1:]}, its task says ({side}, {side}, 3)"
        )
    return held
