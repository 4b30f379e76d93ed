"""Stage `generator`: train a class-conditional diffusion transformer on a split, or take one made elsewhere."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np

from condhpc import (
    arrays,
    by_hand,
    diffusers_models,
    diffusion,
    generator_training,
    generators,
    images,
    keys,
    registry,
    rng,
    train,
)
from condhpc.arrays import ArrayFile
from condhpc.errors import StageError
from condhpc.generators import Generator
from condhpc_jobs import inputs, weights

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from condhpc.context import Context
    from condhpc.spec import DiffusionTransformer, FolderSpec, GeneratorSpec, GeneratorTraining

_ADVICE = "give the profile the right folder, or the manifest this digest, and submit again"


def run(ctx: Context) -> dict[str, Any]:
    """Publish the artefact `generator`: network, autoencoder where it has one, noise schedule and labels."""
    train.configure(ctx.threads)
    spec: GeneratorSpec = ctx.spec
    if spec.training is not None and spec.arch is not None:
        found, values = _trained(ctx, spec, spec.arch, spec.training)
    elif spec.folder is not None:
        found, values = _loaded(ctx, spec, spec.folder), {}
    else:
        raise StageError(f"generator {ctx.key} has neither training nor folder")
    outside = spec.folder or spec.vae
    source = "trained" if outside is None else f"weights:{outside.name}"
    ctx.artefact("generator", "h5", partial(arrays.write, kind="generator", content=_content(ctx, found)))
    return {
        "source": source,
        "pretrained_on": spec.pretrained_on,
        "space": "pixel" if found.vae is None else "latent",
        "resolution": found.resolution,
        "parameters": sum(p.numel() for p in found.network.parameters()),
        **values,
    }


def _trained(
    ctx: Context, spec: GeneratorSpec, arch: DiffusionTransformer, training: GeneratorTraining
) -> tuple[Generator, dict[str, Any]]:
    """A new network, trained; and what the record tells of it."""
    train.require_precision(training.precision, ctx.device)
    vae = None if spec.vae is None else diffusers_models.read_vae(_verified(ctx, spec.vae))
    shape = generators.latent_shape(vae, spec.dataset.resolution)
    seed = rng.torch_seed(spec.seed, "generator-init")
    network = diffusers_models.build(arch, shape, spec.dataset.classes, seed)
    own_K = np.arange(spec.dataset.classes)
    made = Generator(network, vae, diffusion.linear_chain(), own_K, training.precision).placed(ctx.device)
    source = images.images_of(inputs.open_split(ctx, spec.dataset, spec.split), ctx.device, ctx.threads)
    loss_last = generator_training.train(made, source, training, spec.seed, ctx)
    told = {"loss_last": loss_last, "steps": training.steps, "batch": training.batch, "train_count": len(source)}
    return made, told


def _loaded(ctx: Context, spec: GeneratorSpec, folder: FolderSpec) -> Generator:
    """One made elsewhere; raises StageError where it is another, does not fit, or knows other classes."""
    path = _verified(ctx, folder)
    network, vae = diffusers_models.read_network(path), diffusers_models.read_vae(path)
    betas = diffusers_models.read_betas(path)
    chain, wanted = diffusion.linear_chain(betas=betas), spec.dataset.classes
    made = Generator(network, vae, chain, np.arange(wanted))
    if spec.classes:
        return replace(made, labels_K=_labels(ctx, spec, made.nothing))
    if made.nothing != wanted:
        raise StageError(
            f"generator '{folder.name}' knows {made.nothing} classes, '{spec.dataset.name}' has {wanted}; "
            "name the dataset whose labels it has as `classes` of its block"
        )
    return made


def _labels(ctx: Context, spec: GeneratorSpec, known: int) -> NDArray[np.int64]:
    """Its label of each class of the dataset, by the classes' names in the dataset that it was made for."""
    names = registry.load("datasets", spec.classes).class_names()
    if len(names) != known:
        raise StageError(
            f"the generator knows {known} classes, '{spec.classes}' has {len(names)}; correct `classes` of its block"
        )
    return generators.class_places(inputs.open_index(ctx, spec.dataset).class_names, names, spec.classes)


def _verified(ctx: Context, folder: FolderSpec) -> Path:
    """Where the profile has it, its digest just checked."""
    path = ctx.weights_file(folder.name)
    keys.require_sha256(f"weights '{folder.name}'", path, folder.sha256, _ADVICE)
    return path


def _content(ctx: Context, made: Generator) -> ArrayFile:
    """What `inputs.load_generator` reads."""
    parts = {"network": made.network} | ({} if made.vae is None else {"vae": made.vae})
    named = [weights.to_arrays(part, f"{name}/") for name, part in parts.items()]
    attributes = {name: diffusers_models.config_of(part) for name, part in parts.items()}
    betas = {"betas": made.chain.beta_T, "labels": made.labels_K}
    return ArrayFile({k: v for found in [*named, betas] for k, v in found.items()}, {**attributes, "key": ctx.key})


if __name__ == "__main__":
    raise SystemExit(by_hand.main("generator"))
