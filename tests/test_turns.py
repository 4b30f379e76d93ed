"""Giving way to the main thread."""

from __future__ import annotations

import threading
from unittest.mock import Mock

import pytest

from condhpc import turns


@pytest.fixture
def rests(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """A clock that moves by half a pause with each call, and how often one rested."""
    rested: list[float] = []
    monkeypatch.setattr(turns, "_rested_s", 0.0)
    now = iter(at * turns._EVERY_S / 2 for at in range(1_000))
    monkeypatch.setattr(turns, "time", Mock(perf_counter=lambda: next(now), sleep=rested.append))
    return rested


def calls() -> None:
    """A loop."""
    for _ in range(40):
        turns.give_way()


def test_another_thread_rests_now_and_then(rests: list[float]) -> None:
    """Once in a while, not at each call."""
    thread = threading.Thread(target=calls)
    thread.start()
    thread.join()
    assert 5 < len(rests) < 20
    assert set(rests) == {turns._REST_S}


def test_the_main_thread_never_rests(rests: list[float]) -> None:
    """Commands do not slow down."""
    calls()
    assert rests == []
