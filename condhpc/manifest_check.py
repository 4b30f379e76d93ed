"""Checks of a manifest's meaning: names that exist, roles that are defined, sizes that fit. All problems, no first."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import TYPE_CHECKING, Any

import msgspec

from condhpc import demands, generator_check, registry
from condhpc.errors import UnknownNameError, nearest
from condhpc.grid import MAX_TASKS, CellId, cells, task_bound
from condhpc.teachers import EDC_BACKBONES, SINGLE
from condhpc.typed_toml import dotted

if TYPE_CHECKING:
    from condhpc.manifest import Grid, Manifest
    from condhpc.registry import Kind, Plugin
    from condhpc.teachers import Teacher
    from condhpc.typed_toml import Reader

_PARAM_KINDS: tuple[Kind, ...] = ("coresets", "methods", "metrics")


def decode_params(reader: Reader, blocks: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """`[params.<name>]` as each plug-in's own `Params`, whether or not the plug-in is used."""
    found: dict[str, Any] = {}
    for name, table in blocks.items():
        where = dotted("params", name)
        kinds = [kind for kind in _PARAM_KINDS if name in registry.names(kind)]
        if not kinds:
            known = [n for kind in _PARAM_KINDS for n in registry.names(kind)]
            reader.problem(where, f"no coreset, method or metric of this name{nearest(name, known)}")
            continue
        before = len(reader.problems)
        params = reader.struct(table, registry.load(kinds[0], name).Params, where)
        if len(reader.problems) == before:
            found[name] = params
    return found


def check(reader: Reader, manifest: Manifest, prefixes: Sequence[str]) -> None:
    """Note every problem of meaning; `prefixes` are the dotted keys of the blocks."""
    for grid, prefix in zip(manifest.grids, prefixes, strict=True):
        _check_axes(reader, manifest, grid, prefix)
    _check_own_datasets(reader, manifest)
    _check_teachers(reader, manifest)
    sound = msgspec.structs.replace(manifest, grids=tuple(_sound(reader, manifest, g) for g in manifest.grids))
    _check_roles(reader, sound)
    _check_networks(reader, sound)
    generator_check.check(reader, sound)
    for position, exclude in enumerate(manifest.exclude):
        where = f"exclude[{position}]"
        if all(value is None for value in msgspec.structs.astuple(exclude)) and not reader.noted(where):
            reader.problem(where, "names no field, expected at least one (it would remove every cell)")
    known = {*_dataset_names(manifest), *(d for grid in manifest.grids for d in grid.datasets)}
    for name in manifest.training.keys() - known:
        reader.problem(dotted("training", name), f"no dataset of this name{nearest(name, known)}")
    _check_external(reader, manifest)
    _check_labels(reader, manifest, {name for grid in sound.grids for name in grid.protocols})
    _check_extent(reader, sound)


def ipc_problems(manifest: Manifest, asked: Iterable[tuple[str, int]], smallest: dict[str, int]) -> list[str]:
    """Each ipc above the smallest class, for the (dataset, ipc) pairs that cells ask for."""
    return [
        f"{manifest.file}: ipc = {ipc}: the smallest training class of {name} holds {smallest[name]} images"
        for name, ipc in dict.fromkeys(asked)
        if name in smallest and ipc > smallest[name]
    ]


def _dataset_names(manifest: Manifest) -> tuple[str, ...]:
    return (*manifest.datasets, *registry.names("datasets"))


def _check_axes(reader: Reader, manifest: Manifest, grid: Grid, prefix: str) -> None:
    condensers = (*demands.condensers(), *manifest.external)
    known: dict[str, Callable[[], Sequence[str]]] = {
        "datasets": lambda: _dataset_names(manifest),
        "condensers": lambda: condensers,
        "protocols": lambda: registry.names("protocols"),
        "students": demands.archs,
        "metrics": lambda: registry.names("metrics"),
    }
    for axis in msgspec.structs.fields(type(grid)):
        values = getattr(grid, axis.name) or ()
        for value in [v for v, count in Counter(values).items() if count > 1]:
            reader.wrong(f"{prefix}{axis.name}", value, "stands there more than once, expected distinct values")
        names = known[axis.name]() if axis.name in known and values else ()
        for value in dict.fromkeys(values if names else ()):
            if value not in names:
                reader.wrong(f"{prefix}{axis.name}", value, f"no such {axis.name[:-1]}{nearest(value, names)}")
    for name in grid.datasets:
        if name not in manifest.datasets and name in registry.names("datasets") and _preset(name) is None:
            text = f"a loader, not a dataset; describe yours in a [datasets.<name>] block with loader = '{name}'"
            reader.wrong(f"{prefix}datasets", name, text)


def _preset(name: str) -> Any:
    return registry.load("datasets", name).INFO


def _check_own_datasets(reader: Reader, manifest: Manifest) -> None:
    loaders = registry.names("datasets")
    for name, own in manifest.datasets.items():
        where = dotted("datasets", name)
        if own.loader and own.loader not in loaders:
            reader.wrong(f"{where}.loader", own.loader, f"no such loader{nearest(own.loader, loaders)}")
        if name in loaders:
            reader.problem(where, "is the name of a built-in dataset; choose another")
        for value in [v for v, count in Counter(own.classes).items() if count > 1]:
            reader.wrong(f"{where}.classes", value, "stands there more than once, expected distinct names")


def _check_teachers(reader: Reader, manifest: Manifest) -> None:
    for role, teacher in manifest.teachers.items():
        where = dotted("teachers", role)
        for arch in dict.fromkeys(a for a, _, _ in teacher.members if a):
            if arch not in demands.archs():
                reader.wrong(f"{where}.arch", arch, f"no such architecture{nearest(arch, demands.archs())}")
        _check_members(reader, teacher, where)


def _check_members(reader: Reader, teacher: Teacher, where: str) -> None:
    count = len(teacher.arch) if teacher.committee else 1
    for field in ("seed", "lr", "weights"):
        given = getattr(teacher, field)
        if isinstance(given, tuple) and len(given) != count:
            reader.problem(f"{where}.{field}", f"{len(given)} values, expected one for each of {count} in `arch`")
    spoilt = reader.noted(f"{where}.epochs") or reader.noted(f"{where}.weights")
    if teacher.weights is None and teacher.epochs is None and not spoilt:
        reader.problem(f"{where}.epochs", "missing, expected a number of epochs (or `weights` trained elsewhere)")
    if teacher.weights is not None and teacher.epochs is not None:
        reader.problem(f"{where}.epochs", "stands beside `weights`, which are not trained here; keep one of the two")
    twice = [m for m, times in Counter(teacher.members).items() if times > 1]
    for arch, seed, _ in twice:
        reader.problem(f"{where}.arch", f"two members are {arch} with seed {seed}; give `seed` as a list")


def _check_roles(reader: Reader, manifest: Manifest) -> None:
    """Every role that is used is defined; encoders are single networks; loaded weights belong to one dataset."""
    users: dict[str, list[str]] = {}
    datasets: dict[str, set[str]] = {}
    committees: dict[tuple[str, str], None] = {}
    roles = manifest.roles
    for grid in manifest.grids:
        for use in demands.role_uses(manifest, grid):
            users.setdefault(use.role, []).append(use.user)
            datasets.setdefault(use.role, set()).update(grid.datasets)
            if use.archs and use.role in roles:
                _check_committee(reader, roles[use.role], use)
            if use.dynamics and use.role in roles:
                _check_training(reader, manifest, use, grid.datasets)
            if use.one_network and use.role in roles and roles[use.role].committee:
                committees[use.role, use.user] = None
    for role, who in users.items():
        where = dotted("teachers", role)
        if role not in roles:
            reader.undefined("teachers", role, who, "arch and epochs" + _built_in(role), manifest.teachers)
        elif roles[role].weights is not None and len(datasets[role]) > 1:
            names = ", ".join(sorted(datasets[role]))
            reader.problem(f"{where}.weights", f"one set of weights for several datasets ({names}); one manifest each")
    for role, user in committees:
        text = f"is a committee, but {user} takes one network; expected one architecture"
        reader.problem(dotted("teachers", role), text)


def _built_in(role: str) -> str:
    """What a role that needs no block needs instead."""
    if role != EDC_BACKBONES:
        return ""
    return f", or [{dotted('teachers', SINGLE)}] with epochs, as which its networks are then trained"


def _check_networks(reader: Reader, manifest: Manifest) -> None:
    """Every encoder that is used is defined."""
    reader.require_blocks("encoders", demands.networks(manifest), "library, arch and weights", manifest.encoders)
    for name, encoder in manifest.encoders.items():
        if encoder.library == "torchvision" and encoder.arch not in demands.archs():
            text = f"no such architecture{nearest(encoder.arch, demands.archs())}"
            reader.wrong(f"{dotted('encoders', name)}.arch", encoder.arch, text)
        elif encoder.library == "torchvision" and encoder.resolution < (least := demands.minimum_px(encoder.arch)):
            text = f"too small for '{encoder.arch}', expected at least {least}"
            reader.wrong(f"{dotted('encoders', name)}.resolution", encoder.resolution, text)


def _check_committee(reader: Reader, teacher: Teacher, use: demands.RoleUse) -> None:
    """A protocol with a fixed committee gets just that one."""
    found = tuple(arch for arch, _, _ in teacher.members)
    where = f"{dotted('teachers', use.role)}.arch"
    if found != use.archs and not reader.noted(where):
        reader.wrong(where, list(found), f"{use.user} has a fixed committee, expected {list(use.archs)} in this order")


def _check_training(reader: Reader, manifest: Manifest, use: demands.RoleUse, datasets: Sequence[str]) -> None:
    """A training that is looked at took place here, on the images that are chosen from."""
    teacher, where = manifest.roles[use.role], dotted("teachers", use.role)
    if teacher.weights is not None and not reader.noted(f"{where}.weights"):
        reader.problem(
            f"{where}.weights", f"trained elsewhere, and {use.user} looks at the training; expected `epochs`"
        )
    for name in datasets:
        split = (manifest.datasets.get(name) or _preset(name)).train_split
        if teacher.split != split and not reader.noted(f"{where}.split"):
            text = f"{use.user} looks at its training to choose from {name}, expected that split, '{split}'"
            reader.wrong(f"{where}.split", teacher.split, text)


def _check_labels(reader: Reader, manifest: Manifest, protocols: Iterable[str]) -> None:
    taught = [p for p in map(demands.protocol, protocols) if p.teacher is not None]
    cached = any((manifest.labels.source or p.source) == "cached" for p in taught)
    if manifest.labels.top_k is not None and not cached:
        reader.wrong(
            "labels.top_k", manifest.labels.top_k, 'counts for cached labels alone; expected source = "cached"'
        )


def _check_external(reader: Reader, manifest: Manifest) -> None:
    used = {name for grid in manifest.grids for name in grid.condensers}
    for name in manifest.external:
        where = dotted("external", name)
        if name in demands.condensers():
            reader.problem(where, "is the name of a built-in condenser; choose another")
        elif name not in used:
            reader.problem(where, f"stands on no condensers axis, expected '{name}' on one{nearest(name, used)}")


def _check_cells(reader: Reader, manifest: Manifest, found: Iterable[CellId]) -> None:
    """External sets are asked for at their own ipc, and soft labels of a set where there is one."""
    for name, ipc in dict.fromkeys((c.condenser, c.ipc) for c in found if c.condenser in manifest.external):
        own = manifest.external[name].ipc
        if ipc != own:
            text = f"cells ask for ipc {ipc} of it; give it a [[grid]] block of its own, or [[exclude]] those cells"
            reader.wrong(f"{dotted('external', name)}.ipc", own, text)
    protocols = {name for name in registry.names("protocols") if demands.protocol(name).labels == "set"}
    for protocol, name in dict.fromkeys((c.protocol, c.condenser) for c in found if c.protocol in protocols):
        if name not in manifest.external:
            text = f"learns soft labels that come with a set, and '{name}' has none; expected [external.x] sets alone"
            reader.problem(f"protocols = '{protocol}'", text)


def _sound(reader: Reader, manifest: Manifest, grid: Grid) -> Grid:
    """A block without the names that do not exist (noted already), so that the rest of it can be checked."""
    presets = (n for n in registry.names("datasets") if _preset(n) is not None)
    known = {*manifest.datasets, *presets}
    return msgspec.structs.replace(
        grid,
        datasets=tuple(n for n in grid.datasets if n in known),
        condensers=_usable(reader, manifest, grid.condensers, partial(demands.condenser, manifest)),
        protocols=tuple(n for n in grid.protocols if n in registry.names("protocols")),
        metrics=_usable(reader, manifest, grid.metrics, demands.metric),
    )


def _usable(reader: Reader, manifest: Manifest, names: Iterable[str], load: Callable[[str], Plugin]) -> tuple[str, ...]:
    found = []
    for name in names:
        if reader.noted(dotted("params", name)):
            continue  # what its defaults would need is not what was asked for
        try:
            manifest.params_of(name, load(name).Params)
        except UnknownNameError:
            continue  # noted where the axis is checked
        except msgspec.ValidationError as error:
            reader.problem(dotted("params", name), f"{error}; '{name}' has parameters without a default")
            continue
        found.append(name)
    return tuple(found)


def _check_extent(reader: Reader, manifest: Manifest) -> None:
    """Not too many tasks, some cells, and no set larger than its classes (by what is known without the files)."""
    count = task_bound(manifest, partial(demands.set_seeds, manifest))
    if count > MAX_TASKS:
        text = f"asks for up to {count:,} tasks, expected at most {MAX_TASKS:,}; split it into several manifests"
        reader.problems.append(f"{manifest.file}: {text}")
        return
    found = cells(manifest).blocks
    if not found and not reader.problems:
        reader.problem("exclude", "removes every cell, expected at least one to be left")
    _check_cells(reader, manifest, found)
    presets = {c.dataset: _preset(c.dataset) for c in found if c.dataset not in manifest.datasets}
    smallest = {name: min(info.train_class_sizes) for name, info in presets.items()}
    reader.problems += ipc_problems(manifest, ((c.dataset, c.ipc) for c in found), smallest)
