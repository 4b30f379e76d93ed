"""Plug-ins by file name: `condhpc/coresets/herding.py` is the coreset `herding`; no registration.

A plug-in module imports without torch and exposes one public constant, `PLUGIN`. Packages outside condhpc
add plug-ins by entry points of the group `condhpc.<kind>` that name such a constant or its module.
"""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import msgspec

from condhpc import keys
from condhpc.errors import InputError, UnknownNameError, nearest
from condhpc.spec import AnalyzeSpec, CondenseSpec, DatasetInfo, Need, PrepareSpec, Value

if TYPE_CHECKING:
    from condhpc.cost_model import Effort, Sources

Kind = Literal["datasets", "methods", "coresets", "protocols", "metrics"]
KINDS: tuple[Kind, ...] = ("datasets", "methods", "coresets", "protocols", "metrics")
_NOT_PLUGINS = frozenset({"base", "base_matching", "base_scored"})


class NoParams(Value, frozen=True):
    """A plug-in without parameters."""


class Plugin:
    """Base of methods, coresets and metrics."""

    version: ClassVar[int] = 1
    """Bumped whenever the plug-in's numbers change."""
    seeded: ClassVar[bool] = True
    """Whether the set seed changes the result; if not, the seed stays out of the key."""
    Params: ClassVar[type[Value]] = NoParams
    """Parameters with defaults, constraints and a description per field (`msgspec.Meta`)."""

    takes_committees: ClassVar[bool] = False
    """Whether a teacher that it needs may be a committee, whose members come as `role.0`, `role.1`, …"""
    per_member: ClassVar[Mapping[str, str]] = {}
    """Parameters with a value for each network of a role of `needs`, by name; empty ones have none."""

    def needs(self, params: Any) -> dict[str, Need]:
        """Inputs by role; none by default. A parameter that names a teacher is called like the role."""
        del params
        return {}

    def objection(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """Why it cannot work on such a dataset at this ipc, said before anything is computed; empty where it can."""
        del params, info, ipc
        return ""

    def remark(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """What a user may not have meant, though it works; empty: nothing. No class's size need be known."""
        del params, info, ipc
        return ""

    def cost(self, spec: Any, params: Any, sources: Sources) -> Effort | None:
        """What a task has to do, as a prediction before anything is computed (see `cost_model`); None: not known."""
        del spec, params, sources
        return None

    def settled(self, params: Any, info: DatasetInfo, ipc: int) -> Any:
        """Parameters as keys hold them: what depends on the dataset or on ipc filled in. What `needs` says of teachers
        and encoders must not depend on it.
        """
        del info, ipc
        return params


@cache
def names(kind: Kind) -> tuple[str, ...]:
    """All plug-ins of a kind, sorted; imports none of them."""
    return tuple(sorted(_built_in(kind) | _entry_points(kind).keys()))


@cache
def load(kind: Kind, name: str) -> Any:
    """The plug-in of that name; imports exactly one module.

    Raises UnknownNameError with the nearest name, InputError for a module without `PLUGIN`.
    """
    if name not in names(kind):
        raise UnknownNameError(f"no {kind[:-1]} '{name}'{nearest(name, names(kind))}")
    target = _load_target(kind, name)
    found = getattr(target, "PLUGIN", None) if isinstance(target, ModuleType) else target
    if found is None:
        raise InputError(f"{kind[:-1]} '{name}': its module {target.__name__} has no constant PLUGIN")
    return found


def needs_of(spec: object) -> dict[str, Need]:
    """Inputs that the plug-in behind a task's spec asks for, by role; none for stages without a plug-in."""
    if isinstance(spec, CondenseSpec) and spec.kind == "external":
        return {}
    if isinstance(spec, CondenseSpec):
        plugin: Plugin = load(condenser_kind(spec.condenser), spec.condenser)
    elif isinstance(spec, PrepareSpec):
        plugin = preparation(spec.method, spec.preparation)
    elif isinstance(spec, AnalyzeSpec):
        plugin = load("metrics", spec.metric)
    else:
        return {}
    return plugin.needs(msgspec.convert(spec.params, plugin.Params))


def preparation(method: str, name: str) -> Plugin:
    """What a method computes from the data once; raises UnknownNameError."""
    known: dict[str, Plugin] = load("methods", method).preparations
    if name not in known:
        raise UnknownNameError(f"method '{method}' has no preparation '{name}'{nearest(name, known)}")
    return known[name]


def condenser_kind(name: str) -> Literal["coresets", "methods"]:
    """Which family a condenser belongs to; raises UnknownNameError."""
    if name in names("coresets"):
        return "coresets"
    if name in names("methods"):
        return "methods"
    known = (*names("coresets"), *names("methods"))
    raise UnknownNameError(f"no condenser '{name}'{nearest(name, known)}")


@cache
def code_digest(kind: Kind, name: str) -> str:
    """Digest of the files that define a plug-in and its bases; recorded with each result, compared on a hit."""
    target = _load_target(kind, name)
    own = [target.__name__] if isinstance(target, ModuleType) else []
    plugin = getattr(target, "PLUGIN", None) if isinstance(target, ModuleType) else target
    modules = [*own, *(base.__module__ for base in type(plugin).__mro__)]
    files = (getattr(importlib.import_module(module), "__file__", None) for module in dict.fromkeys(modules))
    return keys.digest(b"".join(keys.digest(Path(file).read_bytes()).encode() for file in files if file))


def _load_target(kind: Kind, name: str) -> Any:
    # Another package cannot put other code under a name, hence a key, of ours.
    entry = None if name in _built_in(kind) else _entry_points(kind).get(name)
    return entry.load() if entry is not None else importlib.import_module(f"condhpc.{kind}.{name}")


def _built_in(kind: Kind) -> frozenset[str]:
    package = importlib.import_module(f"condhpc.{kind}")
    return (
        frozenset(m.name for m in pkgutil.iter_modules(package.__path__) if not m.name.startswith("_")) - _NOT_PLUGINS
    )


@cache
def _entry_points(kind: Kind) -> dict[str, importlib.metadata.EntryPoint]:
    return {e.name: e for e in importlib.metadata.entry_points(group=f"condhpc.{kind}")}
