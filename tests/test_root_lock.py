"""The root's lock between processes."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from condhpc import root_lock as locking
from condhpc.errors import StoreError
from condhpc.layout import Layout
from condhpc.root_lock import root_lock


def test_a_held_lock_names_its_holder(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever waits in vain is told by whom."""
    monkeypatch.setattr(locking, "_LOCK_PATIENCE_S", 0.0)
    layout = Layout(root)
    with root_lock(layout), pytest.raises(StoreError) as caught, root_lock(layout):
        pass
    assert f"{layout.lock}: held by pid {os.getpid()} on {os.uname().nodename} since 20" in str(caught.value)
    with root_lock(layout):
        pass  # free again


def test_a_lock_without_a_name_is_still_a_lock(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A holder that was not yet able to write who it is."""
    monkeypatch.setattr(locking, "_LOCK_PATIENCE_S", 0.0)
    root.mkdir()
    layout = Layout(root)
    with layout.lock.open("a") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        with pytest.raises(StoreError, match="held by an unknown process"), root_lock(layout):
            pass
