"""A budget that several runs share, some of them another user's, closed or gone; Slurm is pretended."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from made_owners import as_anybody, close, give_away, needs_root
from made_runs import MadeRun
from test_spending import FakeSlurm, account, bounded, charge

from condhpc import budget, cli_budget, enforcing, reservations, spending
from condhpc.budget import Amounts
from condhpc.errors import InputError, StoreError
from condhpc.estimates import Upper

SAID = "10gpuh"


def sharing(root: Path, name: str) -> MadeRun:
    """Another run with one element, job 700, and 9 GPU-h reserved for it."""
    made = MadeRun(root, name)
    key = made.condense("kmeans")
    made.write().submit([key], job="700")
    reservations.reserve(made.run, "sub-700", [[key]], {key: Amounts(gpu_h=9.0)})
    return made


@pytest.fixture
def ours(root: Path) -> MadeRun:
    """A run of three elements on a shared budget of 10 GPU-h, of which nothing is charged or goes on."""
    made = bounded(root)
    share(made)
    return made


def share(*runs: MadeRun) -> None:
    """Charge them to one budget."""
    for made in runs:
        reservations.join(made.run, made.layout, budget.parse(f"lab:{SAID}"), f"lab:{SAID}", hard=False)


def test_a_deleted_run_does_not_end_enforcement(ours: MadeRun) -> None:
    """The others are stopped all the same, and it is said that its charge is not known."""
    gone = sharing(ours.layout.root, "gone-20260101T000000Z")
    share(gone)
    shutil.rmtree(gone.run.path)
    account(ours, charge("608_0", 36_000))
    said: list[str] = []
    at = enforcing.enforce(ours.run, ours.layout, FakeSlurm(""), said.append)
    assert at is not None
    assert at.charged.gpu_h == pytest.approx(20.0)
    assert ours.run.over_budget.exists()
    assert [line for line in cli_budget.lines(at) if gone.run.name in line and "not known" in line]
    with pytest.raises(InputError):
        enforcing.claim(ours.run, ours.layout, f"lab:{SAID}", Upper({}, 0), FakeSlurm(""), said.append)
    assert [line for line in said if gone.run.name in line and "not known" in line]


def reserved_gpu_h(made: MadeRun, slurm: FakeSlurm | None) -> float:
    """What the budget of a run reserves."""
    found = spending.look(made.run, made.layout, slurm)
    assert found is not None
    return found.reserved.gpu_h


def test_without_slurm_at_hand_all_that_was_sent_is_reserved(ours: MadeRun) -> None:
    """Until the accounting said the last word on an element, or words say that its tasks are over."""
    assert reserved_gpu_h(ours, None) == pytest.approx(6.0)
    assert reserved_gpu_h(ours, FakeSlurm("")) == 0.0, "here squeue tells that it is over"
    running = charge("608_1", 900, state="RUNNING", end_s=None)
    account(ours, charge("608_0", 1800), running)
    assert reserved_gpu_h(ours, None) == pytest.approx((2.0 - 0.5) + 2.0)
    ours.hint("sub-608", 2, ours.lines[4].key, "recorded")
    assert reserved_gpu_h(ours, None) == pytest.approx((2.0 - 0.5) + 1.0)


@needs_root
def test_what_a_colleague_sent_is_reserved(root: Path, tmp_path: Path) -> None:
    """Our squeue does not show it; it counts until their accounting says that it is over."""
    theirs = sharing(root, "theirs-20260101T000000Z")
    share(theirs)
    give_away(root)
    ours = bounded(root)
    share(ours)
    answer = tmp_path / "answer.json"
    assert as_anybody(lambda: reserved_gpu_h(ours, FakeSlurm("")), answer) == pytest.approx(9.0)
    upper = Upper({"0": Amounts(gpu_h=2.0)}, 0)

    def claim() -> str:
        try:
            enforcing.claim(ours.run, ours.layout, f"lab:{SAID}", upper, FakeSlurm(""), print)
        except InputError as error:
            return str(error)
        return ""

    assert "9 reserved" in as_anybody(claim, answer)
    account(theirs, charge("700_0", 60))
    assert as_anybody(lambda: reserved_gpu_h(ours, FakeSlurm("")), answer) == 0.0


@needs_root
@pytest.mark.parametrize("closed", ["accounting", "budget", "submissions", "path"])
def test_what_is_closed_of_a_member_is_refused(root: Path, tmp_path: Path, closed: str) -> None:
    """What a budget was charged must be read whole: nothing counts as 0 because we may not read it."""
    theirs = sharing(root, "theirs-20260101T000000Z")
    share(theirs)
    account(theirs, charge("700_0", 7200))
    give_away(root)
    ours = bounded(root)
    share(ours)

    def charged() -> str:
        try:
            found = spending.look(ours.run, ours.layout, FakeSlurm(""))
        except StoreError as error:
            return str(error)
        return "" if found is None else f"{found.charged.gpu_h:g}"

    assert as_anybody(charged, tmp_path / "answer.json") == "4"
    close(getattr(theirs.run, closed))
    assert "must be read whole" in as_anybody(charged, tmp_path / "answer.json")


@needs_root
def test_a_closed_run_does_not_unbound_the_others(root: Path, tmp_path: Path) -> None:
    """What we were charged ourselves is past the budget: that is enough to stop, and not to let anything in."""
    theirs = sharing(root, "theirs-20260101T000000Z")
    share(theirs)
    give_away(root)
    close(theirs.run.path)
    ours = bounded(root)
    share(ours)

    def enforced() -> str:
        try:
            found = enforcing.enforce(ours.run, ours.layout, FakeSlurm(""), lambda _: None)
        except StoreError as error:
            return str(error)
        return "" if found is None else f"{found.charged.gpu_h:g}"

    account(ours, charge("608_0", 3600))
    assert "must be read whole" in as_anybody(enforced, tmp_path / "answer.json")
    assert not ours.run.over_budget.exists()
    account(ours, charge("608_1", 36_000))
    assert as_anybody(enforced, tmp_path / "answer.json") == "22"
    assert ours.run.over_budget.exists()

    def claimed() -> str:
        try:
            enforcing.claim(ours.run, ours.layout, f"lab:{SAID}", Upper({}, 0), FakeSlurm(""), print)
        except StoreError as error:
            return str(error)
        return ""

    assert "must be read whole" in as_anybody(claimed, tmp_path / "answer.json")
