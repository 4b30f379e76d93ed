"""What tasks were given beyond their stage, and what others learn from it."""

from __future__ import annotations

from pathlib import Path

from made_runs import MadeRun

from condhpc import needed
from condhpc.needed import Needed
from condhpc.resources import More


def _more(made: MadeRun) -> dict[str, More]:
    return needed.more(made.layout, ((line.key, line.stage, line.label) for line in made.lines))


def _note(made: MadeRun, key: str, more: More) -> None:
    line = next(line for line in made.lines if line.key == key)
    needed.append(
        made.layout, [Needed(key=key, stage=line.stage, label=line.label, more=more, run=made.run.name, time=1.0)]
    )


def test_it_counts_for_the_task_itself_at_once(root: Path) -> None:
    """The largest of all its lines; nothing is known without a file."""
    made = MadeRun(root)
    key = made.condense(seed=0)
    assert _more(made) == {}
    _note(made, key, More(mem_gb=24.0, why="out of memory"))
    _note(made, key, More(time_min=90, why="its time limit was too short"))
    assert _more(made) == {key: More(time_min=90, mem_gb=24.0, why="its time limit was too short")}


def test_others_learn_when_it_has_done(root: Path) -> None:
    """Those that differ in seeds alone; a larger set is another matter."""
    made = MadeRun(root)
    first, second = made.condense(seed=0), made.condense(seed=1)
    made.condense(seed=0, ipc=50)
    _note(made, first, More(mem_gb=24.0, why="out of memory"))
    assert _more(made).keys() == {first}
    made.record(first)
    found = _more(made)
    assert found.keys() == {first, second}
    assert (found[second].mem_gb, found[second].why) == (24.0, f"a task like these needed it in run {made.run.name}")


def test_a_torn_line_does_not_stop_a_plan(root: Path) -> None:
    """Its writer was killed; the next line begins anew."""
    made = MadeRun(root)
    key = made.condense()
    _note(made, key, More(mem_gb=24.0))
    with made.layout.needed.open("ab") as file:
        file.write(b'{"key":"ab')
    _note(made, key, More(mem_gb=36.0))
    assert _more(made)[key].mem_gb == 36.0
