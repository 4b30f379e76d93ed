"""Where charged time went."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condhpc.accounts import Charge
from condhpc.tries import Try
from condhpc.waste import Purpose, Spent, hours, spent


def charge(state: str = "COMPLETED", **fields: Any) -> Charge:
    """An attempt of element 608_0 with two GPUs from 1000 to 4600."""
    given: dict[str, Any] = {
        "element": "608_0", "raw_id": "608", "restart": 0, "submission": "s", "submit_s": 0, "eligible_s": 0,
        "start_s": 1000, "end_s": 4600, "elapsed_s": 3600, "suspended_s": 0, "cpus": 4, "mem_mb": 1024, "nodes": 1,
        "gpus": 2, "gpu_type": "h100", "energy_j": None, "source": "sacct",
    }  # fmt: skip
    return Charge(state=state, **(given | fields))


def attempt(outcome: Any, start_s: float, end_s: float | None, **fields: Any) -> Try:
    """An attempt in it."""
    given: dict[str, Any] = {
        "key": "k", "stage": "evaluate", "number": 1, "run": "r", "element": "608_0", "restarts": 0, "host": "n1",
        "reason": "", "productive": outcome == "recorded", "cost": {}, "energy": (),
    }  # fmt: skip
    return Try(outcome=outcome, start_s=start_s, end_s=end_s, **(given | fields))


def seconds(held: Charge, *tries: Try) -> dict[Purpose, float]:
    """Where the time of one charge went."""
    (found,), strays = spent([held], tries)
    assert strays == []
    return {purpose: s for purpose, s in found.seconds.items() if s}


def test_the_time_between_tasks_idles() -> None:
    """Imports before the first task, and gaps, are charged and lead to nothing."""
    found = seconds(charge(), attempt("recorded", 1100, 2000), attempt("recorded", 2100, 4600))
    assert found == {"productive": 3400, "idle_in_pack": 200}


def test_lanes_share_their_element() -> None:
    """While two tasks run at a time each has half: one that failed wasted its half, not all."""
    found = seconds(charge(), attempt("recorded", 1000, 4600), attempt("failed", 1000, 2800))
    assert found == {"productive": 2700, "failed": 900}


@pytest.mark.parametrize(
    ("state", "outcome", "expected"),
    [
        ("TIMEOUT", "silent", "timed_out"),
        ("DEADLINE", "silent", "timed_out"),
        ("OUT_OF_MEMORY", "silent", "out_of_memory"),
        ("OUT_OF_MEMORY", "failed", "out_of_memory"),
        ("TIMEOUT", "failed", "failed"),
        ("PREEMPTED", "stopped", "preempted"),
        ("NODE_FAIL", "silent", "node_fail"),
        ("BOOT_FAIL", "silent", "node_fail"),
        ("CANCELLED by 1000", "stopped", "cancelled"),
        ("REQUEUED", "stopped", "stopped"),
        ("REQUEUED", "silent", "stopped"),
        ("FAILED", "silent", "failed"),
        ("COMPLETED", "silent", "failed"),
        ("COMPLETED", "blocked", "blocked"),
        ("PREEMPTED", "superseded", "superseded"),
    ],
)
def test_causes(state: str, outcome: str, expected: Purpose) -> None:
    """An end from outside is the cause, unless the task had failed by itself before."""
    last = None if outcome == "silent" else 4600
    assert seconds(charge(state), attempt(outcome, 1000, last)) == {expected: 3600}


@pytest.mark.parametrize(
    ("state", "expected"),
    [("NODE_FAIL", "node_fail"), ("CANCELLED", "cancelled"), ("COMPLETED", "idle_in_pack"), ("MELTED", "running")],
)
def test_elements_that_began_no_task(state: str, expected: Purpose) -> None:
    """Slurm's own word is all there is; an unknown state may still go on."""
    assert seconds(charge(state)) == {expected: 3600}


def test_what_led_to_a_record_through_a_checkpoint_is_productive() -> None:
    """A task that stopped in time and went on elsewhere lost nothing."""
    assert seconds(charge("REQUEUED"), attempt("stopped", 1000, 4600, productive=True)) == {"productive": 3600}


def test_a_charge_that_goes_on_is_not_waste() -> None:
    """Its attempts may yet leave records; what failed in it has failed."""
    held = charge("RUNNING", end_s=None)
    found = seconds(held, attempt("failed", 1000, 1600), attempt("silent", 1600, 4000))
    assert found == {"failed": 600, "running": 3000}


def test_suspended_time_is_in_no_purpose() -> None:
    """They share the elapsed time in proportion."""
    held = charge(elapsed_s=1800, suspended_s=1800)
    assert seconds(held, attempt("recorded", 1000, 2800)) == {"productive": 900, "idle_in_pack": 900}


def test_attempts_go_to_the_restart_that_they_ran_in() -> None:
    """By time, since purged history shifts the numbers of restarts; those of no charge are returned."""
    first, second = charge("REQUEUED"), charge(start_s=5000, end_s=5600, elapsed_s=600, restart=1)
    early, late = attempt("silent", 1000, 1500), attempt("recorded", 5000, 5600, restarts=7)
    stray = attempt("failed", 9000, 9100, restarts=5)
    found, strays = spent([first, second], [early, late, stray, attempt("failed", 1, 2, element="9_9")])
    assert [(one.charge.restart, one.tries) for one in found] == [(0, (early,)), (1, (late,))]
    assert [one.element for one in strays] == ["608_0", "9_9"]
    assert [one.cause for one in found] == ["stopped", ""]


def test_an_end_before_the_start_counts_its_elapsed_time() -> None:
    """A clock that was set back does not make negative hours."""
    assert seconds(charge(end_s=400, elapsed_s=60), attempt("recorded", 1000, 1060)) == {"productive": 60}


def test_types_are_kept_apart_and_cores_counted_beside() -> None:
    """GPU-hours by type; core-hours of all charges, also of those without a GPU."""
    held = [
        charge(),
        charge("FAILED", element="609_0", gpu_type="a100", gpus=1),
        charge(element="610_0", gpus=0, gpu_type=""),
    ]
    found, _ = spent(held, [attempt("recorded", 1000, 4600)])
    assert hours(found, gpus=True) == {"a100": {"failed": 1.0}, "h100": {"productive": 2.0}}
    assert hours(found, gpus=False) == {"": {"idle_in_pack": 4.0}, "a100": {"failed": 4.0}, "h100": {"productive": 4.0}}


@settings(deadline=None)
@given(
    st.sampled_from(["COMPLETED", "TIMEOUT", "REQUEUED", "RUNNING", "CANCELLED by 1"]),
    st.integers(0, 500),
    st.lists(
        st.tuples(
            st.sampled_from(["recorded", "failed", "stopped", "blocked", "superseded", "silent"]),
            st.floats(900, 5000),
            st.floats(0, 4000),
        ),
        max_size=8,
    ),
)
def test_every_charged_second_has_one_purpose(
    state: str, suspended_s: int, tries: list[tuple[str, float, float]]
) -> None:
    """Whatever overlaps, nothing is lost and nothing counts twice."""
    end_s = None if state == "RUNNING" else 4600
    held = charge(state, end_s=end_s, suspended_s=suspended_s, elapsed_s=3600 - suspended_s)
    (found,), _ = spent([held], [attempt(outcome, a, a + length) for outcome, a, length in tries])
    assert isinstance(found, Spent)
    assert all(s >= 0 for s in found.seconds.values())
    assert math.fsum(found.seconds.values()) == pytest.approx(held.elapsed_s)
