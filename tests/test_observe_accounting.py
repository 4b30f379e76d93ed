"""Watching another user's run, of which only its accounting and its files tell what goes on."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_runs import MadeRun
from test_spending import account, charge

from condhpc import lease
from condhpc.observe import GRACE_S, Observer

LONG_AGO_S = 1000.0


class Watched:
    """A run of two elements, and an observer with a clock of its own who has no queue to ask."""

    def __init__(self, root: Path) -> None:
        self.made = MadeRun(root)
        self.keys = [self.made.condense(seed=seed) for seed in range(2)]
        self.made.write().submit(*([key] for key in self.keys), sent=LONG_AGO_S)
        self.now_s = 1e9
        self.observer = Observer(self.made.run, self.made.layout, None, clock=lambda: self.now_s)

    def states(self, after_s: float = 1.0) -> list[str]:
        """As they are somewhat later."""
        self.now_s += after_s
        return [row.state for row in self.observer.snapshot().rows]


@pytest.fixture
def watched(root: Path) -> Watched:
    """Nothing was said of it yet."""
    return Watched(root)


def test_a_record_may_come_after_the_word_that_its_element_is_over(watched: Watched) -> None:
    """Until then it is awaited for a while, and lost afterwards; the other element is as it was."""
    before = watched.states()
    account(watched.made, charge("608_0", 60))
    assert watched.states() == ["queued", before[1]]
    watched.made.record(watched.keys[0])
    assert watched.states() == ["recorded", before[1]]
    account(watched.made, charge("608_1", 60))
    assert watched.states() == ["recorded", "queued"]
    assert watched.states(GRACE_S + 1.0) == ["recorded", "lost"]


def test_what_was_over_at_the_first_look_is_lost_until_its_record_shows(watched: Watched) -> None:
    """One look must not wait; who goes on watching sees a record that comes late."""
    account(watched.made, charge("608_0", 60), charge("608_1", 60))
    assert watched.states() == ["lost", "lost"]
    watched.made.record(watched.keys[0])
    assert watched.states() == ["recorded", "lost"]


def test_an_element_that_comes_again_is_looked_at_again(watched: Watched) -> None:
    """Its node failed, Slurm requeued it, and it runs."""
    account(watched.made, charge("608_0", 60, state="NODE_FAIL"))
    assert watched.states()[0] == "lost"
    assert watched.states(GRACE_S + 1.0)[0] == "lost"
    again = charge("608_0", 60, state="RUNNING", start_s=1_795_469_400 + 900, end_s=None)
    account(watched.made, again)
    watched.made.lease(watched.keys[0], owner=lease.myself(run=watched.made.run.name))
    assert watched.states()[0] == "running"
