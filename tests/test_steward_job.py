"""The steward as a job: one waits, each start is claimed once, nodes that cannot submit leave word."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from children import fork, reap
from made_runs import FakeQueue, MadeRun, squeue_row

from condhpc import launch, steward_job
from condhpc.errors import SchedulerError
from condhpc.profile import Profile, StewardBlock

pytestmark = pytest.mark.usefixtures("outside_slurm")


class Sent:
    """In the place of `launch.alone`."""

    def __init__(self, error: SchedulerError | None = None) -> None:
        self.calls: list[tuple[launch.Job, tuple[str, ...], int]] = []
        self.error = error

    def __call__(self, job: Any, words: Any, _profile: Any, resources: Any, _code: Any, begin_s: int) -> str:
        """Note, or fail."""
        assert (resources.cpus, resources.gpus, resources.partition) == (1, 0, "cpu")
        if self.error is not None:
            raise self.error
        self.calls.append((job, words, begin_s))
        return "77"


@pytest.fixture
def made(root: Path) -> MadeRun:
    """A run without tasks."""
    return MadeRun(root).write()


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> Sent:
    """What was sent."""
    found = Sent()
    monkeypatch.setattr(launch, "alone", found)
    return found


def held(**fields: Any) -> Profile:
    """A profile with a steward on the partition `cpu`."""
    return Profile(name="x", backend="slurm", steward=StewardBlock(**{"partition": "cpu", **fields}))


def ensure(made: MadeRun, *rows: str, **fields: Any) -> str:
    """See to it that one waits."""
    return steward_job.ensure(made.run, made.layout, held(**fields), Path("/code"), FakeQueue(*rows))


def waiting(made: MadeRun, ids: str = "70", state: str = "PENDING") -> str:
    """A steward in squeue."""
    return squeue_row(ids, state, name=steward_job.name_of(made.run))


def test_a_start_is_claimed_and_sent(made: MadeRun, sent: Sent) -> None:
    """By the run's name, one at a time, after the interval."""
    assert ensure(made, interval_min=0.5) == ""
    ((job, words, begin_s),) = sent.calls
    assert (job.name, job.dependency, begin_s) == (f"condhpc-{made.run.name}-steward", "singleton", 30)
    assert words == ("-m", "condhpc.steward", str(made.layout.root), made.run.name)
    assert [path.name for path in made.run.steward(1).parent.iterdir()] == ["0001.json"]


def test_one_that_waits_is_enough(made: MadeRun, sent: Sent) -> None:
    """Nothing is claimed or sent; one that ended does not count."""
    assert ensure(made, waiting(made)) == ""
    assert sent.calls == []
    assert ensure(made, waiting(made, state="COMPLETED")) == ""
    assert len(sent.calls) == 1


def test_the_one_that_asks_is_no_other(made: MadeRun, sent: Sent, monkeypatch: pytest.MonkeyPatch) -> None:
    """From within its job it sends the next start, and spares itself when it cancels."""
    monkeypatch.setenv("SLURM_JOB_ID", "70")
    assert ensure(made, waiting(made, "70", "RUNNING")) == ""
    assert len(sent.calls) == 1
    queue = FakeQueue(waiting(made, "70", "RUNNING"), waiting(made, "71"))
    cancelled: list[str] = []
    monkeypatch.setattr(queue, "cancel", cancelled.extend)
    steward_job.stop(made.run, queue)
    assert cancelled == ["71"]


def test_it_ends_after_so_many_starts(made: MadeRun, sent: Sent) -> None:
    """Whatever is left: a runaway has a bound."""
    for _ in range(3):
        ensure(made, max_starts=3)
    assert "started 3 times already" in ensure(made, max_starts=3)
    assert len(sent.calls) == 3


def test_several_at_a_time_claim_each_start_once(made: MadeRun) -> None:
    """Of processes that claim the same start one has it."""
    pids = [fork(lambda: int(steward_job._claim(made.run, 1))) for _ in range(6)]
    assert sum(reap(pid) for pid in pids) == 1


@pytest.mark.parametrize(
    ("reason", "inside", "noted"),
    [
        ("Batch job submission failed: Access/permission denied", True, True),
        ("Batch job submission failed: Access/permission denied", False, False),
        ("QOSMaxSubmitJobPerUserLimit", True, False),
    ],
)
def test_a_node_that_cannot_submit_leaves_word(
    made: MadeRun, sent: Sent, monkeypatch: pytest.MonkeyPatch, reason: str, *, inside: bool, noted: bool
) -> None:
    """Not for a limit that is full for now, and not for a login node's trouble."""
    bin_ = made.layout.root / "bin"
    bin_.mkdir()
    (bin_ / "sbatch").touch(0o755)
    monkeypatch.setenv("PATH", f"{bin_}{os.pathsep}/usr/bin")
    if inside:
        monkeypatch.setenv("SLURM_JOB_ID", "70")
    sent.error = SchedulerError(reason)
    with pytest.raises(SchedulerError):
        ensure(made)
    assert made.layout.no_steward.exists() == noted
    sent.error = None
    assert (reason in ensure(made)) == noted


def test_who_acts_is_said_in_words(made: MadeRun) -> None:
    """The job, with its pace and place; or why there is none, and what does instead."""
    assert steward_job.in_words(made.layout, held()) == "a job of one core goes on with a run every 30 min, in cpu"
    made.layout.no_steward.write_bytes(b'{"host":"n7","reason":"no sbatch","time":1.0}')
    assert "none: n7 could not submit: no sbatch" in steward_job.in_words(made.layout, held())
    assert "switches it off; `condhpc watch`" in steward_job.in_words(made.layout, held(enabled=False))


def test_a_profile_does_without(made: MadeRun, sent: Sent) -> None:
    """No squeue and no sbatch."""
    queue = FakeQueue()
    why = steward_job.ensure(made.run, made.layout, held(enabled=False), Path("/code"), queue)
    assert (why, queue.calls, sent.calls) == ("the profile switches it off", 0, [])
