"""The thread that looks at a run."""

from __future__ import annotations

import threading

import pytest
from made_shots import Source, row, shot

from condhpc.tui.poller import Poller, Trouble


def test_poller_slows_down_while_nothing_changes(monkeypatch: pytest.MonkeyPatch) -> None:
    """The pause doubles with each equal snapshot up to ten times the first, and starts anew after a change."""
    source = Source(shot(row("a" * 32)))
    pauses: list[float] = []
    poller = Poller(source, lambda _: None, poll_s=30.0)

    class Woken(threading.Event):
        """Notes how long one would have waited."""

        def wait(self, timeout: float | None = None) -> bool:
            """Change the snapshot at the eighth look, end at the ninth."""
            pauses.append(timeout or 0.0)
            if len(pauses) == 7:
                source.now = shot(row("a" * 32, "recorded"))
            if len(pauses) == 8:
                poller.end()
            return True

    monkeypatch.setattr(poller, "_wake", Woken())
    poller.run()
    assert pauses == [30.0, 60.0, 120.0, 240.0, 300.0, 300.0, 300.0, 30.0]


def test_poller_reports_errors_instead_of_dying() -> None:
    """An exception of any kind reaches the app as a message."""
    found: list[object] = []
    poller = Poller(Source(OSError("stale file handle")), lambda m: (found.append(m), poller.end()), poll_s=1.0)
    poller.run()
    (trouble,) = found
    assert isinstance(trouble, Trouble)
    assert str(trouble.error) == "stale file handle"
