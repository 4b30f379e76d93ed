"""Submitting in this process, on this machine: a manifest, a profile, and workers that are none."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from condhpc import preparing, sending, snapshot, submit
from condhpc.profile import Profile

MANIFEST = """
name = "lab"
datasets = ["{dataset}"]
condensers = ["random"]
ipc = [1]
protocols = ["erm"]
students = ["convnet3"]
set_seeds = {set_seeds}
student_seeds = {student_seeds}
"""


def profile_here(root: Path, **fields: Any) -> Profile:
    """A profile for this machine."""
    return Profile(**{"name": "here", "backend": "local", "root": root, **fields})


def manifest_here(monkeypatch: pytest.MonkeyPatch, folder: Path) -> Path:
    """One set and one student; no snapshot of the code is made."""
    manifest = folder / "m.toml"
    manifest.write_text(MANIFEST.format(dataset="digits", set_seeds=[0], student_seeds=[0]))
    monkeypatch.setattr(snapshot, "take", lambda _: folder)
    return manifest


class FakePool:
    """Workers that end, or do not, when told; the first wait may be interrupted."""

    def __init__(self, *, interrupted: bool = False) -> None:
        self.interrupted = interrupted
        self.ended: list[float] = []

    def wait(self, timeout_s: float) -> bool:
        """Ends at once, or Ctrl-C."""
        del timeout_s
        if self.interrupted:
            raise KeyboardInterrupt
        return True

    def end(self, grace_s: float) -> None:
        """Note."""
        self.ended.append(grace_s)


def send(manifest: Path, held: Profile, pool: Callable[[], FakePool], monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Submit to such workers; all that was said."""
    said: list[str] = []
    monkeypatch.setattr(sending.Handover, "to_pool", lambda _: pool())
    submit.send(preparing.prepare(manifest, held), accept_code=False, say=said.append, progress=said.append)
    return said
