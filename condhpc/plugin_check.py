"""What condensers say of the datasets, the ipc and the teachers that a manifest gives them, before anything runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from condhpc import demands
from condhpc.typed_toml import dotted, shown

if TYPE_CHECKING:
    from condhpc.facts import Facts
    from condhpc.grid import CellId
    from condhpc.manifest import Manifest
    from condhpc.registry import Plugin


class _Case(NamedTuple):
    """A condenser on a dataset at an ipc."""

    name: str
    dataset: str
    ipc: int
    plugin: Plugin
    params: Any

    @property
    def words(self) -> str:
        return f"condenser '{self.name}' on {self.dataset}, ipc {self.ipc}"


def problems(manifest: Manifest, facts: Mapping[str, Facts], cells: Iterable[CellId]) -> list[str]:
    """What makes a condenser impossible. What depends on the sizes of classes waits until these are known."""
    cases = list(_cases(manifest, cells))
    found = [
        f"{manifest.file}: {case.words}: {text}"
        for case in cases
        if facts[case.dataset].info.train_class_sizes
        and (text := case.plugin.objection(case.params, facts[case.dataset].info, case.ipc))
    ]
    return [*found, *dict.fromkeys(text for case in cases for text in _wrong_counts(manifest, facts, case))]


def warnings(manifest: Manifest, facts: Mapping[str, Facts], cells: Iterable[CellId]) -> list[str]:
    """What a user may not have meant."""
    return [
        f"{manifest.file}: {case.words}: {text}"
        for case in _cases(manifest, cells)
        if (text := case.plugin.remark(case.params, facts[case.dataset].info, case.ipc))
    ]


def _cases(manifest: Manifest, cells: Iterable[CellId]) -> Iterator[_Case]:
    for name, dataset, ipc in dict.fromkeys((c.condenser, c.dataset, c.ipc) for c in cells):
        plugin = demands.condenser(manifest, name)
        yield _Case(name, dataset, ipc, plugin, manifest.params_of(name, plugin.Params))


def _wrong_counts(manifest: Manifest, facts: Mapping[str, Facts], case: _Case) -> Iterator[str]:
    """Parameters with a value for each network of a role, and another number of networks in it."""
    needs = case.plugin.needs(case.params) if case.plugin.per_member else {}
    for field, needed_as in case.plugin.per_member.items():
        values, role = getattr(case.params, field), needs[needed_as].source
        count = len(manifest.roles[role].on(facts[case.dataset].info.resolution).members)
        if values and len(values) != count:
            where = f"{manifest.file}: {dotted(dotted('params', case.name), field)} = {shown(list(values))}"
            expected = f"expected one for each of {count} in {dotted('teachers', role)} on {case.dataset}, or none"
            yield f"{where}: {len(values)} values, {expected}"
