"""What actions ask before they do what cannot be undone."""

from __future__ import annotations

from typing import Any

from condhpc import action_text
from condhpc.findings import Row
from condhpc.planned import Label
from condhpc.stakes import Stakes


def stakes(**fields: Any) -> Stakes:
    """Two running and one waiting task in two elements."""
    given: dict[str, Any] = {
        "keys": ["a", "b", "c"],
        "others": [],
        "dependants": [],
        "elements": 2,
        "running": 2,
        "waiting": 1,
        "gpu_h": 3.2,
        "cpu_h": 12.75,
    }
    return Stakes(**{**given, **fields})


def row(key: str, state: Any) -> Row:
    """A task in a state."""
    return Row(key=key, stage="condense", label=Label(dataset="digits"), state=state)


def test_cancelling_names_count_hours_and_dependants() -> None:
    """How many, in how many elements, what goes with them, hours at stake, who is left without input."""
    lines = action_text.cancel_question(stakes(others=["d"], dependants=["e", "f"]))
    assert lines == [
        "Cancel 3 tasks in 2 elements: 2 running, 1 waiting?",
        "1 other task of the same elements goes with them: an element ends as a whole.",
        "At stake: 3.20 GPU-hours, 12.75 CPU-hours of running work. Running tasks checkpoint.",
        "Without them 2 tasks cannot be computed.",
    ]


def test_cancelling_what_waits_says_that_nothing_is_lost() -> None:
    """No hours, nobody behind it."""
    lines = action_text.cancel_question(stakes(keys=["a"], elements=1, running=0, waiting=1, gpu_h=0.0, cpu_h=0.0))
    assert lines == [
        "Cancel 1 task in 1 element: 0 running, 1 waiting?",
        "At stake: 0 GPU-hours, nothing of it runs.",
        "No other task needs them.",
    ]


def test_only_what_stands_still_is_tried_again() -> None:
    """Neither recorded tasks nor those on their way."""
    rows = [row(state, state) for state in ("recorded", "running", "queued", "failed", "lost", "new", "over_budget")]
    assert [held.key for held in action_text.retryable(rows)] == ["failed", "lost", "new", "over_budget"]


def test_trying_again_counts_states_and_tells_what_was_lost() -> None:
    """Hours only where somebody knows them."""
    rows = [row("a", "failed"), row("b", "failed"), row("c", "lost")]
    first, *rest = action_text.retry_question(rows, 1.5)
    assert first == "Try 3 tasks again: 2 failed, 1 lost?"
    assert rest[0] == "Failed attempts took 1.50 GPU-hours so far."
    assert "GPU-hours" not in " ".join(action_text.retry_question(rows))


def test_trying_again_names_the_causes() -> None:
    """One, or the first three of many."""
    rows = [row("a", "failed")]
    assert action_text.retry_question(rows, None, ["failed: loss is nan"])[1] == "Cause: failed: loss is nan"
    assert action_text.retry_question(rows, None, list("abcde"))[1] == "Causes: a; b; c; 2 more"


def test_tasks_are_named_by_the_beginnings_of_their_keys() -> None:
    """One alone, a few, many."""
    assert action_text.task_words(["0123456789abcdef"]) == "task 0123456789ab"
    assert action_text.task_words(["a" * 20, "b" * 20]) == f"2 tasks ({'a' * 12}, {'b' * 12})"
    assert action_text.task_words(list("abcd")) == "4 tasks (a, b, c, ...)"
