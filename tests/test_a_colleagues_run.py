"""A run that belongs to another user: what may be read is shown and collected, what is closed is named."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path

import pytest
from made_owners import NOBODY, as_anybody, call, close, give_away, needs_root
from made_runs import MadeRun
from test_spending import FakeSlurm, charge

from condhpc import accounts, handover, profile, reservations, runs
from condhpc.budget import Budget
from condhpc.profile import Profile
from condhpc.runs import Intent

pytestmark = [needs_root, pytest.mark.usefixtures("no_own_profile")]


class Theirs:
    """Two sets evaluated twice each; one evaluation failed; one set was never made. All is open to everybody."""

    def __init__(self, root: Path) -> None:
        made = self.made = MadeRun(root)
        random, herding, rest = made.condense("random"), made.condense("herding"), made.condense("rded")
        self.good = [made.evaluate(random, 0), made.evaluate(random, 1), made.evaluate(herding, 0)]
        self.failed = made.evaluate(herding, 1)
        made.evaluate(rest)
        made.write()
        made.run.profile.write_bytes(profile.encode(Profile(name="x", backend="slurm", root=root)))
        sent = [random, herding, *self.good, self.failed]
        name = made.submit(*([key] for key in sent), sent=1.0)
        for index, key in enumerate(sent[:-1]):
            made.record(key, {"top1_pct": 40.0 + index, "test_count": 360} if index > 1 else {"count": 10})
            made.hint(name, index, key, "recorded")
        made.ended(self.failed, "failed", "Traceback\nValueError: boom", "608_5")
        made.hint(name, 5, self.failed, "failed")
        logs = made.run.logs / name
        logs.mkdir(parents=True)
        (logs / "5.log").write_text("a line of its log\n")
        reservations.join(made.run, made.layout, Budget(gpu_h=9.0), "9gpuh", hard=False)
        accounts._append(made.run, [charge("608_5", 60)])
        give_away(root)

    @property
    def root(self) -> Path:
        """Of the store and of the run."""
        return self.made.layout.root


@pytest.fixture
def theirs(root: Path) -> Theirs:
    """A colleague's run."""
    return Theirs(root)


def looks(root: Path) -> dict[str, tuple[int, int]]:
    """All files and folders below a root, with what shows that somebody wrote."""
    return {str(path): (path.stat().st_size, path.stat().st_mtime_ns) for path in sorted(root.rglob("*"))}


def cells() -> dict[str, str]:
    """Runs of each condenser, as collected."""
    with next(Path("results").glob("*/cells.csv")).open(encoding="utf-8") as file:
        return {row["condenser"]: row["n"] for row in csv.DictReader(file)}


def test_the_kernel_judges_by_owner_and_mode(theirs: Theirs) -> None:
    """Of this rest all other tests: what is closed cannot be read, and nothing of the run can be written."""
    plan = theirs.made.run.plan

    def tries() -> list[str]:
        found = []
        for act in (plan.read_bytes, theirs.made.run.submissions.read_bytes, (plan.parent / "x").touch):
            try:
                act()
            except PermissionError:
                found.append("no")
            else:
                found.append("yes")
        return found

    close(theirs.made.run.submissions)
    assert as_anybody(tries, Path("answer.json")) == ["yes", "no", "no"]


def test_an_open_run_is_shown_and_collected_without_writing_to_it(theirs: Theirs) -> None:
    """Commands succeed, say that the cache cannot be kept, ask no Slurm, and leave all as it was."""
    before = looks(theirs.root)
    status = call(theirs.root, "status")
    assert (status.code, status.err) == (1, "")
    assert "failed, 5 of 8 recorded" in status.out
    assert "1 evaluate failed: ValueError: boom" in status.out
    shot = json.loads(call(theirs.root, "status", "--json").out)
    assert [row["state"] for row in shot["rows"]].count("recorded") == 5
    assert shot["outlook"]["costs"]["budget"][0]["limit"] == 9.0
    collected = call(theirs.root, "collect", "--plain")
    assert collected.code == 0
    assert "records are read again each time" in collected.err
    assert cells() == {"random": "2", "herding": "1", "rded": "0"}
    assert "a line of its log" in call(theirs.root, "logs").out
    assert looks(theirs.root) == before


@pytest.mark.parametrize(
    ("closed", "recorded", "told"),
    [
        ("record", "5 of 8", "record.json: cannot be read (Permission denied); ask its owner"),
        ("folders", "5 of 8", "record.json: cannot be read (Permission denied); ask its owner"),
        ("hints", "5 of 8", "done (Permission denied): cannot be read, ask the owner"),
        ("hint", "5 of 8", ".2.jsonl (Permission denied): cannot be read, ask the owner"),
    ],
)
def test_what_is_closed_is_named_and_the_rest_is_shown(theirs: Theirs, closed: str, recorded: str, told: str) -> None:
    """A record, folders of tasks, hints: states rest on what else there is."""
    layout, key = theirs.made.layout, theirs.good[0]
    close(
        *{
            "record": [layout.task("evaluate", key).record],
            "folders": [layout.task("evaluate", one).path for one in (key, theirs.failed)],
            "hints": [theirs.made.run.done],
            "hint": [theirs.made.run.done / "sub-608.2.jsonl"],
        }[closed]
    )
    found = call(theirs.root, "status")
    assert f"failed, {recorded} recorded" in found.out
    assert told in found.out
    assert "1 evaluate failed" in found.out
    assert told in " ".join(json.loads(call(theirs.root, "status", "--json").out)["problems"])


def test_a_rescan_does_not_believe_in_what_it_cannot_look_at(theirs: Theirs) -> None:
    """A closed record is there and counts; in a closed folder nobody knows."""
    key, other = theirs.good[:2]
    close(theirs.made.layout.task("evaluate", key).record, theirs.made.layout.task("evaluate", other).path)
    found = call(theirs.root, "status", "--rescan")
    assert "4 of 8 recorded" in found.out
    assert found.out.count("cannot be read (Permission denied); ask its owner") == 2


@pytest.mark.parametrize(
    ("closed", "n", "told"),
    [
        ("record", "1", "record.json: cannot be read (Permission denied); ask its owner, it is left out"),
        ("folder", "1", "record.json: cannot be read (Permission denied); ask its owner, it is left out"),
        ("stage", "0", "record.json: cannot be read (Permission denied); ask its owner, it is left out"),
        ("accounting", "2", "accounting.jsonl: cannot be read (Permission denied); nothing counts as charged"),
        ("profile", "2", "profile.json: cannot be read; what is recorded is collected"),
    ],
)
def test_the_rest_is_collected_and_the_exit_code_says_partial(theirs: Theirs, closed: str, n: str, told: str) -> None:
    """One line for what is closed; tables of all else."""
    folder = theirs.made.layout.task("evaluate", theirs.good[0])
    close(
        {
            "record": folder.record,
            "folder": folder.path,
            "stage": theirs.root / "store" / "evaluate",
            "accounting": theirs.made.run.accounting,
            "profile": theirs.made.run.profile,
        }[closed]
    )
    found = call(theirs.root, "collect", "--plain")
    assert found.code == 3
    assert told in found.err
    assert cells()["random"] == n


@pytest.mark.parametrize("closed", ["plan", "submissions", "path"])
@pytest.mark.parametrize("command", ["status", "collect"])
def test_without_its_plan_nothing_can_be_told(theirs: Theirs, closed: str, command: str) -> None:
    """One line with the file, and whom to ask; no traceback, no table."""
    close(getattr(theirs.made.run, closed))
    found = call(theirs.root, command)
    assert (found.code, found.out) == (2 if (closed, command) == ("path", "status") else 3, "")
    assert len(found.err.splitlines()) == 1
    assert str(theirs.made.run.path) in found.err
    assert "it belongs to user" in found.err or "ask its owner" in found.err


def test_closed_runs_are_listed(theirs: Theirs) -> None:
    """By name, without counts."""
    close(theirs.made.run.path)
    found = call(theirs.root, "ls", "runs")
    assert found.code == 0
    assert found.out.split()[-3:] == [theirs.made.run.name, "closed", "closed"]


def test_logs_that_are_closed_are_not_called_missing(theirs: Theirs) -> None:
    """And a closed log does not hide what the diary says."""
    close(theirs.made.run.logs / "sub-608" / "5.log")
    found = call(theirs.root, "logs", "--failed")
    assert "ValueError: boom" in found.out
    assert "cannot be read (Permission denied); ask its owner" in found.out
    close(theirs.made.run.logs)
    found = call(theirs.root, "logs")
    assert found.code == 3
    assert "Permission denied; it belongs to user" in found.err


def test_nothing_can_be_done_to_it(theirs: Theirs) -> None:
    """A budget of ours is refused in one line, and nothing changed."""
    before = looks(theirs.root)
    found = call(theirs.root, "budget", "--set", "5gpuh")
    assert (found.code, found.out) == (3, "")
    assert "Permission denied; it belongs to user" in found.err
    assert looks(theirs.root) == before


# -- on a root that is shared --------------------------------------------------------------------------------------


@pytest.fixture
def ours(theirs: Theirs) -> MadeRun:
    """Our own run beside theirs, which is closed."""
    made = MadeRun(theirs.root, "ours-20260102T000000Z")
    made.condense()
    made.write()
    made.run.profile.write_bytes(profile.encode(Profile(name="local", backend="local", root=theirs.root)))
    close(theirs.made.run.path)
    return made


def test_our_run_is_shown_beside_a_closed_one(theirs: Theirs, ours: MadeRun) -> None:
    """Whether the other computes what ours did not send is unknown, and said."""
    found = call(theirs.root, "status")
    assert f"run {ours.run.name}" in found.out
    assert f"other runs that cannot be read: {theirs.made.run.name} (Permission denied)" in found.out


def test_a_shared_budget_must_be_read_whole(theirs: Theirs, ours: MadeRun) -> None:
    """What a closed run was charged is unknown: nothing is admitted under it, and `status` says why, and goes on."""
    for one in (theirs.made, ours):
        reservations.join(one.run, one.layout, Budget(cpu_h=9.0, name="both"), "both:9cpuh", hard=False)
    close(theirs.made.run.path)
    found = call(theirs.root, "status", ours.run.name)
    assert f"run {ours.run.name}" in found.out
    assert "the budget could not be looked at" in found.err
    assert "must be read whole; ask the owner" in found.err
    found = call(theirs.root, "budget", ours.run.name)
    assert (found.code, found.out) == (3, "")
    assert "must be read whole" in found.err


def test_what_others_sent_without_a_reply_is_theirs_to_settle(theirs: Theirs) -> None:
    """Our queue need not show their job: calling it refused would send its work twice."""
    open_ = Intent(name="x", backend="slurm", elements=((theirs.failed,),), time=1.0)
    runs.append(theirs.made.run, open_)
    handover.reconcile(theirs.made.layout, FakeSlurm(""))
    assert runs.submissions(theirs.made.run)[-1].is_open
    os.chown(theirs.made.run.path, os.getuid(), NOBODY)
    slurm = FakeSlurm("")
    slurm.find_by_name = lambda *_: []  # type: ignore[method-assign]
    handover.reconcile(theirs.made.layout, slurm)
    assert not runs.submissions(theirs.made.run)[-1].is_open


def test_a_plan_may_rest_on_a_root_that_is_not_ours(theirs: Theirs, tmp_path: Path) -> None:
    """Planning writes nothing, so it does not matter who may; theirs that is closed does not keep it from planning."""
    manifest = tmp_path / "m.toml"
    manifest.write_text(
        'name = "m"\ndatasets = ["digits"]\ncondensers = ["random"]\nipc = [1]\nprotocols = ["erm"]\n'
        'students = ["convnet3"]\n[training.digits]\nepochs = 1\n'
    )
    closed = theirs.root / "store" / "evaluate" / theirs.good[0][:2]
    close(theirs.made.run.path, closed)
    before = looks(theirs.root)
    found = call(theirs.root, "plan", str(manifest))
    assert (found.code, found.err) == (0, "")
    assert "evaluate" in found.out
    assert looks(theirs.root) == before
