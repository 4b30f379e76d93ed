"""Upper estimates from rows of a prediction, from time limits, and from neither."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from made_runs import MadeRun

from condhpc import estimates
from condhpc.budget import Amounts
from condhpc.estimates import Upper
from condhpc.planned import Plan, Planned
from condhpc.predictions import CostRow
from condhpc.profile import Profile, StageBlock, Stages

ROW = CostRow(
    stage="condense", condenser="random", dataset="digits", tasks=2, device="gpu", gpu="H100", predicted_h=4.0,
    expected_h=4.0, high_h=12.0, unknown=0,
    records=0, recorded_h=0.0, recorded_predicted_h=0.0,
)  # fmt: skip


def _upper(root: Path, *rows: CostRow, **stage: object) -> tuple[MadeRun, Upper]:
    """Of two sets by `random`, and one by `herding`."""
    made = MadeRun(root)
    for name, seed in (("random", 0), ("random", 1), ("herding", 0)):
        made.condense(name, seed=seed)
    tasks = [Planned(line.key, made.tasks[line.key], line.label) for line in made.lines]
    profile = Profile(name="x", backend="slurm", stages=Stages(default=StageBlock(**stage)))  # type: ignore[arg-type]
    plan = Plan("made", tasks, [], (), provisional=False)
    return made, estimates.upper(plan, made.tasks.keys(), rows, profile)


def test_predicted_tasks_have_their_kinds_mean_with_a_margin(root: Path) -> None:
    """The model alone may be wrong by three, records by half; cores are held beside the GPU."""
    made, found = _upper(root, ROW, gpus=1, cpus=4, time_min=60)
    first, second, third = (found.amounts[line.key] for line in made.lines)
    assert first == second
    assert (first.gpu_h, first.cpu_h) == (pytest.approx(6.0), pytest.approx(24.0))
    assert first.kwh == pytest.approx(6.0 * 1.0 + 24.0 * 0.02)
    assert (third.gpu_h, third.cpu_h) == (1.0, 4.0), "its time limit"
    assert found.unknown == 0
    _, calibrated = _upper(root / "b", msgspec.structs.replace(ROW, records=3, high_h=6.0), gpus=1)
    assert max(a.gpu_h for a in calibrated.amounts.values()) == pytest.approx(3.0)


def test_a_pack_shares_its_time_limit(root: Path) -> None:
    """Several GPUs and nodes count each, several tasks of an element divide."""
    _, found = _upper(root, gpus=2, time_min=30, pack=5)
    assert {a.gpu_h for a in found.amounts.values()} == {0.2}


def test_a_stage_without_gpus_takes_no_gpu_hours(root: Path) -> None:
    """Whatever its hours are."""
    _, found = _upper(root, msgspec.structs.replace(ROW, device="cpu"), cpus=2)
    assert max(a.gpu_h for a in found.amounts.values()) == 0.0
    assert max(a.cpu_h for a in found.amounts.values()) == pytest.approx(6.0)


def test_what_nothing_bounds_is_counted_as_unknown(root: Path) -> None:
    """No prediction and no limit: it is told, not guessed."""
    made, found = _upper(root, gpus=1)
    assert found == Upper(dict.fromkeys(made.tasks, Amounts()), 3)
