"""What Slurm charged, from recorded sacct text through the snapshot in the run and back."""

from __future__ import annotations

import json
from pathlib import Path

import msgspec
import pytest
from made_runs import MadeRun

from condhpc import accounts, lease, runs
from condhpc.accounts import Charge, charged_gpu_h, charges, refresh
from condhpc.charge_sums import ChargeSums
from condhpc.scheduler import Slurm
from condhpc.slurm_text import ACCT_FIELDS, SEP, AcctRow, QueueRow, parse_sacct, parse_squeue

GPU = "billing=4,cpu=4,gres/gpu:h100=2,gres/gpu=2,mem=16G,node=1"


def sacct_row(job: str, state: str = "COMPLETED", **fields: object) -> str:
    """One line of sacct; fields that are not named are those of a GPU element that ran from 1000 to 4600."""
    given: dict[str, object] = {
        "JobID": job, "JobIDRaw": job.replace("_", "9"), "Cluster": "dev", "JobName": "a|name", "State": state,
        "ExitCode": "0:0", "DerivedExitCode": "0:0", "Submit": 900, "Eligible": 940, "Start": 1000, "End": 4600,
        "ElapsedRaw": 3600, "Suspended": "00:00:00", "TimelimitRaw": 60, "NNodes": 1, "NCPUS": 4, "ReqTRES": GPU,
        "AllocTRES": GPU, "NodeList": "n1",
    }  # fmt: skip
    return SEP.join(str((given | fields).get(name, "")) for name in ACCT_FIELDS) + "\n"


class FakeAccounting(Slurm):
    """A Slurm whose sacct and squeue print recorded text; None: there is no accounting."""

    def __init__(self, text: str | None, rows: str = "") -> None:
        super().__init__(env={})
        self.text = text
        self.rows = rows
        self.asked: list[tuple[list[str], int]] = []

    def queue(self, jobs: object = None, names: object = None) -> list[QueueRow]:
        """All rows, as squeue without filter."""
        del jobs, names
        return parse_squeue(self.rows)

    def history(self, parents: object, since_s: int) -> list[AcctRow] | None:
        """All rows, as sacct for these parents."""
        self.asked.append((sorted(parents), since_s))  # type: ignore[call-overload]
        self.accounting_error = "connection refused" if self.text is None else None
        return None if self.text is None else parse_sacct(self.text)


def made(root: Path, elements: int = 4, gpus: int = 2) -> MadeRun:
    """A run with one array 608 of so many elements, one set each."""
    made_run = MadeRun(root)
    keys = [made_run.condense(seed=i) for i in range(elements)]
    made_run.write()
    intent = runs.Intent(
        name="sub", backend="slurm", stage="condense", elements=tuple((k,) for k in keys), gpus=gpus, time=900.0
    )
    runs.append(made_run.run, intent)
    runs.append(made_run.run, runs.Reply(name="sub", job="608", time=900.5))
    return made_run


def told(made_run: MadeRun, text: str | None) -> list[Charge]:
    """The charges after sacct has said this."""
    refresh(made_run.run, made_run.layout, FakeAccounting(text))
    return charges(made_run.run, made_run.layout)


def test_every_attempt_of_a_requeued_element_is_charged(tmp_path: Path) -> None:
    """Requeued, preempted and the one that ended well; what waits again has cost nothing yet."""
    text = (
        sacct_row("608_0", "REQUEUED", Start=1000, End=1100, ElapsedRaw=100)
        + sacct_row("608_0", "PREEMPTED", Start=2000, End=2300, ElapsedRaw=300)
        + sacct_row("608_0", "COMPLETED", Start=3000, End=3500, ElapsedRaw=500)
        + sacct_row("608_1", "REQUEUED", Start=1000, End=1060, ElapsedRaw=60)
        + sacct_row("608_1", "PENDING", Start="Unknown", End="Unknown", ElapsedRaw=0, AllocTRES="")
    )
    found = told(made(tmp_path), text)
    assert [(c.element, c.restart, c.state, c.elapsed_s) for c in found] == [
        ("608_0", 0, "REQUEUED", 100),
        ("608_0", 1, "PREEMPTED", 300),
        ("608_0", 2, "COMPLETED", 500),
        ("608_1", 0, "REQUEUED", 60),
    ]
    assert charged_gpu_h(found) == {"h100": pytest.approx(2 * 960 / 3600)}
    assert (found[0].eligible_s, found[0].cpus, found[0].mem_mb, found[0].source) == (940, 4, 16384, "sacct")


def test_elements_cancelled_before_their_start_are_told_one_by_one(tmp_path: Path) -> None:
    """A set of indices may name one that had a row of its own; that row counts."""
    waiting = {"Start": "Unknown", "End": 1500, "ElapsedRaw": 0, "AllocTRES": ""}
    text = sacct_row("608_1", "FAILED", ElapsedRaw=36) + sacct_row("608_[1-3%1]", "CANCELLED by 0", **waiting)
    found = told(made(tmp_path), text)
    assert [(c.element, c.state, c.gpus) for c in found] == [
        ("608_1", "FAILED", 2),
        ("608_2", "CANCELLED by 0", 0),
        ("608_3", "CANCELLED by 0", 0),
    ]
    assert charged_gpu_h(found) == {"h100": pytest.approx(0.02)}


def test_types_are_never_added_up(tmp_path: Path) -> None:
    """Each type, slices and untyped GPUs stand on their own."""
    text = (
        sacct_row("608_0", AllocTRES="gres/gpu:a100=1,gres/gpu=1")
        + sacct_row("608_1", AllocTRES="gres/gpu=3")
        + sacct_row("608_2", AllocTRES="gres/gpu:1g.10gb=1,gres/gpu=1")
        + sacct_row("608_3", AllocTRES="gres/shard=2,cpu=1")
    )
    found = told(made(tmp_path), text)
    assert charged_gpu_h(found) == {"": 3.0, "1g.10gb": 1.0, "a100": 1.0}
    assert [(c.shards, c.requested) for c in found] == [(0, False), (0, False), (0, False), (2, False)]


def test_an_accounting_that_keeps_no_gpus_charges_those_asked_for(tmp_path: Path) -> None:
    """A site that does not list gres/gpu in AccountingStorageTRES: flagged, from ReqTRES or the submission."""
    text = sacct_row("608_0", AllocTRES="cpu=4") + sacct_row("608_1", AllocTRES="cpu=4", ReqTRES="cpu=4")
    assert [(c.gpus, c.gpu_type, c.requested) for c in told(made(tmp_path), text)] == [(2, "h100", True), (2, "", True)]


def test_purged_history_is_kept_and_nothing_counts_twice(tmp_path: Path) -> None:
    """A later answer replaces the word on an attempt that went on, and takes nothing away."""
    made_run = made(tmp_path, elements=2)
    first = sacct_row("608_0", "REQUEUED", Start=1000, End=1100, ElapsedRaw=100)
    told(made_run, first + sacct_row("608_1", "RUNNING", End="Unknown", ElapsedRaw=7))
    assert not accounts.is_settled(made_run.run)
    again = sacct_row("608_0", Start=3000, End=3050, ElapsedRaw=50)
    found = told(made_run, again + sacct_row("608_1", End=1200, ElapsedRaw=200))
    assert [(c.element, c.restart, c.elapsed_s) for c in found] == [
        ("608_0", 0, 100),
        ("608_0", 1, 50),
        ("608_1", 0, 200),
    ]
    assert accounts.is_settled(made_run.run)
    lines = made_run.run.accounting.read_bytes()
    slurm = FakeAccounting("")
    assert refresh(made_run.run, made_run.layout, slurm) == []
    assert slurm.asked == []  # all has ended: no question is left
    assert made_run.run.accounting.read_bytes() == lines


def test_one_question_for_all_that_is_open(tmp_path: Path) -> None:
    """From the first open submission on, each array named once, settled ones not."""
    made_run = made(tmp_path, elements=1)
    told(made_run, sacct_row("608_0"))
    made_run.submit([made_run.lines[0].key], job="609", sent=5000.0)
    made_run.submit([made_run.lines[0].key], job="610", sent=6000.0)
    slurm = FakeAccounting(sacct_row("609_0") + sacct_row("610_0", "RUNNING", End="Unknown"))
    refresh(made_run.run, made_run.layout, slurm)
    assert slurm.asked == [(["609", "610"], 5000)]
    refresh(made_run.run, made_run.layout, slurm)
    assert slurm.asked[1:] == [(["610"], 6000)]


def test_without_accounting_own_attempts_are_charged_and_it_is_said(tmp_path: Path) -> None:
    """From diaries and records; once sacct answers, its word replaces them."""
    made_run = made(tmp_path, elements=2)
    done, failed = (line.key for line in made_run.lines)
    environment = {"job": "608_0", "run": made_run.run.name, "restarts": 1, "gpu": "NVIDIA H100"}
    stopped = msgspec.structs.replace(lease.myself(run=made_run.run.name), job="608_0", started=1000.0)
    first = lease.Attempt(number=1, owner=stopped, pulse=None, end=lease.End(outcome="stopped", time=1060.0))
    made_run.record(done, attempt=2, started=2000.0, ended=2100.0, environment=environment, attempts=(first,))
    owner = msgspec.structs.replace(lease.myself(run=made_run.run.name), job="608_1", started=3000.0)
    made_run.lease(failed, owner=owner).end("failed", "no")
    (note,) = refresh(made_run.run, made_run.layout, FakeAccounting(None))
    assert "connection refused" in note
    found = charges(made_run.run, made_run.layout)
    assert [(c.element, c.restart, c.state, c.gpus, c.source) for c in found] == [
        ("608_0", 0, "REQUEUED", 2, "attempts"),
        ("608_0", 1, "COMPLETED", 2, "attempts"),
        ("608_1", 0, "FAILED", 2, "attempts"),
    ]
    assert [c.elapsed_s for c in found[:2]] == [60, 100]
    assert [(c.element, c.source) for c in told(made_run, sacct_row("608_0"))][:2] == [
        ("608_0", "sacct"),
        ("608_1", "attempts"),
    ]


def test_elements_that_the_accounting_does_not_know_are_charged_by_own_attempts(tmp_path: Path) -> None:
    """An accounting that was purged, or shows other people's jobs to nobody: those elements alone, and it is said."""
    made_run = made(tmp_path, elements=2)
    for i, line in enumerate(made_run.lines):
        environment = {"job": f"608_{i}", "run": made_run.run.name}
        made_run.record(line.key, started=1000.0, ended=1036.0, environment=environment)
    (note,) = refresh(made_run.run, made_run.layout, FakeAccounting(sacct_row("608_0")))
    assert "1 starts" in note
    found = charges(made_run.run, made_run.layout)
    assert [(c.element, c.source, c.elapsed_s) for c in found] == [("608_0", "sacct", 3600), ("608_1", "attempts", 36)]
    again = FakeAccounting(sacct_row("608_0") + sacct_row("608_1"))
    assert refresh(made_run.run, made_run.layout, again) == []
    assert [c.source for c in charges(made_run.run, made_run.layout)] == ["sacct", "sacct"]


def test_an_accounting_that_falls_silent_is_told_with_what_it_leaves_open(tmp_path: Path) -> None:
    """What had not ended by its last word is charged as of that: less than it took, so it is said."""
    made_run = made(tmp_path, elements=2)
    running = sacct_row("608_1", "RUNNING", End="Unknown", ElapsedRaw=60)
    assert refresh(made_run.run, made_run.layout, FakeAccounting(sacct_row("608_0") + running)) == []
    for silent in (None, sacct_row("608_0")):
        (note,) = refresh(made_run.run, made_run.layout, FakeAccounting(silent))
        assert "says no more of 608_1" in note
    assert [c.elapsed_s for c in charges(made_run.run, made_run.layout)] == [3600, 60]
    assert refresh(made_run.run, made_run.layout, FakeAccounting(sacct_row("608_0") + sacct_row("608_1"))) == []


def recorded(made_run: MadeRun, restarts: int, start_s: float, end_s: float, *before: lease.Attempt) -> None:
    """The run's only set, left by this start of element 608_0."""
    environment = {"job": "608_0", "run": made_run.run.name, "restarts": restarts}
    key = made_run.lines[0].key
    made_run.record(
        key, attempt=len(before) + 1, started=start_s, ended=end_s, environment=environment, attempts=before
    )


def stopped(made_run: MadeRun, start_s: float, end_s: float) -> lease.Attempt:
    """The attempt in the first start of element 608_0."""
    owner = msgspec.structs.replace(lease.myself(run=made_run.run.name), job="608_0", started=start_s)
    return lease.Attempt(number=1, owner=owner, pulse=None, end=lease.End(outcome="stopped", time=end_s))


def test_own_attempts_tell_the_end_that_the_accounting_left_open(tmp_path: Path) -> None:
    """Seconds that it charged are not charged again; once it answers, its word alone counts."""
    made_run = made(tmp_path, elements=1)
    told(made_run, sacct_row("608_0", "RUNNING", End="Unknown", ElapsedRaw=60))
    recorded(made_run, 0, 1010.0, 1300.0)
    (note,) = refresh(made_run.run, made_run.layout, FakeAccounting(None))
    assert "not to their end (connection refused)" in note
    found = charges(made_run.run, made_run.layout)
    assert [(c.state, c.start_s, c.end_s, c.elapsed_s, c.source) for c in found] == [
        ("COMPLETED", 1000, 1300, 300, "sacct+attempts")
    ]
    assert not accounts.is_settled(made_run.run)
    found = told(made_run, sacct_row("608_0", End=1310, ElapsedRaw=310))
    assert [(c.end_s, c.elapsed_s, c.source) for c in found] == [(1310, 310, "sacct")]


@pytest.mark.parametrize("ended", [True, False])
def test_own_attempts_count_for_starts_after_the_accountings_last(tmp_path: Path, *, ended: bool) -> None:
    """An element that was requeued after sacct fell silent: its second start by diaries, the first as sacct said."""
    made_run = made(tmp_path, elements=1)
    over = {"End": 1100, "ElapsedRaw": 100} if ended else {"End": "Unknown", "ElapsedRaw": 60}
    told(made_run, sacct_row("608_0", "REQUEUED" if ended else "RUNNING", **over))
    recorded(made_run, 1, 2000.0, 2500.0, stopped(made_run, 1005.0, 1090.0))
    found = told(made_run, None)
    first = (1100, 100, "sacct") if ended else (1090, 90, "sacct+attempts")
    assert [(c.end_s, c.elapsed_s, c.source) for c in found] == [first, (2500, 500, "attempts")]
    assert [c.restart for c in found] == [0, 1]
    sums = ChargeSums(made_run.run, lambda _: ())
    sums.read()
    assert sums.of_element("608_0") == found


def test_a_start_that_the_accounting_missed_is_counted_once(tmp_path: Path) -> None:
    """Own attempts of one restart more than sacct has starts lie within its last one: only what is beyond counts."""
    made_run = made(tmp_path, elements=1)
    told(made_run, sacct_row("608_0", "RUNNING", Start=2000, End="Unknown", ElapsedRaw=100))
    recorded(made_run, 1, 2010.0, 2500.0, stopped(made_run, 1005.0, 1090.0))
    found = told(made_run, None)
    assert [(c.start_s, c.elapsed_s, c.source) for c in found] == [(2000, 100, "sacct"), (2100, 400, "attempts")]


def test_a_silent_attempt_has_ended_where_nothing_goes_on(tmp_path: Path) -> None:
    """Its diary has no end: it may go on, unless the run is over or its element started again."""
    made_run = made(tmp_path, elements=2)
    for restarts, line in enumerate(made_run.lines):
        me = lease.myself(run=made_run.run.name)
        owner = msgspec.structs.replace(me, job="608_0", restarts=restarts, started=1000.0 * (restarts + 1))
        made_run.lease(line.key, owner=owner)
    states = []
    for over in (False, True):
        refresh(made_run.run, made_run.layout, FakeAccounting(None), over=over)
        states.append([c.state for c in charges(made_run.run, made_run.layout)])
    assert states == [["FAILED", "RUNNING"], ["FAILED", "FAILED"]]


def test_a_snapshot_that_cannot_be_used_is_said(tmp_path: Path) -> None:
    """Neither read nor added to, as in another user's run: a line each, and no traceback."""
    made_run = made(tmp_path, elements=1)
    told(made_run, sacct_row("608_0", "RUNNING", End="Unknown", ElapsedRaw=5))
    path = made_run.run.accounting
    held = path.read_bytes()
    path.unlink()
    path.mkdir()
    (note,) = refresh(made_run.run, made_run.layout, FakeAccounting(sacct_row("608_0")))
    assert "cannot be added to" in note
    assert ["cannot be read" in problem for problem in accounts.read(made_run.run).problems] == [True]
    path.rmdir()
    path.write_bytes(held)
    assert [c.elapsed_s for c in charges(made_run.run, made_run.layout)] == [5]


def test_an_answer_that_is_none_is_said(tmp_path: Path) -> None:
    """Rows that were cut off are no reason to fail: own attempts are charged meanwhile."""
    made_run = made(tmp_path, elements=1)
    environment = {"job": "608_0", "run": made_run.run.name}
    made_run.record(made_run.lines[0].key, started=1000.0, ended=1036.0, environment=environment)
    (note,) = refresh(made_run.run, made_run.layout, FakeAccounting(sacct_row("608_0")[:40]))
    assert "expected 25 fields" in note
    assert [c.source for c in charges(made_run.run, made_run.layout)] == ["attempts"]


def test_odd_lines_are_named_and_the_rest_counts(tmp_path: Path) -> None:
    """Damaged, torn and newer lines, ends before starts, states that nobody knows: one line each."""
    made_run = made(tmp_path)
    told(made_run, sacct_row("608_0", Start=1000, End=400) + sacct_row("608_1", "MELTED") + sacct_row("608_2"))
    good = made_run.run.accounting.read_bytes().splitlines()[0]
    newer = good.replace(b'"schema":1', b'"schema":9')
    deep = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    made_run.run.accounting.write_bytes(
        made_run.run.accounting.read_bytes() + newer + b"\nrubbish\n" + deep + b'\n{"sch'
    )
    told(made_run, sacct_row("608_3"))
    found = accounts.read(made_run.run)
    assert [c.element for c in found.charges] == ["608_0", "608_1", "608_2", "608_3"]
    assert [
        [word in problem for word in ("schema 9", ":5:", ":6:", ":7:", "608_0", "MELTED")].index(True)
        for problem in found.problems
    ] == [0, 1, 2, 3, 4, 5]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("elapsed_s", -600), ("gpus", -1), ("cpus", -4), ("suspended_s", -1), ("mem_mb", -1), ("energy_j", -1.0),
        ("start_s", 10**12), ("end_s", -1), ("element", "608_x"), ("element", "608_" + "9" * 5000),
    ],
)  # fmt: skip
def test_a_charge_that_cannot_be_is_left_out(tmp_path: Path, name: str, value: object) -> None:
    """Hours below nothing would give back what others took; the line is named, and the others count."""
    made_run = made(tmp_path)
    told(made_run, sacct_row("608_0") + sacct_row("608_1"))
    first, second = made_run.run.accounting.read_bytes().splitlines()
    line = json.loads(first)
    line["charge"][name] = value
    made_run.run.accounting.write_bytes(json.dumps(line).encode() + b"\n" + second + b"\n")
    found = accounts.read(made_run.run)
    assert [c.element for c in found.charges] == ["608_1"]
    (problem,) = found.problems
    assert f":1: {name}" in problem
    assert "left out" in problem
