"""What a run goes on with."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from made_runs import MadeRun
from test_accounts import sacct_row
from test_failures import FakeSlurm
from test_survey import LIMITS

from condhpc import needed, retries, runs, survey
from condhpc.planned import Plan, Planned
from condhpc.profile import Profile
from condhpc.retries import Choice
from condhpc.retrying import AUTOMATIC, BY_HAND, UNASKED, Asked
from condhpc.slurm_limits import Limits


class Cluster(FakeSlurm):
    """With literal limits."""

    def limits(self, user: object = None, partitions: object = None) -> Limits:
        """As written down."""
        del user, partitions
        return LIMITS


@pytest.fixture
def made(root: Path) -> MadeRun:
    """Three sets with an evaluation each: by its own code, by its memory and by a node the first three failed."""
    found = MadeRun(root)
    sets = [found.condense(seed=seed) for seed in range(3)]
    evaluations = [found.evaluate(key) for key in sets]
    found.write()
    intent = runs.Intent(
        name="sub", backend="slurm", stage="condense", elements=tuple((k,) for k in sets), mem_gb=16, time=1.0
    )
    runs.append(found.run, intent)
    runs.append(found.run, runs.Reply(name="sub", job="608", time=1.5))
    found.ended(sets[0], "failed", "ValueError: no", job="608_0")
    found.ended(sets[1], "failed", "MemoryError", job="608_1")
    found.ended(evaluations[0], "blocked", "no set", job="609_0")
    return found


def _choose(made: MadeRun, asked: Asked) -> Choice:
    slurm = Cluster(sacct=sacct_row("608_2", "NODE_FAIL"))
    order = sorted(made.lines, key=lambda line: line.stage)
    plan = Plan("made", [Planned(p.key, made.tasks[p.key], p.label) for p in order], [], (), provisional=False)
    taken = survey.take(plan, made.layout, slurm, 900.0)
    labels = {line.key: line.label for line in made.lines}
    return retries.choose(made.run, made.layout, slurm, taken, labels, Profile(name="p", backend="slurm"), asked)


def _keys(made: MadeRun, stage: str) -> list[str]:
    return [line.key for line in made.lines if line.stage == stage]


def test_by_itself_all_but_code_goes_on(made: MadeRun) -> None:
    """What waits for code waits too; more memory is written down where the next plan finds it."""
    found = _choose(made, AUTOMATIC)
    sets, evaluations = _keys(made, "condense"), _keys(made, "evaluate")
    assert found.survey.new.keys() == {*sets[1:], *evaluations[1:]}
    assert found.lines == [
        "1 condense sent again: out of memory: again with 24 GB, had 16 GB",
        "1 condense sent again: the cluster failed it: again",
        "1 condense not sent again: failed by its own code: `condhpc retry --class code` tries again",
        "1 tasks wait for these",
    ]
    more = needed.more(made.layout, ((line.key, line.stage, line.label) for line in made.lines))
    assert {key: given.mem_gb for key, given in more.items()} == {sets[1]: 24.0}


def test_by_hand_everything_goes_on(made: MadeRun) -> None:
    """Or one class, with what it needs and what needs it."""
    assert _choose(made, BY_HAND).survey.new.keys() == made.tasks.keys()
    only = _choose(made, Asked(classes=frozenset({"limit"}), by_hand=True))
    assert only.survey.new.keys() == {_keys(made, "condense")[1], _keys(made, "evaluate")[1]}


def test_where_nothing_failed_nothing_is_said(root: Path) -> None:
    """And nothing is written."""
    made = MadeRun(root)
    made.evaluate(made.condense())
    made.write()
    found = _choose(made, AUTOMATIC)
    assert (found.survey.new.keys(), found.lines) == (made.tasks.keys(), [])
    assert not made.layout.needed.exists()


def test_single_tasks_take_along_what_belongs_to_them(made: MadeRun) -> None:
    """An evaluation needs its set, a set is followed by its student; nothing else is sent or judged."""
    sets, evaluations = _keys(made, "condense"), _keys(made, "evaluate")
    pair = {sets[0], evaluations[0]}
    for key in pair:
        found = _choose(made, msgspec.structs.replace(BY_HAND, keys=frozenset({key})))
        assert found.survey.new.keys() == pair
        assert found.lines == ["1 condense sent again: failed by its own code: again"]
    assert not made.layout.needed.exists()


def test_named_tasks_get_what_is_said_of_them(made: MadeRun) -> None:
    """Whether they failed or not."""
    key = _keys(made, "evaluate")[2]
    _choose(made, msgspec.structs.replace(BY_HAND, keys=frozenset({key}), mem_gb=40))
    more = needed.more(made.layout, ((line.key, line.stage, line.label) for line in made.lines))
    assert more[key].mem_gb == 40
    assert _keys(made, "evaluate")[1] not in more


def test_what_was_cancelled_by_hand_waits_for_a_hand(made: MadeRun) -> None:
    """The steward leaves it and its student; `submit --continue` and `retry` send it."""
    sets, evaluations = _keys(made, "condense"), _keys(made, "evaluate")
    runs.append(made.run, runs.Cancel(name="sub", elements=(2,), keys=(sets[2],), time=9.0))
    found = _choose(made, UNASKED)
    assert found.survey.new.keys() == {sets[1], evaluations[1]}
    assert found.lines[-2].startswith("1 cancelled by hand: ")
    assert sets[2] in _choose(made, AUTOMATIC).survey.new
