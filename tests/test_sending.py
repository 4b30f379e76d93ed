"""Budgets and work in flight: what a submit finds live is bounded and reserved like what it sends."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_runs import MadeRun
from made_submits import FakePool, manifest_here, profile_here

from condhpc import budget, enforcing, estimates, lease, live, preparing, reservations, runs, sending, spending, submit
from condhpc.budget import Amounts
from condhpc.errors import InputError
from condhpc.estimates import Upper
from condhpc.layout import Layout, RunFolder
from condhpc.preparing import Prepared
from condhpc.profile import Profile
from condhpc.resources import StageBlock, Stages
from condhpc.sending import Terms


@pytest.fixture
def held(root: Path) -> Profile:
    """An hour and two cores for every task."""
    return profile_here(root, stages=Stages(default=StageBlock(time_min=60, cpus=2)))


@pytest.fixture
def prepared(held: Profile, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Prepared:
    """One set and one student, to workers that do nothing."""
    monkeypatch.setattr(sending.Handover, "to_pool", lambda _: FakePool())
    return preparing.prepare(manifest_here(monkeypatch, tmp_path), held)


def send(prepared: Prepared, said: str) -> tuple[RunFolder, list[str]]:
    """Submit with a budget; the run, and what was said."""
    told: list[str] = []
    run = submit.send(prepared, accept_code=False, say=told.append, progress=told.append, terms=Terms(budget=said))
    return run, told


def alive() -> dict[str, int]:
    """A pool of one living worker: this process."""
    return {str(os.getpid()): lease.process_start(os.getpid()) or 0}


def in_flight(run: RunFolder, prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """All tasks are in a living pool of this run."""
    keys = tuple(item.key for item in prepared.plan.tasks)
    runs.append(run, runs.Intent(name="pool", backend="local", elements=(keys,), time=1.0))
    runs.append(run, runs.Reply(name="pool", host=os.uname().nodename, pids=alive(), time=1.0))
    monkeypatch.setattr("condhpc.survey.live_tasks", lambda *_: {key: live.Live("", run.name) for key in keys})


def wanted(prepared: Prepared) -> Amounts:
    """What all its tasks may take."""
    keys = {item.key for item in prepared.plan.tasks}
    return budget.total(estimates.upper(prepared.plan, keys, prepared.needs, prepared.profile).amounts.values())


@pytest.mark.parametrize("again", ["submit", "continue"])
def test_a_budget_bounds_and_reserves_what_is_in_flight(
    prepared: Prepared, monkeypatch: pytest.MonkeyPatch, again: str
) -> None:
    """Said after the work was sent without one: who submits next under it finds only what is left."""
    layout = Layout(prepared.profile.root)
    run, _ = send(prepared, "")
    assert not run.budget.exists()
    in_flight(run, prepared, monkeypatch)
    if again == "submit":
        found, said = send(prepared, "9cpuh")
    else:
        said = []
        terms = Terms(budget="9cpuh")
        found = submit.resume(
            run, layout, prepared.profile, accept_code=False, say=said.append, progress=print, terms=terms
        )
    assert found.path == run.path
    assert any("its budget is 9 CPU-h from now on" in line for line in said)
    standing = spending.look(run, layout, None)
    assert standing is not None
    assert standing.reserved.cpu_h == pytest.approx(wanted(prepared).cpu_h)
    assert standing.reserved.cpu_h > 0
    left = 9.0 - standing.reserved.cpu_h
    claim = lambda cpu_h: enforcing.claim(run, layout, "", Upper({"k": Amounts(cpu_h=cpu_h)}, 0), None, print)  # noqa: E731
    assert claim(left - 0.01)
    with pytest.raises(InputError, match=r"reserved"):
        claim(left + 0.01)
    send(prepared, "9cpuh")
    assert spending.look(run, layout, None) == standing  # saying it twice reserves nothing twice


def test_a_raised_budget_lets_live_work_go_on(prepared: Prepared, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mark of the old one goes; where the new one is used up as well it stays."""
    run, _ = send(prepared, "")
    in_flight(run, prepared, monkeypatch)
    send(prepared, "9cpuh")
    run.over_budget.write_text("used up")
    monkeypatch.setattr(spending.OwnWork, "amounts", lambda _: Amounts(cpu_h=20.0))
    send(prepared, "19cpuh")
    assert run.over_budget.exists()
    send(prepared, "21cpuh")
    assert not run.over_budget.exists()


def test_work_of_another_run_under_the_same_budget_counts(
    prepared: Prepared, root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it may yet take is not there for ours: refused, and nothing is left of the try; less of it is let in."""
    layout, need = Layout(root), wanted(prepared).cpu_h
    other = MadeRun(root, "other-20260101T000000Z")
    key = other.condense()
    other.write()
    bound = "both:9cpuh"
    reservations.join(other.run, layout, budget.parse(bound), bound, hard=False)
    reservations.reserve(other.run, "pool", [(key,)], {key: Amounts(cpu_h=9.0 - need + 0.01)})
    other.pool(key, pids=alive())
    with pytest.raises(InputError, match=r"Nothing was sent"):
        send(prepared, bound)
    assert layout.run_names() == [other.run.name]
    other.hint("pool", 0, key, "recorded")
    run, _ = send(prepared, bound)
    pot = reservations.shared(layout, "both")
    assert pot is not None
    assert set(pot.runs) == {other.run.name, run.name}
