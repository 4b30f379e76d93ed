"""Cells of a manifest: products of the axes of each block, united, minus what is excluded."""

from __future__ import annotations

from itertools import product
from math import prod
from typing import TYPE_CHECKING, NamedTuple

from condhpc.errors import nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from condhpc.manifest import Exclude, Grid, Manifest

MAX_TASKS = 1_000_000
_FIELDS = ("dataset", "condenser", "ipc", "protocol", "student")


class CellId(NamedTuple):
    """One line of the result table before seeds are averaged."""

    dataset: str
    condenser: str
    ipc: int
    protocol: str
    student: str


class Cells(NamedTuple):
    """What a manifest asks for."""

    blocks: dict[CellId, list[Grid]]
    """Each cell once, in the manifest's order, with the blocks that name it."""
    unmatched: tuple[int, ...]
    """Positions of [[exclude]] tables that removed nothing."""


def cells(manifest: Manifest) -> Cells:
    """All cells left after exclusion."""
    removes = _exclusion(manifest.exclude)
    hit: set[int] = set()
    blocks: dict[CellId, list[Grid]] = {}
    for grid in manifest.grids:
        for point in product(grid.datasets, grid.condensers, grid.ipc, grid.protocols, grid.students):
            if found := removes(point):
                hit.update(found)
            else:
                blocks.setdefault(CellId._make(point), []).append(grid)
    return Cells(blocks, tuple(i for i in range(len(manifest.exclude)) if i not in hit))


def task_bound(manifest: Manifest, seeds: Callable[[Grid, str], Sequence[int | None]]) -> int:
    """Upper bound of condense, evaluate and analyze tasks, before exclusion; `seeds(grid, condenser)` counts sets."""
    total = 0
    for grid in manifest.grids:
        sets = len(grid.datasets) * len(grid.ipc) * sum(len(seeds(grid, c)) for c in grid.condensers)
        students = prod(map(len, (grid.protocols, grid.students, grid.student_seeds)))
        total += sets * (1 + students + len(grid.metrics))
    return total


def unmatched_warning(manifest: Manifest, position: int) -> str:
    """Why an [[exclude]] table removes nothing, as far as one can tell."""
    exclude = manifest.exclude[position]
    for field in _FIELDS:
        wanted = getattr(exclude, field)
        axis = "ipc" if field == "ipc" else f"{field}s"
        present = {str(value) for grid in manifest.grids for value in getattr(grid, axis)}
        if wanted is not None and str(wanted) not in present:
            hint = nearest(str(wanted), present)
            where = f"{manifest.file}: exclude[{position}].{field}"
            return f"{where} = {wanted!r}: on no {axis} axis, removes nothing{hint}"
    return f"{manifest.file}: exclude[{position}]: matches no cell, removes nothing"


def _exclusion(excludes: Sequence[Exclude]) -> Callable[[tuple[object, ...]], list[int]]:
    """A function from a point to the positions of the tables that remove it.

    Tables that fix the same fields share one look-up, so many tables cost no more than few.
    """
    tables: dict[tuple[int, ...], dict[tuple[object, ...], list[int]]] = {}
    for position, exclude in enumerate(excludes):
        values = [getattr(exclude, field) for field in _FIELDS]
        fixed = tuple(i for i, value in enumerate(values) if value is not None)
        tables.setdefault(fixed, {}).setdefault(tuple(values[i] for i in fixed), []).append(position)

    def removes(point: tuple[object, ...]) -> list[int]:
        found: list[int] = []
        for fixed, rows in tables.items():
            found += rows.get(tuple([point[i] for i in fixed]), ())
        return found

    return removes
