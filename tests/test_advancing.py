"""When a run goes on, and with which profile."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_submits import FakePool, manifest_here, profile_here, send

from condhpc import advancing, profile, runs, submit
from condhpc.errors import InputError
from condhpc.layout import Layout, RunFolder


@pytest.mark.parametrize(("current", "taken"), [("local", "mine"), ("slurm", "own")])
def test_a_run_goes_on_with_the_profile_in_force_of_its_back_end(root: Path, current: str, taken: str) -> None:
    """More memory or time helps; a profile for another back-end does not, and that is said. The root is the run's."""
    run = RunFolder(root / "runs" / "r")
    run.path.mkdir(parents=True)
    run.profile.write_bytes(profile.encode(profile_here(root / "old", name="own")))
    said: list[str] = []
    mine = profile_here(Path("/elsewhere"), name="mine", backend=current)
    found = advancing._profile_for(run, Layout(root), mine, said.append)
    assert (found.name, found.backend, found.root) == (taken, "local", root)
    assert said == ([] if taken == "mine" else [
        "profile 'mine' is for the slurm back-end: going on with the run's own, 'own'"
    ])  # fmt: skip


def test_a_run_whose_plan_changed_is_not_continued(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Other data or another version plan other tasks: the manifest is submitted anew."""
    manifest = manifest_here(monkeypatch, tmp_path)
    send(manifest, profile_here(root), FakePool, monkeypatch)
    layout = Layout(root)
    run = runs.find(layout, None)
    lines = run.plan.read_bytes().splitlines(keepends=True)
    run.plan.write_bytes(b"".join(lines[1:]))
    with pytest.raises(InputError, match="now plans other tasks"):
        submit.resume(run, layout, profile_here(root), accept_code=False, say=list, progress=list)
