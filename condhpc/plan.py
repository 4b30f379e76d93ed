"""From a manifest and the facts of its datasets to every task, key and cell."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, NamedTuple

import msgspec

from condhpc import demands, generator_check, plugin_check
from condhpc.errors import ProblemsError
from condhpc.grid import CellId, cells, unmatched_warning
from condhpc.manifest import LabelChoice
from condhpc.manifest_check import ipc_problems
from condhpc.planned import Cell, Encoded, Label, Plan, Planned, Sheet, no_collection
from condhpc.recipe import full_training, resolved, rule_of, student_training
from condhpc.references import REFERENCES
from condhpc.spec import ENGINE_VERSION, EvaluateSpec, RelabelSpec
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
        rows = [expansion.cell(cell, blocks) for cell, blocks in _once(found.blocks).items()]
        tasks = sheet.ordered()
    warnings = [w for f in facts.values() for w in f.warnings]
    warnings += [unmatched_warning(manifest, i) for i in found.unmatched]
    warnings += _dependent_measures(expansion.upstream)
    warnings += _unlike_published(manifest, found.blocks)
    warnings += plugin_check.warnings(manifest, facts, found.blocks)
    provisional = any(f.index is None for f in facts.values())
    return Plan(manifest.name, tasks, rows, tuple(warnings), provisional)


class _Recipe(NamedTuple):
    """What the evaluations of cells share that differ in condenser and seeds alone."""

    spec: EvaluateSpec
    """Under student seed 0."""
    relabel: RelabelSpec | None
    """Where teachers' labels are cached: how they are written, under student seed 0."""


class _Expansion:
    """Cells to keys; what cells have in common is built once."""

    def __init__(self, manifest: Manifest, facts: Mapping[str, Facts], sheet: Sheet) -> None:
        self.upstream = Upstream(manifest, facts, sheet)
        self._manifest = manifest
        self._facts = facts
        self._sheet = sheet
        self._specs: dict[tuple[str, int, str, str, str, int], Encoded] = {}
        self._recipes: dict[tuple[str, int, str, str, str], _Recipe] = {}

    def cell(self, cell: CellId, blocks: list[Grid]) -> Cell:
        """One cell with all its tasks; blocks that name the same cell add up their seeds and metrics."""
        sets: dict[int | None, str] = {}
        evaluations: dict[tuple[int | None, int], str] = {}
        analyses: dict[tuple[int | None, str], str] = {}
        for grid in blocks:
            for seed in demands.set_seeds(self._manifest, grid, cell.condenser):
                if cell.condenser in REFERENCES:
                    self._evaluate(cell, seed, {}, grid.student_seeds, evaluations)
                    continue
                set_key = self.upstream.condensed(cell.dataset, cell.condenser, cell.ipc, seed)
                sets[seed] = set_key
                self._evaluate(cell, seed, {"set": set_key}, grid.student_seeds, evaluations)
                label = Label(dataset=cell.dataset, condenser=cell.condenser, ipc=cell.ipc, set_seed=seed)
                for metric in grid.metrics:
                    analyses[seed, metric] = self.upstream.analysis(metric, set_key, label)
        return Cell(
            cell.dataset,
            cell.condenser,
            _shown_ipc(cell),
            cell.protocol,
            cell.student,
            sets=tuple(sets.items()),
            evaluations=tuple((*seeds, key) for seeds, key in evaluations.items()),
            analyses=tuple((*which, key) for which, key in analyses.items()),
        )

    def _evaluate(
        self,
        cell: CellId,
        set_seed: int | None,
        sets: dict[str, str],
        student_seeds: tuple[int, ...],
        found: dict[tuple[int | None, int], str],
    ) -> None:
        """Add one evaluation per student seed to `found`; `sets` is the condensed set by its role, if there is one."""
        dataset, condenser, ipc, protocol, student = cell
        teachers = self.upstream.labelling(dataset, demands.protocol(protocol).teacher_role)
        version = (ENGINE_VERSION["evaluate"], 1)
        recipe, kind = self._recipe(cell), self._kind(condenser)
        inputs = {**sets, **teachers}
        for seed in student_seeds:
            label = Label(dataset, condenser, _shown_ipc(cell), protocol, student, set_seed, seed)
            if recipe.relabel is not None:
                inputs = {**sets, "labels": self._relabel(recipe.relabel, {**sets, **teachers}, label)}
            spec = self._specs.get((dataset, ipc, protocol, student, kind, seed)) or self._spec(cell, seed)
            found[set_seed, seed] = self._sheet.add("evaluate", spec, inputs, version, label)

    def _relabel(self, recipe: RelabelSpec, inputs: dict[str, str], label: Label) -> str:
        """Key of the labels of one training, which students of all architectures share."""
        spec = Encoded(msgspec.structs.replace(recipe, seed=label.student_seed))
        shared = msgspec.structs.replace(label, student=None)
        return self._sheet.add("relabel", spec, inputs, (ENGINE_VERSION["relabel"], 1), shared)

    def _spec(self, cell: CellId, seed: int) -> Encoded:
        encoded = Encoded(msgspec.structs.replace(self._recipe(cell).spec, seed=seed))
        kind = self._kind(cell.condenser)
        self._specs[cell.dataset, cell.ipc, cell.protocol, cell.student, kind, seed] = encoded
        return encoded

    @staticmethod
    def _kind(condenser: str) -> str:
        """Cells of condensed sets share their recipes; each reference line has its own."""
        return condenser if condenser in REFERENCES else ""

    def _recipe(self, cell: CellId) -> _Recipe:
        which = (cell.dataset, cell.ipc, cell.protocol, cell.student, self._kind(cell.condenser))
        if which not in self._recipes:
            self._recipes[which] = self._new_recipe(cell)
        return self._recipes[which]

    def _new_recipe(self, cell: CellId) -> _Recipe:
        """The same whatever built the set; labels of all training data are never cached, they would not fit."""
        info, manifest = self._facts[cell.dataset].info, self._manifest
        literal, schedule = demands.protocol(cell.protocol), _is_schedule(cell.condenser)
        choice = LabelChoice(source="online") if cell.condenser in REFERENCES else manifest.labels
        images = self._facts[cell.dataset].images(info.train_split)
        rule = rule_of(literal, info.classes, images if schedule else cell.ipc)
        protocol = resolved(literal, rule, choice)
        override = manifest.training.get(cell.dataset)
        if schedule:
            training = full_training(info, images, literal, override, manifest.precision)
        else:
            training = student_training(info, cell.ipc, literal, override, manifest.precision)
        spec = EvaluateSpec(
            dataset=self.upstream.dataset(cell.dataset),
            student=cell.student,
            protocol=protocol,
            training=training,
            seed=0,
            test_split=info.test_split,
        )
        return _Recipe(spec, _relabelling(spec))


def _is_schedule(condenser: str) -> bool:
    reference = REFERENCES.get(condenser)
    return reference is not None and reference.length == "schedule"


def _once(blocks: Mapping[CellId, list[Grid]]) -> dict[CellId, list[Grid]]:
    """A whole schedule on all data is one cell, whatever the ipc (0 here, none in tables)."""
    found: dict[CellId, list[Grid]] = {}
    for cell, grids in blocks.items():
        held = found.setdefault(cell._replace(ipc=0) if _is_schedule(cell.condenser) else cell, [])
        held += [grid for grid in grids if grid not in held]
    return found


def _shown_ipc(cell: CellId) -> int | None:
    return cell.ipc or None


def _relabelling(spec: EvaluateSpec) -> RelabelSpec | None:
    """How the labels of such a training are written, where they are cached."""
    protocol, training = spec.protocol, spec.training
    if protocol.teacher is None or protocol.source != "cached":
        return None
    return RelabelSpec(
        dataset=spec.dataset,
        teacher=protocol.teacher,
        steps=training.steps,
        batch=training.batch,
        augment=training.augment,
        seed=0,
        precision=training.precision,
    )


def _check_files(manifest: Manifest, facts: Mapping[str, Facts], blocks: Mapping[CellId, list[Grid]]) -> None:
    smallest = {name: min(f.class_sizes) for name, f in facts.items() if f.class_sizes}
    problems = ipc_problems(manifest, ((c.dataset, c.ipc) for c in blocks), smallest)
    if not problems:
        problems = plugin_check.problems(manifest, facts, blocks)
    problems += _too_small(manifest, facts, blocks)
    problems += generator_check.problems(manifest, facts)
    grids = manifest.grids
    used = ((use.role, name) for grid in grids for use in demands.role_uses(manifest, grid) for name in grid.datasets)
    for role, name in dict.fromkeys(used):
        split, index = manifest.roles[role].split, facts[name].index
        if index is not None and split not in index.splits:
            text = f"{name} has no such split, only {sorted(index.splits)}"
            problems.append(f"{manifest.file}: teachers.{role}.split = {split!r}: {text}")
    if problems:
        raise ProblemsError(problems)


def _too_small(manifest: Manifest, facts: Mapping[str, Facts], blocks: Mapping[CellId, list[Grid]]) -> list[str]:
    """Students that need larger images than a dataset (or an external set) has."""
    problems = []
    cases = ((c.student, c.dataset, c.condenser, c.protocol) for c in blocks)
    for name, dataset, condenser, protocol in dict.fromkeys(cases):
        external = manifest.external.get(condenser)
        side = (external.resolution if external is not None else None) or facts[dataset].info.resolution
        minimum = demands.minimum_px(name, demands.protocol(protocol).student_norm)
        if side < minimum:
            where = f"{manifest.file}: student '{name}' on {dataset} under '{protocol}'"
            problems.append(f"{where}: images of {side} px are too few, it needs {minimum}")
    return list(dict.fromkeys(problems))


def _unlike_published(manifest: Manifest, blocks: Mapping[CellId, list[Grid]]) -> list[str]:
    """Warnings for native protocols whose published length the manifest replaces."""
    pairs = dict.fromkeys((c.protocol, c.dataset) for c in blocks if c.dataset in manifest.training)
    return [
        f"{manifest.file}: training.{dataset} replaces what protocol '{name}' publishes: not a replay of its numbers"
        for name, dataset in pairs
        if demands.protocol(name).rules
    ]


def _dependent_measures(upstream: Upstream) -> list[str]:
    """Warnings for measures taken with an encoder that also built or judged the sets."""
    return [
        f"dataset '{dataset}': metric '{metric}' has an encoder that also selects, distils or labels here; "
        f"give it one of its own (such as `teacher:judge`) for an independent measure"
        for (dataset, metric), keys in upstream.measuring.items()
        if keys & upstream.shaping.get(dataset, set())
    ]
