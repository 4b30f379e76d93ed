"""Checks of `[generators.<name>]` blocks: defined where used, and either loaded or trained here."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc import demands, registry
from condhpc.errors import nearest
from condhpc.typed_toml import dotted

if TYPE_CHECKING:
    from collections.abc import Mapping

    from condhpc.facts import Facts
    from condhpc.manifest import Generator, Manifest
    from condhpc.typed_toml import Reader

_TRAINING = (
    "steps",
    "vae",
    "patch",
    "width",
    "depth",
    "heads",
    "batch",
    "lr",
    "ema_decay",
    "label_dropout",
    "seed",
    "split",
)
"""Fields that count for nothing where a generator is loaded."""


def check(reader: Reader, manifest: Manifest) -> None:
    """Note every generator that is used and not defined, and every block that is neither loaded nor trained."""
    reader.require_blocks("generators", demands.generators(manifest), "steps (or folder)", manifest.generators)
    for name, generator in manifest.generators.items():
        _check_generator(reader, generator, dotted("generators", name))


def problems(manifest: Manifest, facts: Mapping[str, Facts]) -> list[str]:
    """What only the facts of a dataset tell: a split that it does not have, patches that do not tile its images."""
    found = []
    pairs = [(n, d) for grid in manifest.grids for n, _ in demands.generators_of(manifest, grid) for d in grid.datasets]
    for name, dataset in dict.fromkeys(pairs):
        generator, held = manifest.generators[name], facts[dataset]
        where, side = f"{manifest.file}: {dotted('generators', name)}", held.info.resolution
        if generator.folder is None and held.index is not None and generator.split not in held.index.splits:
            text = f"{dataset} has no such split, only {sorted(held.index.splits)}"
            found.append(f"{where}.split = {generator.split!r}: {text}")
        if generator.folder is None and generator.space == "pixel" and side % generator.patch:
            found.append(f"{where}.patch = {generator.patch}: does not divide the {side} px of {dataset}")
    return found


def _check_generator(reader: Reader, generator: Generator, where: str) -> None:
    plain = type(generator)()
    outside = "folder" if generator.folder is not None else "vae" if generator.vae is not None else ""
    trained = generator.steps is not None
    if generator.folder is None and not trained and not reader.noted(f"{where}.steps"):
        reader.problem(f"{where}.steps", "missing, expected a number of steps (or `folder`, made elsewhere)")
    if generator.folder is not None:
        for field in _TRAINING:
            if getattr(generator, field) != getattr(plain, field) and not reader.noted(f"{where}.{field}"):
                reader.problem(
                    f"{where}.{field}", "stands beside `folder`, which is not trained here; keep one of both"
                )
    elif (generator.space == "latent") != (generator.vae is not None):
        wanted = "a `vae`" if generator.space == "latent" else "none, or space = 'latent'"
        reader.problem(f"{where}.vae", f"does not fit space = '{generator.space}', expected {wanted}")
    for field, value in (("sha256", generator.sha256), ("pretrained_on", generator.pretrained_on)):
        if outside and not value and not reader.noted(f"{where}.{field}"):
            reader.problem(f"{where}.{field}", f"missing, expected of the folder behind `{outside}`")
        elif value and not outside:
            reader.problem(f"{where}.{field}", "is of a folder made elsewhere, and neither `folder` nor `vae` is given")
    _check_size(reader, generator, where)


def _check_size(reader: Reader, generator: Generator, where: str) -> None:
    if generator.classes is not None and generator.folder is None:
        reader.problem(f"{where}.classes", "is of a generator made elsewhere, and no `folder` is given")
    elif generator.classes is not None and generator.classes not in registry.names("datasets"):
        text = f"no such dataset{nearest(generator.classes, registry.names('datasets'))}"
        reader.wrong(f"{where}.classes", generator.classes, text)
    if generator.width % generator.heads or generator.width % 4:
        reader.wrong(f"{where}.width", generator.width, f"expected a multiple of 4 and of heads = {generator.heads}")
