"""Budgets on disk, and reservations that no two submits overshoot together."""

from __future__ import annotations

import random
from pathlib import Path

import pytest
from children import fork, reap, until

from condhpc import budget, enforcing, reservations, runs, spending
from condhpc.budget import Amounts, Budget
from condhpc.errors import InputError, StoreError
from condhpc.estimates import Upper
from condhpc.layout import Layout, RunFolder
from condhpc.root_lock import root_lock
from condhpc.runs import Intent, Refusal


def _run(root: Path, name: str = "a-20260101T000000Z") -> tuple[RunFolder, Layout]:
    layout = Layout(root)
    run = layout.run(name)
    run.path.mkdir(parents=True)
    run.plan.touch()
    return run, layout


def _join(run: RunFolder, layout: Layout, said: str, *, hard: bool = False) -> None:
    reservations.join(run, layout, budget.parse(said), said, hard=hard)


def _bound(run: RunFolder, layout: Layout) -> Budget | None:
    pot = reservations.pot_of(run, layout)
    assert pot is not None
    return pot.budget


def test_a_run_without_a_budget_has_none(root: Path) -> None:
    """And no file is made for that."""
    run, layout = _run(root)
    assert reservations.pot_of(run, layout) is None
    assert not run.budget.exists()


def test_the_newest_word_counts_and_an_old_one_is_no_news(root: Path) -> None:
    """What was set by hand stays until the manifest says something else than before."""
    run, layout = _run(root)
    _join(run, layout, "10gpuh")
    pot = reservations.pot_of(run, layout)
    assert pot is not None
    reservations.set_limit(pot, Budget(gpu_h=30.0), hard=False)
    _join(run, layout, "10gpuh")
    assert _bound(run, layout) == Budget(gpu_h=30.0)
    _join(run, layout, "20gpuh")
    assert _bound(run, layout) == Budget(gpu_h=20.0)
    reservations.set_limit(pot, None, hard=False)
    assert _bound(run, layout) is None


def test_runs_share_a_budget_by_its_name(root: Path) -> None:
    """One bound, all of its runs; another name is another budget."""
    first, layout = _run(root)
    second, third = _run(root, "b")[0], _run(root, "c")[0]
    for run, said in ((first, "spring:10gpuh"), (second, "spring:10gpuh"), (third, "autumn:10gpuh")):
        _join(run, layout, said)
    pot = reservations.pot_of(second, layout)
    assert pot is not None
    assert pot.runs == (first.name, "b")
    reservations.set_limit(pot, Budget(gpu_h=7.0, name="spring"), hard=True)
    assert _bound(first, layout) == Budget(gpu_h=7.0, name="spring")
    assert _bound(third, layout) == Budget(gpu_h=10.0, name="autumn")


def test_reservations_say_what_each_task_may_take(root: Path) -> None:
    """Equal amounts once; a task of another run, which is waited for only, is not reserved."""
    run, layout = _run(root)
    _join(run, layout, "10gpuh")
    upper = {"a": Amounts(gpu_h=1.0), "b": Amounts(gpu_h=2.0), "c": Amounts(gpu_h=1.0)}
    reservations.reserve(run, "sub", [("a", "b"), ("c", "other")], upper)
    held = reservations.reserved(run)["sub"]
    assert [held.of(0, 0), held.of(0, 1), held.of(1, 0)] == [upper["a"], upper["b"], upper["c"]]
    assert held.of(1, 1) == Amounts()
    assert len(held.amounts) == 3


def test_a_torn_line_is_left_out_and_a_strange_one_is_not(root: Path) -> None:
    """A writer that was killed loses its line; a budget that cannot be understood must not count as none."""
    run, layout = _run(root)
    _join(run, layout, "10gpuh")
    with run.budget.open("ab") as file:
        file.write(b'{"type":"limit","bud')
    assert _bound(run, layout) == Budget(gpu_h=10.0)
    _join(run, layout, "20gpuh")
    assert _bound(run, layout) == Budget(gpu_h=20.0)
    with run.budget.open("ab") as file:
        file.write(b'{"type":"future"}\n')
    with pytest.raises(StoreError, match=r"budget\.jsonl:4: not a line that this condhpc knows"):
        reservations.pot_of(run, layout)


# -- several at a time -------------------------------------------------------------------------------------


def _submit_often(root: Path, seed: int, other: int, bound: str, refused: Path) -> None:
    """What `submit` does of a budget, again and again, each time for a run of its own and at the other's moment."""
    drawn = random.Random(seed)
    layout = Layout(root)
    for number in range(12):
        wanted = Amounts(gpu_h=drawn.uniform(0.1, 4.0))
        refused.with_name(f"{seed}.{number}").touch()
        until(refused.with_name(f"{other}.{number}").exists, "the other process")
        with root_lock(layout):
            try:
                enforcing.claim(None, layout, bound, Upper({"k": wanted}, 0), None, print)
            except InputError:
                with refused.open("a") as file:
                    file.write(f"{wanted.gpu_h!r}\n")
                continue
            run = layout.run(f"r{seed}-{number}")
            run.path.mkdir(parents=True)
            run.plan.touch()
            reservations.join(run, layout, budget.parse(bound), bound, hard=False)
            reservations.reserve(run, run.name, [("k",)], {"k": wanted})
            runs.append(run, Intent(name=run.name, backend="slurm", elements=(("k",),), time=runs.now()))


@pytest.mark.parametrize("seed", range(3))
def test_concurrent_submits_never_overshoot(root: Path, seed: int, tmp_path: Path) -> None:
    """Two processes, one budget: the sum of reservations stays within it, and each refusal was due."""
    bound, refused = "both:20gpuh", tmp_path / "refused"
    first, second = 2 * seed, 2 * seed + 1
    pids = [
        fork(lambda: _submit_often(root, first, second, bound, refused)),
        fork(lambda: _submit_often(root, second, first, bound, refused)),
    ]
    assert [reap(pid) for pid in pids] == [0, 0]
    pot = reservations.shared(Layout(root), "both")
    assert pot is not None
    left = 20.0 - spending.standing(pot, Layout(root), None).reserved.gpu_h
    assert 0.0 <= left < 4.0
    assert refused.exists(), "48 hours were not wanted: the draws are too small to tell anything"
    assert min(map(float, refused.read_text().split())) > left
    assert {name.partition("-")[0] for name in pot.runs} == {f"r{first}", f"r{second}"}


def test_what_was_refused_is_released(root: Path) -> None:
    """A submission that Slurm did not take reserves nothing; one without a reply reserves until it is settled."""
    run, layout = _run(root)
    _join(run, layout, "10gpuh")
    reservations.reserve(run, "sub", [("k",)], {"k": Amounts(gpu_h=6.0)})
    reserved = lambda: spending.look(run, layout, None).reserved.gpu_h  # type: ignore[union-attr]  # noqa: E731
    assert reserved() == 0.0
    runs.append(run, Intent(name="sub", backend="slurm", elements=(("k",),), time=runs.now()))
    assert reserved() == 6.0
    runs.append(run, Refusal(name="sub", reason="no", time=runs.now()))
    assert reserved() == 0.0
