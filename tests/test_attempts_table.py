"""Rows of attempts and waste."""

from __future__ import annotations

from typing import Any

import pytest
from test_waste import attempt, charge

from condhpc.attempts_table import ATTEMPTS, WASTE, attempt_rows, queue_s, waste_rows
from condhpc.energy import Energy
from condhpc.tables import Cell
from condhpc.waste import spent


def row(held: Any, *tries: Any, exclusive: bool = False) -> dict[str, Cell]:
    """The row of one charge by column."""
    found, _ = spent([held], tries)
    (cells,) = attempt_rows(found, lambda _: "evaluate", lambda _: exclusive)
    return dict(zip(ATTEMPTS, cells, strict=True))


def test_what_an_attempt_was_charged() -> None:
    """Hours of GPUs, cores and memory; suspended time on its own; the wait from when it could have started."""
    held = charge("FAILED", submit_s=0, eligible_s=940, elapsed_s=1800, suspended_s=1800, mem_mb=2048)
    found = row(held, attempt("failed", 1000, 4600))
    assert (found["queue_s"], found["suspended_s"], found["suspended_gpu_h"]) == (60, 1800, 1.0)
    assert (found["gpu_h"], found["waste_gpu_h"], found["productive_gpu_h"], found["idle_gpu_h"]) == (
        1.0,
        1.0,
        0.0,
        0.0,
    )
    assert (found["cpu_h"], found["mem_gib_h"], found["cause"]) == (2.0, 1.0, "failed")
    assert (found["started_utc"], found["submitted_utc"]) == ("1970-01-01T00:16:40Z", "1970-01-01T00:00:00Z")
    assert (found["tasks"], found["recorded"]) == (1, 0)


@pytest.mark.parametrize(("start_s", "eligible_s"), [(None, 900), (1000, None), (1000, 1001)])
def test_no_wait_where_it_cannot_be_known(start_s: int | None, eligible_s: int | None) -> None:
    """Never started, never eligible, or a clock that was set in between."""
    assert queue_s(charge(start_s=start_s, eligible_s=eligible_s)) is None


def test_energy_is_slurms_else_that_of_the_tasks() -> None:
    """Slurm's reading is of whole nodes: B where these were the element's own, else C. Unmeasured is n/a, never 0."""
    joules = 3.6e6
    assert [row(charge(energy_j=joules), exclusive=own)["energy_grade"] for own in (True, False)] == ["B", "C"]
    gpu = (Energy(part="gpu", joules=joules / 2, grade="A", source="", window_s=60.0),)
    tasks = [attempt("recorded", 1000, 2000, energy=gpu), attempt("failed", 2000, 4600, energy=gpu)]
    found = row(charge(), *tasks)
    assert (found["energy_kwh"], found["energy_grade"], found["energy_of"]) == (1.0, "A", "gpu")
    found = row(charge(), tasks[0], attempt("silent", 2000, None))
    assert (found["energy_kwh"], found["energy_grade"]) == ("n/a", "none")
    assert row(charge())["energy_kwh"] == "n/a"


def test_what_the_number_of_gpus_counts() -> None:
    """Slices are not GPUs, and what was asked for is not what was given."""
    held = [charge(), charge(gpu_type="a100_1g.5gb"), charge(requested=True)]
    assert [row(one)["gpus_are"] for one in held] == ["allocated", "slices", "requested"]


def test_waste_by_type_and_purpose() -> None:
    """Shares are of all hours of their type; work without GPUs has a line of its own."""
    held = [
        charge(),
        charge("TIMEOUT", element="609_0"),
        charge("NODE_FAIL", element="610_0", gpus=0, gpu_type=""),
    ]
    found, _ = spent(held, [attempt("recorded", 1000, 4600), attempt("silent", 2800, None, element="609_0")])
    rows = [dict(zip(WASTE, cells, strict=True)) for cells in waste_rows(found)]
    assert [(r["gpu_type"], r["purpose"], r["is_waste"], r["attempts"], r["gpu_h"], r["gpu_h_pct"]) for r in rows] == [
        ("", "node_fail", "yes", 1, 0.0, None),
        ("h100", "productive", "no", 1, 2.0, 50.0),
        ("h100", "timed_out", "yes", 1, 1.0, 25.0),
        ("h100", "idle_in_pack", "yes", 1, 1.0, 25.0),
    ]
    assert [r["cpu_h_pct"] for r in rows] == [100.0, 50.0, 25.0, 25.0]
