"""What the plug-ins that a manifest names ask for: seeds, teacher roles, encoders, generators, architectures."""

from __future__ import annotations

import importlib
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from condhpc import registry
from condhpc.references import REFERENCES
from condhpc.registry import Plugin
from condhpc.spec import Need, Protocol

if TYPE_CHECKING:
    from condhpc.manifest import Grid, Manifest

_TEACHER = "teacher:"
_NETWORK = "encoder:"
_GENERATOR = "generator:"


class RoleUse(NamedTuple):
    """Who needs a teacher role."""

    role: str
    user: str
    """For messages: `protocol 'erm'`."""
    one_network: bool
    """It cannot be a committee: that has no penultimate layer, and few plug-ins ask several teachers."""
    archs: tuple[str, ...] = ()
    """Architectures that its members must have, in this order; empty: any."""
    dynamics: bool = False
    """Its training is looked at, epoch by epoch."""


class ExternalSet(Plugin):
    """A condensed set made elsewhere, as an `[external.<name>]` block describes it."""

    seeded = False


_EXTERNAL = ExternalSet()


def condenser(manifest: Manifest, name: str) -> Plugin:
    """The coreset, method, reference line or external set of that name; raises UnknownNameError."""
    if name in REFERENCES:
        return REFERENCES[name]
    if name in manifest.external:
        return _EXTERNAL
    found: Plugin = registry.load(registry.condenser_kind(name), name)
    return found


def condensers() -> tuple[str, ...]:
    """Names that every manifest may use on that axis."""
    return (*registry.names("coresets"), *registry.names("methods"), *REFERENCES)


def metric(name: str) -> Plugin:
    """The metric of that name; raises UnknownNameError."""
    found: Plugin = registry.load("metrics", name)
    return found


def protocol(name: str) -> Protocol:
    """The protocol of that name; raises UnknownNameError."""
    found: Protocol = registry.load("protocols", name)
    return found


def archs() -> tuple[str, ...]:
    """Architectures that students and teachers may have, sorted.

    Looked up by string, as plug-ins are: plans know the names of models and nothing else about them.
    """
    return tuple(sorted(importlib.import_module("condhpc.models").ARCHS))


def minimum_px(arch: str, norm: str = "batch") -> int:
    """Side of the smallest images that an architecture takes, pixels."""
    return int(importlib.import_module("condhpc.models").minimum_px(arch, norm))


def set_seeds(manifest: Manifest, grid: Grid, name: str) -> tuple[int | None, ...]:
    """Set seeds of a condenser in a block; (None,) where the seed changes nothing."""
    plugin = condenser(manifest, name)
    if not plugin.seeded:
        return (None,)
    return grid.set_seeds if grid.set_seeds is not None else tuple(getattr(plugin, "default_set_seeds", (0,)))


def encoder_role(need: Need) -> str | None:
    """Teacher role behind an `embed` need; None for pixels and for networks made elsewhere."""
    return need.source.removeprefix(_TEACHER) if need.source.startswith(_TEACHER) else None


def network_name(source: str) -> str | None:
    """Name of the `[encoders.<name>]` block behind an encoder; None for teachers and pixels."""
    return source.removeprefix(_NETWORK) if source.startswith(_NETWORK) else None


def generator_name(need: Need) -> str | None:
    """Name of the `[generators.<name>]` block that a need rests on: the generator itself, or its latents."""
    if need.stage == "generator":
        return need.source
    latents = need.stage == "embed" and need.source.startswith(_GENERATOR)
    return need.source.removeprefix(_GENERATOR) if latents else None


def generators(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(name of a `[generators.<name>]` block, who asks for it), over all blocks; all names in them must exist."""
    for grid in manifest.grids:
        yield from generators_of(manifest, grid)


def generators_of(manifest: Manifest, grid: Grid) -> Iterator[tuple[str, str]]:
    """The same of one block."""
    for user, plugin, params in _plugins(manifest, grid):
        for need in plugin.needs(params).values():
            if (name := generator_name(need)) is not None:
                yield name, user


def networks(manifest: Manifest) -> Iterator[tuple[str, str]]:
    """(name of an `[encoders.<name>]` block, who asks for it), over all blocks; all names in them must exist."""
    for grid in manifest.grids:
        for user, plugin, params in _plugins(manifest, grid):
            for need in plugin.needs(params).values():
                if need.stage == "embed" and (name := network_name(need.source)) is not None:
                    yield name, user


def _plugins(manifest: Manifest, grid: Grid) -> Iterator[tuple[str, Plugin, Any]]:
    """Condensers with their preparations, and metrics, of a block with their parameters; what messages call them."""
    plugins = [(f"condenser '{n}'", n, condenser(manifest, n)) for n in grid.condensers]
    plugins += [(f"metric '{n}'", n, metric(n)) for n in grid.metrics]
    for user, name, plugin in plugins:
        params = manifest.params_of(name, plugin.Params)
        yield user, plugin, params
        for need in plugin.needs(params).values():
            if need.stage == "prepare":
                before = registry.preparation(name, need.source)
                yield user, before, msgspec.convert(need.params, before.Params)


def role_uses(manifest: Manifest, grid: Grid) -> Iterator[RoleUse]:
    """Teacher roles that a block needs; all names in it must exist."""
    for name in grid.protocols:
        found = protocol(name)
        if found.teacher_role is not None:
            yield RoleUse(found.teacher_role, f"protocol '{name}'", one_network=False, archs=found.committee)
    for user, plugin, params in _plugins(manifest, grid):
        for need in plugin.needs(params).values():
            if need.stage == "teacher":
                yield RoleUse(need.source, user, one_network=not plugin.takes_committees, dynamics=need.dynamics)
            elif (role := encoder_role(need)) is not None:
                yield RoleUse(role, user, one_network=True)
