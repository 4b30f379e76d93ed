"""What was planned, and a budget's limits, as an outlook shows them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from made_runs import MadeRun

from condhpc import budget, reservations
from condhpc.budget import Amounts
from condhpc.outlook import BudgetLine
from condhpc.predictions import CostRow
from condhpc.spending import Standing
from condhpc.spent_budget import Budgets


@pytest.fixture
def made(root: Path) -> MadeRun:
    """A run without budget and forecast."""
    return MadeRun(root)


def _row(**fields: object) -> CostRow:
    given: dict[str, object] = {
        "stage": "evaluate", "condenser": "", "tasks": 4, "device": "gpu", "gpu": "H200", "predicted_h": None,
        "expected_h": 2.0, "unknown": 0, "records": 0, "recorded_h": 0.0, "recorded_predicted_h": None,
    }  # fmt: skip
    return msgspec.convert(given | fields, CostRow)


def test_planned_hours_are_added_up_by_gpu_type(made: MadeRun) -> None:
    """All at their least to all at their most; what nobody knows is left out, and said."""
    rows = [
        _row(low_h=1.0, high_h=3.0), _row(low_h=2.0, high_h=4.0, stage="teacher"),
        _row(low_h=5.0, high_h=6.0, gpu="A100"), _row(low_h=7.0, high_h=8.0, device="cpu", gpu=""),
        _row(expected_h=None, unknown=4),
    ]  # fmt: skip
    made.run.forecast.write_bytes(msgspec.json.encode(rows))
    held = Budgets(made.run, made.layout)
    planned = held.planned()
    assert planned.gpu_h == {"H200": (3.0, 7.0), "A100": (5.0, 6.0)}
    assert planned.cpu_h == (7.0, 8.0)
    assert list(held.notes()) == ["planned hours are without 4 tasks: nobody knew what they take"]


def test_without_a_forecast_nothing_is_planned(made: MadeRun) -> None:
    """A run of an older condhpc has none; one that cannot be read is said."""
    assert Budgets(made.run, made.layout).planned() == ({}, None)
    made.run.forecast.write_bytes(b"[{")
    held = Budgets(made.run, made.layout)
    assert held.planned() == ({}, None)
    assert "cannot be read" in next(held.notes())


def test_limits_show_what_was_charged_to_them(made: MadeRun) -> None:
    """By the run's own hours, or by whoever has just asked; one line for each bound; a raised one counts at once."""
    held = Budgets(made.run, made.layout)
    assert held.lines(None, 1.0, 2.0, None) == []
    reservations.join(made.run, made.layout, budget.parse("20gpuh,5kwh"), "20gpuh,5kwh", hard=False)
    gpus, kwh = held.lines(None, 1.5, 2.0, None)
    assert gpus == BudgetLine(unit="gpuh", limit=20.0, charged=1.5)
    assert kwh == BudgetLine(unit="kwh", limit=5.0, charged=0.0)
    pot = reservations.pot_of(made.run, made.layout)
    assert pot is not None
    reservations.set_limit(pot, budget.parse("30gpuh"), hard=False)
    assert [line.limit for line in held.lines(None, 1.5, 2.0, None)] == [30.0]
    told = Standing(pot=pot, charged=Amounts(gpu_h=4.0), reserved=Amounts(gpu_h=6.0), by_run={})
    assert held.lines(told, 1.5, 2.0, None)[0] == BudgetLine(unit="gpuh", limit=20.0, charged=4.0, reserved=6.0)


def test_a_shared_budget_says_what_it_leaves_out(made: MadeRun) -> None:
    """Other runs' charges are not read for every look; with a standing they are known."""
    other = MadeRun(made.layout.root, "other-20260101T000000Z")
    for run in (made.run, other.run):
        reservations.join(run, made.layout, budget.parse("both:9gpuh"), "both:9gpuh", hard=False)
    held = Budgets(made.run, made.layout)
    assert held.lines(None, 1.0, 0.0, None)[0].charged == 1.0
    assert "1 other runs" in next(held.notes())
    pot = reservations.pot_of(made.run, made.layout)
    assert pot is not None
    held.lines(Standing(pot=pot, charged=Amounts(gpu_h=4.0), reserved=Amounts(), by_run={}), 1.0, 0.0, None)
    assert list(held.notes()) == []
