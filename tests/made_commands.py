"""Commands through click's runner, on a made run, with a submitting module that only notes."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from made_runs import MadeRun

import condhpc
from condhpc import cli, preparing, profile
from condhpc.errors import ProblemsError
from condhpc.layout import Layout, RunFolder
from condhpc.profile import Profile


def local_run(folder: Path) -> MadeRun:
    """A local run without tasks yet, under `root` in a folder."""
    found = MadeRun(folder / "root")
    held = Profile(name="local", backend="local", root=folder / "root")
    found.run.profile.write_bytes(profile.encode(held))
    return found


def call(*arguments: str, answer: str | None = None) -> Result:
    """Run a command under `root` in the current folder."""
    return CliRunner().invoke(cli.main, ["--root", "root", *arguments], input=answer)


class Submission(types.ModuleType):
    """Stands for `condhpc.submit` and for preparing; notes what it was asked."""

    def __init__(self, run: RunFolder, overview: Any = None) -> None:
        super().__init__("condhpc.submit")
        self.run = run
        self.calls: list[tuple[str, Any]] = []
        self.terms: Any = None
        self.asked: Any = None
        self.overview = overview or types.SimpleNamespace(
            rows=[], warnings=[], kept_back=0, provisional=False, costs=[], carbon=None, raised=[], waits=[]
        )

    def prepare(self, manifest: Path, held: Profile) -> Any:
        """Note the manifest."""
        self.calls.append(("prepare", manifest.name))
        if not manifest.exists():
            raise ProblemsError([f"{manifest}: cannot be read"])
        return types.SimpleNamespace(overview=self.overview, profile=held, arrays=[], budget="")

    def send(self, prepared: Any, *, accept_code: bool, say: Any, progress: Any, terms: Any) -> RunFolder:
        """Note, and talk."""
        del prepared
        self.terms = terms
        self.calls.append(("send", accept_code))
        say("run begins")
        progress("teacher 0/1")
        return self.run

    def resume(self, run: RunFolder, layout: Layout, current: Any, *, accept_code: bool, **others: Any) -> RunFolder:
        """Note the run."""
        del layout, current
        self.terms = others["terms"]
        self.calls.append(("resume", (run.name, accept_code)))
        return run

    def retry(self, run: RunFolder, layout: Layout, current: Any, *, asked: Any, **talk: Any) -> RunFolder:
        """Note the run and what is to be tried again."""
        del layout, current, talk
        self.calls.append(("retry", run.name))
        self.asked = asked
        return run

    def cancel(self, run: RunFolder, layout: Layout, *, say: Any) -> int:
        """Note the run."""
        del layout, say
        self.calls.append(("cancel", run.name))
        return 1


def replaced_submission(monkeypatch: pytest.MonkeyPatch, run: RunFolder) -> Submission:
    """Put one in the place of the submitting modules."""
    found = Submission(run)
    monkeypatch.setitem(sys.modules, "condhpc.submit", found)
    monkeypatch.setattr(condhpc, "submit", found, raising=False)
    monkeypatch.setattr(preparing, "prepare", found.prepare)
    return found
