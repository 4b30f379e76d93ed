"""Upper estimates from a plan's needs, from time limits, and from neither."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_runs import MadeRun

from condhpc import estimates
from condhpc.budget import Amounts
from condhpc.estimates import Upper
from condhpc.planned import Plan, Planned
from condhpc.predictions import Need
from condhpc.profile import Profile
from condhpc.resources import StageBlock, Stages


def _upper(root: Path, wall_s: float | None, **stage: Any) -> tuple[Amounts, Amounts, int]:
    """Of a set that needs so long, of one that the plan does not know, and how many nothing bounds."""
    made = MadeRun(root)
    first, second = made.condense(seed=0), made.condense(seed=1)
    tasks = [Planned(line.key, made.tasks[line.key], line.label) for line in made.lines]
    profile = Profile(name="x", backend="slurm", stages=Stages(default=StageBlock(**stage)))
    plan = Plan("made", tasks, [], (), provisional=False)
    found = estimates.upper(plan, made.tasks.keys(), {first: Need(wall_s)}, profile)
    return found.amounts[first], found.amounts[second], found.unknown


def test_all_that_an_element_holds_is_charged(root: Path) -> None:
    """GPUs of all nodes, and the cores beside them; energy at the most they draw."""
    known, limit, unknown = _upper(root, 7200.0, gpus=2, cpus=4, time_min=60)
    assert (known.gpu_h, known.cpu_h) == (pytest.approx(4.0), pytest.approx(8.0))
    assert known.kwh == pytest.approx(4.0 * 1.0 + 8.0 * 0.02)
    assert (limit.gpu_h, limit.cpu_h) == (2.0, 4.0)
    assert unknown == 0


def test_tasks_that_run_side_by_side_share_their_element(root: Path) -> None:
    """The plan's wall time of one of four lanes is a fourth of the GPU's; a pack divides its time limit."""
    known, limit, _ = _upper(root, 7200.0, gpus=1, pack=5, concurrent=4, time_min=30)
    assert (known.gpu_h, limit.gpu_h) == (pytest.approx(0.5), pytest.approx(0.1))


def test_a_stage_without_gpus_takes_no_gpu_hours(root: Path) -> None:
    """Whatever its hours are."""
    known, _, _ = _upper(root, 3600.0, cpus=2)
    assert (known.gpu_h, known.cpu_h) == (0.0, pytest.approx(2.0))


def test_what_nothing_bounds_is_counted_as_unknown(root: Path) -> None:
    """No prediction and no limit: it is told, not guessed."""
    assert _upper(root, None, gpus=1) == (Amounts(), Amounts(), 2)
    assert Upper({}, 0) == estimates.upper(Plan("x", [], [], (), provisional=False), [], {}, Profile(backend="slurm"))
