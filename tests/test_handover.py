"""Intent before reply, lost and refused replies, reconciling by name; sbatch itself is pretended."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from made_runs import MadeRun
from msgspec import structs

from condhpc import handover, launch, payload, runs
from condhpc.arrange import After, Array, Ref
from condhpc.energy import Power
from condhpc.errors import SchedulerError
from condhpc.handover import Handover
from condhpc.launch import Job
from condhpc.profile import Footprint, Profile
from condhpc.resources import StageBlock, StageResources, Stages
from condhpc.scheduler import Slurm


class FakeSbatch:
    """In the place of `launch.to_slurm`: notes jobs and what was on disk by then; answers ids or raises."""

    def __init__(self, made: MadeRun, *answers: str | Exception) -> None:
        self.made = made
        self.answers = list(answers)
        self.jobs: list[Job] = []
        self.given: list[object] = []
        self.open_before: list[bool] = []

    def __call__(self, job: Job, _profile: object, given: object, _code: object, ready: Callable[[], None]) -> str:
        """The next answer."""
        self.given.append(given)
        ready()
        held = runs.submissions(self.made.run)[-1]
        self.open_before.append(held.is_open and held.intent.name == job.name and job.payload.is_file())
        self.jobs.append(job)
        answer = self.answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer


class FakeSlurm(Slurm):
    """Knows jobs by name: each question takes the next answer, the last one stays."""

    def __init__(self, *answers: Sequence[str] | Exception) -> None:
        super().__init__(env={})
        self.answers = list(answers)
        self.asked: list[tuple[str, int | None]] = []

    def find_by_name(self, name: str, since_s: int | None = None) -> list[str]:
        """The next answer."""
        self.asked.append((name, since_s))
        answer = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


@pytest.fixture(autouse=True)
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Pauses between questions, noted and not taken."""
    found: list[float] = []
    monkeypatch.setattr(handover.time, "sleep", found.append)
    return found


@pytest.fixture
def made(root: Path) -> MadeRun:
    """Two sets, an evaluation of each."""
    found = MadeRun(root)
    for seed in range(2):
        found.evaluate(found.condense(seed=seed))
    return found.write()


def _arrays(made: MadeRun) -> list[Array]:
    sets, students = ([k for k, t in made.tasks.items() if t.stage == stage] for stage in ("condense", "evaluate"))
    after = tuple(After("afterok", Ref(0, element)) for element in range(2))
    return [
        Array(stage="condense", packs=tuple((key,) for key in sets)),
        Array(stage="evaluate", packs=(tuple(students),), after=after),
    ]


Make = Callable[..., tuple[Handover, FakeSbatch, list[str]]]


@pytest.fixture
def make(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> Make:
    """A handover of all tasks to a pretended sbatch, and what it says."""

    def build(*answers: str | Exception, **fields: Any) -> tuple[Handover, FakeSbatch, list[str]]:
        sbatch, said = FakeSbatch(made, *answers), []
        monkeypatch.setattr(launch, "to_slurm", sbatch)
        profile = Profile(**{"name": "site", "backend": "slurm", "root": made.layout.root, **fields})
        return Handover(made.run, profile, made.tasks, Path("/code"), said.append), sbatch, said

    return build


def test_an_array_gets_what_it_asks_for(made: MadeRun, make: Make) -> None:
    """Not its stage's share: sbatch, the payload and the run's own lines all say the same."""
    work, sbatch, _ = make("608", "609", stages=Stages(condense=StageBlock(time_min=60, mem_gb=16.0)))
    first, second = _arrays(made)
    more = StageResources(time_min=90, mem_gb=24.0, cpus=2)
    work.to_slurm([structs.replace(first, resources=more, why="24 GB: out of memory"), second], FakeSlurm([]))
    assert sbatch.given == [more, StageResources()]
    intent = runs.submissions(made.run)[0].intent
    assert (intent.time_min, intent.mem_gb, intent.why) == (90, 24.0, "24 GB: out of memory")
    header, _ = payload.read(sbatch.jobs[0].payload, 0)
    assert (header.time_min, header.site.threads) == (90, 2)


def test_intent_and_payload_are_there_before_sbatch(made: MadeRun, make: Make) -> None:
    """A host that crashes in the call leaves a name to ask for; the reply follows with the id."""
    work, sbatch, said = make("608", "609")
    work.to_slurm(_arrays(made), FakeSlurm([]))
    assert sbatch.open_before == [True, True]
    held = runs.submissions(made.run)
    assert [(s.intent.stage, s.reply.job if s.reply else None) for s in held] == [
        ("condense", "608"),
        ("evaluate", "609"),
    ]
    assert said == ["submitted 4 tasks in 2 arrays"]


def test_dependants_name_the_elements_that_they_need(made: MadeRun, make: Make) -> None:
    """The ids that sbatch gave stand in the next job's dependency and in its intent."""
    work, sbatch, _ = make("608", "609")
    work.to_slurm(_arrays(made), FakeSlurm([]))
    assert [job.dependency for job in sbatch.jobs] == ["", "afterok:608_0:608_1"]
    assert [job.count for job in sbatch.jobs] == [2, 1]
    assert "608_0" in ",".join(runs.submissions(made.run)[1].intent.after)


def test_the_payload_carries_the_profile(made: MadeRun, make: Make) -> None:
    """What the worker must know of where and how fast is in the header; its elements hold the packs."""
    stages = Stages(default=StageBlock(cpus=3, gpus=2, gpu_type="h100", time_min=30))
    energy = Footprint(gpu_tdp_w={"h100": 700.0}, gpu_tdp_source="data sheet", cpu_w_per_core=4.0, cpu_w_source="site")
    work, sbatch, _ = make("608", "609", stages=stages, signal_s=33, max_requeues=4, energy=energy)
    work.to_slurm(_arrays(made), FakeSlurm([]))
    header, element = payload.read(sbatch.jobs[1].payload, 0)
    assert [key for key, _ in element.keyed()] == list(_arrays(made)[1].packs[0])
    assert (header.name, header.time_min, header.signal_s, header.peers) == (sbatch.jobs[1].name, 30, 33.0, False)
    assert (header.requeue, header.max_requeues) == (True, 4)
    assert (header.site.run, header.site.threads, header.site.gpus) == (made.run.name, 3, 2)
    known = {
        "gpu_tdp_w": {"h100": 700.0},
        "gpu_tdp_source": "data sheet",
        "cpu_w_per_core": 4.0,
        "cpu_w_source": "site",
    }
    assert header.site.power == Power(**known, gpu_type="h100")
    held = runs.submissions(made.run)[1].intent
    assert (held.gpus, held.time_min) == (2, 30)


def test_a_refused_job_is_an_error_and_recorded(made: MadeRun, make: Make) -> None:
    """Nobody knows the name: Slurm's words reach the user and the run; what was taken before stays taken."""
    work, sbatch, said = make("608", SchedulerError("sbatch: invalid partition"))
    slurm = FakeSlurm([])
    with pytest.raises(SchedulerError, match="invalid partition"):
        work.to_slurm(_arrays(made), slurm)
    taken, refused = runs.submissions(made.run)
    assert taken.reply is not None
    assert refused.refusal is not None
    assert refused.refusal.reason == "sbatch: invalid partition"
    assert {name for name, _ in slurm.asked} == {sbatch.jobs[1].name}
    assert said[0] == "submitted 2 tasks in 1 arrays"
    assert said[1] == f"2 tasks kept back; `condhpc submit --continue {made.run.name}` sends them later"


def test_a_lost_reply_is_found_by_name(made: MadeRun, make: Make) -> None:
    """Sbatch failed after the job was made: its id is adopted, nothing is sent twice."""
    work, sbatch, _ = make(SchedulerError("no answer"), "609")
    work.to_slurm(_arrays(made), FakeSlurm([], [], ["608"]))
    assert [s.reply.job for s in runs.submissions(made.run) if s.reply] == ["608", "609"]
    assert sbatch.jobs[1].dependency == "afterok:608_0:608_1"


def test_a_job_is_refused_only_after_three_answers(made: MadeRun, make: Make, pauses: list[float]) -> None:
    """Questions that got no answer are no evidence: the job may be shown a moment later."""
    work, _, _ = make(SchedulerError("no answer"), "609")
    silent = SchedulerError("squeue: no answer")
    work.to_slurm(_arrays(made), FakeSlurm(silent, silent, [], [], ["608"]))
    assert [s.reply.job for s in runs.submissions(made.run) if s.reply] == ["608", "609"]
    assert len(pauses) == 4


def test_an_intent_that_nobody_can_settle_stays_open(made: MadeRun, make: Make) -> None:
    """Without a scheduler neither a reply nor a refusal is written; the error is sbatch's own."""
    work, _, _ = make(SchedulerError("sbatch: no answer"))
    with pytest.raises(SchedulerError, match="sbatch: no answer"):
        work.to_slurm(_arrays(made), FakeSlurm(SchedulerError("squeue: no answer")))
    assert [s.is_open for s in runs.submissions(made.run)] == [True]


def test_reconcile_adopts_what_exists_and_refuses_what_does_not(made: MadeRun) -> None:
    """Intents of all runs are settled by their names; the accounting is asked from before they were written."""
    other = MadeRun(made.layout.root, "other-20260102T000000Z")
    key = next(iter(made.tasks))
    sent = time.time() - 9000
    made.submit([key], name="lost", reply=False, sent=sent)
    made.submit([key], name="known", job="5")
    other.submit([key], name="never", reply=False)
    slurm = FakeSlurm(["77"], [])
    handover.reconcile(made.layout, slurm)
    assert [name for name, _ in slurm.asked] == ["lost", "never"]
    assert slurm.asked[0][1] == int(sent) - 60
    assert [s.reply.job for s in runs.submissions(made.run) if s.reply] == ["77", "5"]
    (never,) = runs.submissions(other.run)
    assert never.refusal is not None
    assert "no job of this name" in never.refusal.reason
    handover.reconcile(made.layout, slurm)
    assert len(slurm.asked) == 2


def test_reconcile_leaves_local_pools_and_silence_alone(made: MadeRun) -> None:
    """A pool has no job; where Slurm does not answer, nothing is settled and nothing may be sent."""
    key = next(iter(made.tasks))
    runs.append(made.run, runs.Intent(name="pool", backend="local", elements=((key,),), time=1.0))
    handover.reconcile(made.layout, FakeSlurm(SchedulerError("not asked")))
    made.submit([key], name="lost", reply=False)
    with pytest.raises(SchedulerError, match="away"):
        handover.reconcile(made.layout, FakeSlurm(SchedulerError("away")))
    assert all(s.is_open for s in runs.submissions(made.run))


def test_names_are_unique_ascii_and_short(made: MadeRun) -> None:
    """What a lost reply is found by never fits two jobs, and no Slurm mangles it."""
    run = made.layout.run("größe," * 60 + "-20260101T000000Z")
    names = {handover._unique_name(run, "evaluate") for _ in range(200)}
    assert len(names) == 200
    assert all(name.isascii() and len(name) <= 255 and "," not in name for name in names)
    assert handover._unique_name(made.run, "pool").startswith(f"condhpc-{made.run.name}-pool-")


def test_a_pool_shares_one_list(made: MadeRun, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """One element for all workers, no more workers than tasks, no patience for inputs; pids are in the reply."""
    work, _, _ = make(workers=9, backend="local")
    started: list[Job] = []

    def to_local(job: Job, *_: object) -> launch.Pool:
        started.append(job)
        return launch.Pool([])

    monkeypatch.setattr(launch, "to_local", to_local)
    work.to_pool()
    assert started[0].count == 4
    header, element = payload.read(started[0].payload, 0)
    assert [key for key, _ in element.keyed()] == list(made.tasks)
    assert (header.peers, header.requeue, header.time_min, header.site.patience_s) == (True, False, 0, 0.0)
    (held,) = runs.submissions(made.run)
    assert held.reply is not None
    assert held.reply.pids == {}
