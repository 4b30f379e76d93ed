"""What a manifest can name: plug-ins with their parameters, as `condhpc ls` shows them; and runs."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated, Any, get_args, get_origin

import msgspec
from msgspec import Meta

from condhpc import registry, runs
from condhpc.errors import CondhpcError
from condhpc.layout import Layout, RunFolder
from condhpc.registry import Kind, Plugin
from condhpc.spec import DatasetInfo, Need, Protocol
from condhpc.typed_toml import expected_of


def plugin_lines(kind: Kind) -> Iterator[str]:
    """Every plug-in of a kind: name, first line of its docstring, facts, parameters with type and default."""
    for name in registry.names(kind):
        try:
            plugin = registry.load(kind, name)
        except (CondhpcError, ImportError) as error:
            yield f"{name}: cannot be loaded: {error}"
            continue
        yield f"{name}: {_summary(kind, name, plugin)}"
        yield from (f"    {line}" for line in _facts(kind, plugin))
        if isinstance(plugin, Plugin):
            yield from (f"    {line}" for line in parameter_lines(plugin.Params))


def _summary(kind: Kind, name: str, plugin: Any) -> str:
    """The plug-in's file says in its first line what it is."""
    module = sys.modules.get(f"condhpc.{kind}.{name}") or sys.modules.get(type(plugin).__module__)
    text = (module.__doc__ if module is not None else None) or type(plugin).__doc__ or ""
    return text.strip().partition("\n")[0]


def _facts(kind: Kind, plugin: Any) -> Iterator[str]:
    if isinstance(plugin, Protocol):
        yield from _protocol_facts(plugin)
        return
    info = getattr(plugin, "INFO", None)
    if isinstance(info, DatasetInfo):
        yield f"{info.classes} classes, {info.resolution} px, {info.epochs} passes over a condensed set"
    if isinstance(plugin, Plugin):
        yield from _needs(kind, plugin)
    if unit := getattr(plugin, "unit", ""):
        yield f"unit {unit}; {getattr(plugin, 'better', '')} is better"


def _protocol_facts(protocol: Protocol) -> Iterator[str]:
    own = {"hard": "hard labels", "set": "soft labels that came with the set", "teacher": ""}[protocol.labels]
    members = f" ({', '.join(protocol.committee)})" if protocol.committee else ""
    asked = "kept in a file" if protocol.source == "cached" else "asked online"
    labels = own or f"labels from the teacher role '{protocol.teacher_role}'{members}, {asked}"
    optimizer = protocol.optimizer
    yield f"{labels}; {optimizer.name}, lr {optimizer.lr:g}, weight decay {optimizer.weight_decay:g}"
    if protocol.follows != "condhpc":
        yield f"a native protocol; where a publication's text and code differ, it follows its {protocol.follows}"


def _needs(kind: Kind, plugin: Plugin) -> Iterator[str]:
    needs = plugin.needs(msgspec.convert({}, plugin.Params))
    texts = [_need(need) for need in needs.values()]
    seeded = "" if kind == "metrics" else "; takes set seeds" if plugin.seeded else "; the set seed changes nothing"
    yield f"version {plugin.version}{seeded}" + (f"; by default needs {', '.join(texts)}" if texts else "")


def _need(need: Need) -> str:
    if need.stage == "teacher":
        return f"{'the training of ' if need.dynamics else ''}teacher '{need.source}'"
    if need.stage == "generator":
        return f"generator '{need.source}'"
    if need.stage == "prepare":
        return f"preparation '{need.source}'"
    return f"embeddings {'of the test split ' if need.split == 'test' else ''}by {need.source}"


def parameter_lines(params: type[msgspec.Struct]) -> Iterator[str]:
    """One line per parameter: `steps = 5 (int >= 1): what it does`."""
    for field in msgspec.structs.fields(params):
        description = "".join(f": {text}" for text in _descriptions(field.type))
        shown = field.encode_name if field.required else f"{field.encode_name} = {_default(field)}"
        yield f"{shown} ({expected_of(field.type)}{', required' if field.required else ''}){description}"


def _default(field: msgspec.structs.FieldInfo) -> str:
    factory = field.default_factory
    value = factory() if factory is not msgspec.NODEFAULT else field.default
    return msgspec.json.encode(value).decode()


def _descriptions(annotation: Any) -> Iterator[str]:
    if get_origin(annotation) is Annotated:
        for meta in get_args(annotation)[1:]:
            if isinstance(meta, Meta) and meta.description:
                yield meta.description


def run_rows(layout: Layout) -> list[tuple[str, int | str, int | str]]:
    """(name, tasks, submissions) of every run, oldest first; words in their place where it may not be read."""
    return [(run.name, *_counts(run)) for run in map(layout.run, layout.run_names())]


def _counts(run: RunFolder) -> tuple[int | str, int | str]:
    try:
        return len(runs.plan(run)), len(runs.submissions(run))
    except PermissionError:
        return "closed", "closed"
