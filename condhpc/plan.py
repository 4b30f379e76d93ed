"""From a manifest and the facts of its datasets to every task, key and cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import msgspec

from condhpc import demands
from condhpc.errors import ProblemsError
from condhpc.grid import CellId, cells, unmatched_warning
from condhpc.manifest_check import ipc_problems
from condhpc.planned import Cell, Encoded, Label, Plan, Planned, Sheet, no_collection
from condhpc.recipe import student_training
from condhpc.spec import ENGINE_VERSION, EvaluateSpec
from condhpc.upstream import Upstream

if TYPE_CHECKING:
    from condhpc.facts import Facts
    from condhpc.manifest import Grid, Manifest

__all__ = ["Cell", "Label", "Plan", "Planned", "expand"]


def expand(manifest: Manifest, facts: Mapping[str, Facts]) -> Plan:
    """All tasks that the manifest's cells need, and nothing else.

    Raises ProblemsError for what only the files could tell: an ipc above a class, a split that is not there.
    """
    found = cells(manifest)
    _check_files(manifest, facts, found.blocks)
    sheet = Sheet()
    with no_collection():
        expansion = _Expansion(manifest, facts, sheet)
        rows = [expansion.cell(cell, blocks) for cell, blocks in found.blocks.items()]
        tasks = sheet.ordered()
    warnings = [w for f in facts.values() for w in f.warnings]
    warnings += [unmatched_warning(manifest, i) for i in found.unmatched]
    warnings += _dependent_measures(expansion.upstream)
    provisional = any(f.index is None for f in facts.values())
    return Plan(manifest.name, tasks, rows, tuple(warnings), provisional)


class _Expansion:
    """Cells to keys; what cells have in common is built once."""

    def __init__(self, manifest: Manifest, facts: Mapping[str, Facts], sheet: Sheet) -> None:
        self.upstream = Upstream(manifest, facts, sheet)
        self._manifest = manifest
        self._facts = facts
        self._sheet = sheet
        self._specs: dict[tuple[str, int, str, str, int], Encoded] = {}
        self._recipes: dict[tuple[str, int, str, str], EvaluateSpec] = {}

    def cell(self, cell: CellId, blocks: list[Grid]) -> Cell:
        """One cell with all its tasks; blocks that name the same cell add up their seeds and metrics."""
        sets: dict[int | None, str] = {}
        evaluations: dict[tuple[int | None, int], str] = {}
        analyses: dict[tuple[int | None, str], str] = {}
        for grid in blocks:
            for seed in demands.set_seeds(grid, cell.condenser):
                set_key = self.upstream.condensed(cell.dataset, cell.condenser, cell.ipc, seed)
                sets[seed] = set_key
                self._evaluate(cell, seed, set_key, grid.student_seeds, evaluations)
                label = Label(dataset=cell.dataset, condenser=cell.condenser, ipc=cell.ipc, set_seed=seed)
                for metric in grid.metrics:
                    analyses[seed, metric] = self.upstream.analysis(metric, set_key, label)
        return Cell(
            *cell,
            sets=tuple(sets.items()),
            evaluations=tuple((*seeds, key) for seeds, key in evaluations.items()),
            analyses=tuple((*which, key) for which, key in analyses.items()),
        )

    def _evaluate(
        self,
        cell: CellId,
        set_seed: int | None,
        set_key: str,
        student_seeds: tuple[int, ...],
        found: dict[tuple[int | None, int], str],
    ) -> None:
        """Add one evaluation per student seed to `found`."""
        dataset, condenser, ipc, protocol, student = cell
        teachers = self.upstream.labelling(dataset, demands.protocol(protocol).teacher_role)
        version = (ENGINE_VERSION["evaluate"], 1)
        inputs = {"set": set_key, **teachers}
        for seed in student_seeds:
            spec = self._specs.get((dataset, ipc, protocol, student, seed)) or self._spec(cell, seed)
            label = Label(dataset, condenser, ipc, protocol, student, set_seed, seed)
            found[set_seed, seed] = self._sheet.add("evaluate", spec, inputs, version, label)

    def _spec(self, cell: CellId, seed: int) -> Encoded:
        encoded = Encoded(msgspec.structs.replace(self._recipe(cell), seed=seed))
        self._specs[cell.dataset, cell.ipc, cell.protocol, cell.student, seed] = encoded
        return encoded

    def _recipe(self, cell: CellId) -> EvaluateSpec:
        """The spec of a cell's evaluations under student seed 0; the same whatever built the set."""
        which = (cell.dataset, cell.ipc, cell.protocol, cell.student)
        if which not in self._recipes:
            info = self._facts[cell.dataset].info
            protocol = demands.protocol(cell.protocol)
            override = self._manifest.training.get(cell.dataset)
            self._recipes[which] = EvaluateSpec(
                dataset=self.upstream.dataset(cell.dataset),
                student=cell.student,
                protocol=protocol,
                training=student_training(info, cell.ipc, protocol, override, self._manifest.precision),
                seed=0,
                test_split=info.test_split,
            )
        return self._recipes[which]


def _check_files(manifest: Manifest, facts: Mapping[str, Facts], blocks: Mapping[CellId, list[Grid]]) -> None:
    smallest = {name: min(f.class_sizes) for name, f in facts.items() if f.class_sizes}
    problems = ipc_problems(manifest, ((c.dataset, c.ipc) for c in blocks), smallest)
    if not problems:
        problems = _objections(manifest, facts, blocks)
    grids = manifest.grids
    used = ((use.role, name) for grid in grids for use in demands.role_uses(manifest, grid) for name in grid.datasets)
    for role, name in dict.fromkeys(used):
        split, index = manifest.teachers[role].split, facts[name].index
        if index is not None and split not in index.splits:
            text = f"{name} has no such split, only {sorted(index.splits)}"
            problems.append(f"{manifest.file}: teachers.{role}.split = {split!r}: {text}")
    if problems:
        raise ProblemsError(problems)


def _objections(manifest: Manifest, facts: Mapping[str, Facts], blocks: Mapping[CellId, list[Grid]]) -> list[str]:
    """What condensers say against a dataset or an ipc."""
    problems = []
    for name, dataset, ipc in dict.fromkeys((c.condenser, c.dataset, c.ipc) for c in blocks):
        plugin = demands.condenser(name)
        info = facts[dataset].info
        if text := plugin.objection(manifest.params_of(name, plugin.Params), info, ipc):
            problems.append(f"{manifest.file}: condenser '{name}' on {dataset}, ipc {ipc}: {text}")
    return problems


def _dependent_measures(upstream: Upstream) -> list[str]:
    """Warnings for measures taken with a teacher that also built or judged the sets."""
    return [
        f"dataset '{dataset}': metric '{metric}' encodes with a teacher that also selects, distils or labels here; "
        f"define a teacher of its own (`teacher:judge`) for an independent measure"
        for (dataset, metric), key in upstream.measuring.items()
        if key in upstream.shaping.get(dataset, ())
    ]
