"""What a budget was charged and what it reserves; Slurm is pretended."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import pytest
from made_runs import MadeRun, squeue_row

from condhpc import accounts, budget, enforcing, profile, reservations, runs, spending
from condhpc.budget import Amounts
from condhpc.charges import Charge
from condhpc.energy import Energy
from condhpc.errors import SchedulerError
from condhpc.profile import Profile
from condhpc.resources import StageBlock, Stages
from condhpc.scheduler import Slurm
from condhpc.slurm_text import SEP, AcctRow, QueueRow, parse_squeue

START = 1_795_469_400


def shown(ids: str, state: str, elapsed: str = "0:00", priority: int = 1, reason: str = "None") -> str:
    """One line of squeue."""
    fields = squeue_row(ids, state, reason).rstrip("\n").split(SEP)
    fields[1] = ids.replace("_", "9")
    fields[10] = "N/A" if state == "PENDING" else str(START)
    fields[12], fields[18] = elapsed, str(priority)
    return SEP.join(fields) + "\n"


class FakeSlurm(Slurm):
    """Answers squeue with recorded text, one after the other; notes what it was told to do."""

    def __init__(self, *texts: str, refuses: bool = False) -> None:
        super().__init__(env={})
        self.texts = list(texts)
        self.refuses = refuses
        self.told: list[tuple[str, list[str]]] = []

    def queue(self, jobs: object = None, names: object = None) -> list[QueueRow]:
        """The next text; the last one stays."""
        del jobs, names
        return parse_squeue(self.texts.pop(0) if len(self.texts) > 1 else self.texts[0])

    def history(self, parents: object, since_s: int) -> list[AcctRow] | None:
        """Nobody keeps accounts here; a machine's own sacct might know jobs of these numbers."""
        del parents, since_s
        return None

    def hold(self, jobs: Iterable[str]) -> None:
        """Note, or refuse."""
        if self.refuses:
            raise SchedulerError("Access/permission denied")
        self.told.append(("hold", sorted(jobs)))

    def release(self, jobs: Iterable[str]) -> None:
        """Note."""
        self.told.append(("release", sorted(jobs)))

    def cancel(self, ids: Iterable[str]) -> None:
        """Note."""
        self.told.append(("cancel", sorted(ids)))

    def cancel_pending(self, ids: Iterable[str]) -> None:
        """Note."""
        self.told.append(("cancel_pending", sorted(ids)))


def charge(element: str, elapsed_s: int, **fields: object) -> Charge:
    """An attempt with two GPUs and four cores."""
    given: dict[str, object] = {
        "element": element, "raw_id": element.replace("_", "9"), "restart": 0, "submission": "sub-608",
        "state": "COMPLETED", "submit_s": START, "eligible_s": START, "start_s": START, "end_s": START + elapsed_s,
        "elapsed_s": elapsed_s, "suspended_s": 0, "cpus": 4, "mem_mb": None, "nodes": 1, "gpus": 2, "gpu_type": "h100",
        "energy_j": None, "source": "sacct",
    }  # fmt: skip
    return Charge(**{**given, **fields})  # type: ignore[arg-type]


def account(made: MadeRun, *charges: Charge) -> None:
    """The accounting has just said this."""
    made.run.accounting_asked.touch()
    accounts._append(made.run, charges)


def bounded(root: Path) -> MadeRun:
    """Three elements of two sets each, two GPUs and four cores an element, 1 GPU-h reserved for each task."""
    found = MadeRun(root)
    keys = [found.condense(seed=seed) for seed in range(6)]
    found.write()
    stages = Stages(default=StageBlock(gpus=2, cpus=4, pack=2))
    found.run.profile.write_bytes(profile.encode(Profile(name="x", backend="slurm", root=root, stages=stages)))
    packs = (tuple(keys[:2]), tuple(keys[2:4]), tuple(keys[4:]))
    reservations.join(found.run, found.layout, budget.parse("10gpuh"), "10gpuh", hard=False)
    reservations.reserve(found.run, "sub-608", packs, dict.fromkeys(keys, Amounts(gpu_h=1.0, cpu_h=2.0)))
    intent = runs.Intent(name="sub-608", backend="slurm", stage="condense", elements=packs, gpus=2, time=1.0)
    runs.append(found.run, intent)
    runs.append(found.run, runs.Reply(name="sub-608", job="608", time=1.0))
    return found


@pytest.fixture
def made(root: Path) -> MadeRun:
    """A run with a budget of 10 GPU-h."""
    return bounded(root)


def at(made: MadeRun, *rows: str) -> spending.Standing:
    """Where the budget stands."""
    found = spending.look(made.run, made.layout, FakeSlurm("".join(rows)))
    assert found is not None
    return found


def test_a_run_without_a_budget_is_not_looked_at(root: Path) -> None:
    """No squeue, no sacct."""
    made = MadeRun(root).write()
    slurm = FakeSlurm("not squeue")
    assert spending.look(made.run, made.layout, slurm) is None
    assert enforcing.enforce(made.run, made.layout, slurm, print) is None


def test_every_start_is_charged_once(made: MadeRun) -> None:
    """Requeued starts each; of a start that both know, the longer time; what waits has cost nothing."""
    account(
        made,
        charge("608_0", 1800, state="REQUEUED", start_s=START - 9000),
        charge("608_0", 600, state="RUNNING", end_s=None),
    )
    found = at(
        made, shown("608_0", "RUNNING", "30:00"), shown("608_1", "RUNNING", "15:00"), shown("608_[2]", "PENDING")
    )
    assert found.charged.gpu_h == pytest.approx(2 * (1800 + 1800 + 900) / 3600)
    assert found.charged.cpu_h == pytest.approx(4 * (1800 + 1800 + 900) / 3600)
    assert found.by_run == {made.run.name: found.charged}


def test_own_attempts_do_not_count_beside_squeue(made: MadeRun) -> None:
    """Without slurmdbd diaries tell of past starts, squeue of the present one, imports included."""
    own = {"source": "attempts", "state": "RUNNING"}
    past = charge("608_0", 100, raw_id="608_0.0", start_s=START - 500, **own)
    account(made, past, charge("608_0", 1700, raw_id="608_0.1", start_s=START + 9, **own))
    assert at(made, shown("608_0", "RUNNING", "30:00")).charged.gpu_h == pytest.approx(2 * (100 + 1800) / 3600)


def test_reservations_are_released(made: MadeRun) -> None:
    """By a record, by what the element was charged already, and when it left the queue."""
    waiting = [shown("608_[0-2]", "PENDING")]
    account(made)
    assert at(made, *waiting).reserved.gpu_h == pytest.approx(6.0)
    gone = [shown("608_0", "RUNNING", "15:00"), shown("608_1", "COMPLETED", "10:00"), shown("608_[2]", "PENDING")]
    assert at(made, *gone).reserved.gpu_h == pytest.approx((2.0 - 0.5) + 0.0 + 2.0)
    made.hint("sub-608", 0, made.lines[0].key, "recorded")
    made.hint("sub-608", 2, made.lines[4].key, "stopped")
    assert at(made, *gone).reserved.gpu_h == pytest.approx(1.0 + 0.0 + 2.0), "a stopped task goes on"
    long = [shown("608_0", "RUNNING", "5:00:00")]
    assert at(made, *long).reserved.gpu_h == 0.0, "it is past its estimate: the charge tells"


def test_local_work_is_charged_by_its_diaries(root: Path) -> None:
    """Records of this run alone, in GPU and CPU time; energy as measured, or else the most it can have been."""
    made = MadeRun(root)
    keys = [made.condense(seed=seed) for seed in range(3)]
    made.write()
    made.pool(*keys, pids={})
    reservations.join(made.run, made.layout, budget.parse("1kwh"), "1kwh", hard=False)
    own = {"run": made.run.name, "device": "cpu", "host": "n1"}
    cost = {"wall_s": 7200.0, "cpu_s": 3600.0, "gpu_s": 0.0}
    energy = (Energy("cpu", 1.8e6, "B", "RAPL", 7200.0),)
    made.record(keys[0], environment=own, cost=cost, energy=energy)
    made.record(keys[1], environment=own, cost=cost | {"gpu_s": 1800.0})
    made.record(keys[2], environment=own | {"run": "another"}, cost=cost)
    found = spending.look(made.run, made.layout, None)
    assert found is not None
    assert (found.charged.gpu_h, found.charged.cpu_h) == (pytest.approx(0.5), pytest.approx(2.0))
    assert found.charged.kwh == pytest.approx(0.5 + (0.5 * 1000 + 1.0 * 20) / 1000)
    made.record(keys[2], environment=own, cost=cost | {"cpu_s": -7200.0})
    assert spending.look(made.run, made.layout, None) == found  # a cost below 0 gives nothing back
