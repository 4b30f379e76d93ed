"""The pilot of Textual waits by looks at the process's CPU time: shorter looks, or most of these tests is sleep."""

import pytest
from textual import _wait


@pytest.fixture(autouse=True)
def short_looks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle is who used less than a tenth of 5 ms; Textual's looks take 20 ms, two after each key."""
    monkeypatch.setattr(_wait, "SLEEP_GRANULARITY", 0.005)
    monkeypatch.setattr(_wait, "SLEEP_IDLE", 0.0005)
