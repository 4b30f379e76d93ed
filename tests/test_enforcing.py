"""What a budget lets in, and what happens when it is used up or raised; Slurm is pretended."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

import pytest
from made_runs import MadeRun
from test_spending import FakeSlurm, account, at, bounded, charge, shown

from condhpc import budget, enforcing, reservations, runs, spending
from condhpc.budget import Amounts
from condhpc.errors import InputError, SchedulerError
from condhpc.estimates import Upper


@pytest.fixture
def made(root: Path) -> MadeRun:
    """A run with a budget of 10 GPU-h."""
    return bounded(root)


def test_used_up_means_marked_and_held(made: MadeRun) -> None:
    """The marker says why; running work is left alone; a second look does nothing again."""
    account(made, charge("608_0", 18_000))
    before = shown("608_1", "RUNNING", "10:00") + shown("608_[2]", "PENDING", reason="JobArrayTaskLimit")
    after = shown("608_1", "RUNNING", "10:00", priority=0) + shown("608_[2]", "PENDING", priority=0)
    slurm, said = FakeSlurm(before, after), list[str]()
    found = enforcing.enforce(made.run, made.layout, slurm, said.append)
    assert found is not None
    assert found.is_used_up
    assert slurm.told == [("hold", ["608"])]
    assert runs.over_budget(made.run) == "budget used up: 10.3 of 10 GPU-h"
    assert len(said) == 1
    enforcing.enforce(made.run, made.layout, slurm, said.append)
    assert (len(slurm.told), len(said)) == (1, 1)


def test_what_cannot_be_held_is_cancelled(made: MadeRun) -> None:
    """And that is said."""
    account(made, charge("608_0", 18_000))
    slurm, said = FakeSlurm(shown("608_[1-2]", "PENDING"), refuses=True), list[str]()
    enforcing.enforce(made.run, made.layout, slurm, said.append)
    assert slurm.told == [("cancel_pending", ["608_1", "608_2"])]
    assert any("2 waiting elements could not be held: cancelled" in text for text in said)


def test_what_was_sent_without_a_budget_is_set_aside_for(root: Path) -> None:
    """A budget that comes later reserves the time limits of elements in flight, once; without a limit it says so."""
    made = bounded(root)
    made.run.budget.unlink()
    keys = [made.condense(seed=seed) for seed in range(20, 24)]
    for name, job, time_min, packs in (
        ("late", "700", 90, (tuple(keys[:2]), (keys[2],))),
        ("open", "701", 0, ((keys[3],),)),
    ):
        intent = runs.Intent(
            name=name, backend="slurm", stage="condense", elements=packs, gpus=2, time_min=time_min, time=1.0
        )
        runs.append(made.run, intent)
        runs.append(made.run, runs.Reply(name=name, job=job, time=1.0))
    said: list[str] = []
    slurm = FakeSlurm(shown("700_0", "RUNNING", "30:00") + shown("700_[1]", "PENDING") + shown("701_[0]", "PENDING"))
    enforcing.change(made.run, made.layout, slurm, "50gpuh", said.append, hard=False)
    found = spending.look(made.run, made.layout, slurm)
    assert found is not None
    assert (found.reserved.gpu_h, found.reserved.cpu_h) == (
        pytest.approx(2 * (1.0 + 1.5)),
        pytest.approx(4 * (1.0 + 1.5)),
    )
    assert any("4 elements were sent without a time limit" in line for line in said)
    enforcing.change(made.run, made.layout, slurm, "60gpuh", said.append, hard=False)
    assert spending.look(made.run, made.layout, slurm).reserved == found.reserved  # type: ignore[union-attr]


def test_hard_ends_what_runs(made: MadeRun) -> None:
    """Only where that was said."""
    pot = reservations.pot_of(made.run, made.layout)
    assert pot is not None
    reservations.set_limit(pot, budget.parse("1gpuh"), hard=True)
    account(made)
    slurm = FakeSlurm(shown("608_0", "RUNNING", "45:00") + shown("608_1", "COMPLETED", "45:00"))
    enforcing.enforce(made.run, made.layout, slurm, print)
    assert slurm.told == [("cancel", ["608_0"])]


def test_below_the_budget_nothing_is_touched(made: MadeRun) -> None:
    """No marker, no scontrol."""
    account(made, charge("608_0", 3600))
    slurm = FakeSlurm(shown("608_[1-2]", "PENDING"))
    found = enforcing.enforce(made.run, made.layout, slurm, print)
    assert found is not None
    assert not found.is_used_up
    assert (slurm.told, made.run.over_budget.exists()) == ([], False)


def test_another_users_run_is_theirs_to_stop(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """Looking at a colleague's run changes nothing of it."""
    account(made, charge("608_0", 18_000))
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    assert enforcing.enforce(made.run, made.layout, FakeSlurm(""), print) is None
    assert not made.run.over_budget.exists()


def test_raised_it_goes_on(made: MadeRun) -> None:
    """The marker goes before the release, also of what runs and was held with its array; below the charge it stays."""
    account(made, charge("608_0", 18_000))
    held = shown("608_1", "RUNNING", "0:10", priority=0) + shown("608_[2]", "PENDING", priority=0)
    slurm = FakeSlurm(held)
    enforcing.enforce(made.run, made.layout, slurm, print)
    enforcing.change(made.run, made.layout, slurm, "10.001gpuh", print, hard=False)
    assert made.run.over_budget.exists()
    enforcing.change(made.run, made.layout, slurm, "30gpuh", print, hard=False)
    assert not made.run.over_budget.exists()
    assert slurm.told == [("release", ["608"])]
    enforcing.change(made.run, made.layout, slurm, None, print, hard=False)
    assert at(made, held).pot.budget is None
    with pytest.raises(InputError, match="leave the name out"):
        enforcing.change(made.run, made.layout, slurm, "other:3gpuh", print, hard=False)


def test_a_failed_release_leaves_the_marker(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """So that the next try releases what is held."""
    account(made, charge("608_0", 18_000))
    slurm = FakeSlurm(shown("608_[2]", "PENDING", priority=0))
    enforcing.enforce(made.run, made.layout, slurm, print)
    why = runs.over_budget(made.run)

    def refused(jobs: Iterable[str]) -> None:
        raise SchedulerError(f"no {jobs}")

    monkeypatch.setattr(slurm, "release", refused)
    with pytest.raises(SchedulerError):
        enforcing.change(made.run, made.layout, slurm, "30gpuh", print, hard=False)
    assert runs.over_budget(made.run) == why


def test_runs_of_one_name_are_charged_and_stopped_together(made: MadeRun, root: Path) -> None:
    """What one of them used is gone for the other."""
    other = MadeRun(root, "other-20260102T000000Z").write()
    for one in (made, other):
        reservations.join(one.run, one.layout, budget.parse("both:8gpuh"), "both:8gpuh", hard=False)
    account(made, charge("608_0", 18_000))
    found = enforcing.enforce(other.run, other.layout, FakeSlurm(""), print)
    assert found is not None
    assert found.by_run == {made.run.name: found.charged, other.run.name: Amounts()}
    assert made.run.over_budget.exists()
    assert other.run.over_budget.exists()


def test_a_submission_must_fit_into_what_is_left(made: MadeRun) -> None:
    """Charged and reserved hours of the run count; without a budget nothing bounds it; old words are no news."""
    account(made, charge("608_0", 3600))
    slurm = FakeSlurm(shown("608_[1-2]", "PENDING"))

    def claim(gpu_h: float, said: str = "") -> bool:
        return enforcing.claim(made.run, made.layout, said, Upper({"k": Amounts(gpu_h=gpu_h)}, 0), slurm, print)

    assert claim(4.0)
    with pytest.raises(InputError, match=r"up to 4\.1 GPU-h wanted, 4 left of 10 \(2 charged, 4 reserved"):
        claim(4.1)
    assert claim(90.0, "100gpuh")
    pot = reservations.pot_of(made.run, made.layout)
    assert pot is not None
    reservations.set_limit(pot, budget.parse("50gpuh"), hard=False)
    assert claim(40.0, "10gpuh")
    assert not enforcing.claim(None, made.layout, "", Upper({"k": Amounts(gpu_h=1e9)}, 0), slurm, print)


def test_tasks_of_unknown_cost_are_told(made: MadeRun) -> None:
    """They are let through while something is left."""
    said: list[str] = []
    assert enforcing.claim(None, made.layout, "1gpuh", Upper({"k": Amounts()}, 1), None, said.append)
    assert "1 tasks may take is not known" in said[0]
