"""Cells: products united, exclusions applied, none twice."""

from __future__ import annotations

from functools import partial
from itertools import product

import fake_plugins
import msgspec
import pytest
import tomli
from fake_plugins import MANIFEST

from condhpc import demands, grid, manifest
from condhpc.grid import CellId
from condhpc.manifest import Exclude, Grid, Manifest


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins.install(monkeypatch)


def made(*excludes: Exclude, grids: tuple[Grid, ...] | None = None) -> Manifest:
    """The correct manifest with other tables."""
    found = manifest.parse(MANIFEST, tomli.loads(MANIFEST), "m.toml")
    return msgspec.structs.replace(found, exclude=excludes, grids=found.grids if grids is None else grids)


def test_a_block_is_a_product() -> None:
    """In the manifest's order, students fastest."""
    found = list(grid.cells(made()).blocks)
    axes = (("shipped",), ("dice", "nearest", "distil"), (1, 10), ("hard", "soft"), ("small",))
    assert found == list(product(*axes))


def test_blocks_are_united() -> None:
    """A cell of two blocks stands once and remembers both."""
    one = made().grids[0]
    two = msgspec.structs.replace(one, ipc=(10, 20), student_seeds=(7,))
    found = grid.cells(made(grids=(one, two))).blocks
    assert len(found) == 3 * 3 * 2
    assert found[CellId("shipped", "dice", 10, "soft", "small")] == [one, two]


def test_excludes_remove_what_agrees_in_every_field() -> None:
    """Each table removes exactly the cells that a plain comparison would."""
    excludes = (Exclude(condenser="dice", ipc=10), Exclude(protocol="soft", ipc=1), Exclude(student="wide"))
    found = grid.cells(made(*excludes))
    expected = [
        cell
        for cell in grid.cells(made()).blocks
        if not (cell.condenser == "dice" and cell.ipc == 10) and not (cell.protocol == "soft" and cell.ipc == 1)
    ]
    assert list(found.blocks) == expected
    assert found.unmatched == (2,)


def test_an_exclude_that_another_covers_still_counts_as_matched() -> None:
    """Two tables that overlap are no typing error."""
    assert grid.cells(made(Exclude(ipc=1), Exclude(ipc=1, condenser="dice"))).unmatched == ()


@pytest.mark.parametrize(
    ("exclude", "text"),
    [
        (
            Exclude(condenser="dise"),
            "exclude[0].condenser = 'dise': on no condensers axis, removes nothing; did you mean 'dice'?",
        ),
        (Exclude(ipc=3), "exclude[0].ipc = 3: on no ipc axis, removes nothing; known: 1, 10"),
        (Exclude(ipc=1, student="zz"), "exclude[0].student = 'zz': on no students axis, removes nothing; known: small"),
    ],
)
def test_excludes_that_remove_nothing_are_explained(exclude: Exclude, text: str) -> None:
    """Such a table is nearly always a typing error."""
    found = made(exclude)
    assert grid.cells(found).unmatched == (0,)
    assert grid.unmatched_warning(found, 0).startswith(f"m.toml: {text}")


def test_an_exclude_of_values_that_never_meet_is_named() -> None:
    """Each value stands on an axis, but in different blocks."""
    one = msgspec.structs.replace(made().grids[0], condensers=("dice",), ipc=(1,))
    two = msgspec.structs.replace(one, condensers=("nearest",), ipc=(10,))
    found = made(Exclude(condenser="dice", ipc=10), grids=(one, two))
    assert grid.cells(found).unmatched == (0,)
    assert grid.unmatched_warning(found, 0) == "m.toml: exclude[0]: matches no cell, removes nothing"


def test_the_bound_counts_sets_students_and_measures() -> None:
    """(3 + 1 + 1 sets) × 2 ipc × (1 condense + 2 protocols × 2 student seeds + 1 metric)."""
    assert grid.task_bound(made(), partial(demands.set_seeds, made())) == 5 * 2 * (1 + 2 * 2 + 1)
