"""The truth table of a task's state."""

from __future__ import annotations

import itertools
from typing import Any

import pytest

from condhpc.lease import Outcome
from condhpc.task_state import STATES, Evidence, InQueue, State, state_of

OUTCOMES: tuple[Outcome | None, ...] = (None, "failed", "stopped", "blocked", "superseded")
QUEUES: tuple[InQueue | None, ...] = (None, "active", "waiting", "stuck")


@pytest.mark.parametrize(
    ("evidence", "state"),
    [
        ({}, "new"),
        ({"recorded": True}, "recorded"),
        ({"recorded": True, "leased_live": True, "queue": "active", "outcome": "failed"}, "recorded"),
        ({"leased_live": True, "submitted": True, "queue": "active"}, "running"),
        ({"leased_live": True}, "running"),
        ({"submitted": True, "queue": "active"}, "queued"),
        ({"submitted": True, "queue": "waiting"}, "queued"),
        ({"submitted": True, "queue": "waiting", "outcome": "failed"}, "queued"),
        ({"submitted": True, "queue": "waiting", "outcome": "stopped"}, "queued"),
        ({"submitted": True, "queue": "waiting", "bad_input": True}, "queued"),
        ({"submitted": True, "queue": "active", "cancelled": True}, "queued"),
        ({"submitted": True, "queue": "stuck"}, "blocked"),
        ({"submitted": True, "queue": "stuck", "outcome": "failed"}, "failed"),
        ({"submitted": True, "outcome": "failed"}, "failed"),
        ({"outcome": "failed"}, "failed"),
        ({"submitted": True, "outcome": "failed", "cancelled": True, "bad_input": True}, "failed"),
        ({"submitted": True, "outcome": "blocked"}, "blocked"),
        ({"submitted": True, "outcome": "stopped"}, "new"),
        ({"submitted": True, "outcome": "stopped", "bad_input": True}, "new"),
        ({"submitted": True, "outcome": "superseded"}, "new"),
        ({"submitted": True, "cancelled": True}, "new"),
        ({"submitted": True, "cancelled": True, "bad_input": True}, "new"),
        ({"bad_input": True}, "new"),
        ({"submitted": True, "within_grace": True}, "queued"),
        ({"submitted": True, "within_grace": True, "bad_input": True}, "blocked"),
        ({"submitted": True}, "lost"),
        ({"over_budget": True}, "over_budget"),
        ({"over_budget": True, "submitted": True}, "over_budget"),
        ({"over_budget": True, "submitted": True, "queue": "stuck"}, "over_budget"),
        ({"over_budget": True, "outcome": "stopped"}, "over_budget"),
        ({"over_budget": True, "outcome": "failed"}, "failed"),
        ({"over_budget": True, "outcome": "blocked"}, "blocked"),
        ({"over_budget": True, "submitted": True, "queue": "active"}, "queued"),
        ({"over_budget": True, "leased_live": True}, "running"),
        ({"submitted": True, "bad_input": True}, "blocked"),
    ],
)
def test_every_row_of_the_truth_table(evidence: dict[str, Any], state: State) -> None:
    """Each combination that can be met has the state that the design names."""
    assert state_of(Evidence(**evidence)) == state


def _all_evidence() -> list[Evidence]:
    flags = itertools.product((False, True), repeat=6)
    return [
        Evidence(
            recorded=r,
            leased_live=li,
            submitted=s,
            cancelled=c,
            bad_input=b,
            within_grace=g,
            queue=queue,
            outcome=outcome,
        )
        for (r, li, s, c, b, g), queue, outcome in itertools.product(flags, QUEUES, OUTCOMES)
    ]


def test_more_evidence_of_the_better_state_never_makes_it_worse() -> None:
    """A record outranks everything, then a live lease, whatever else is known: checked on all 1,280 combinations."""
    for seen in _all_evidence():
        state = state_of(seen)
        assert state in STATES
        assert (state == "recorded") == seen.recorded
        assert (state == "running") == (seen.leased_live and not seen.recorded)


def test_only_submitted_work_can_be_lost() -> None:
    """Lost means that a scheduler was to account for it, nobody cancelled it and no diary tells how it ended."""
    lost = [seen for seen in _all_evidence() if state_of(seen) == "lost"]
    assert lost
    for seen in lost:
        assert seen.submitted
        assert not seen.cancelled
        assert not seen.within_grace
        assert seen.outcome is None
        assert seen.queue is None
