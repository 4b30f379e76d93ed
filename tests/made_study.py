"""A small study on disk with everything that the views of `condhpc watch` show, at a fixed time."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from made_runs import MadeRun
from made_shots import NOW_S

from condhpc import arrays, findings
from condhpc.arrays import CondensedSet
from condhpc.energy import Energy
from condhpc.findings import Row, Snapshot
from condhpc.outlook import (
    BudgetLine,
    CellResult,
    CostLine,
    Costs,
    FailureGroup,
    Outlook,
    Pace,
    SeedResult,
    SlurmCalls,
)
from condhpc.planned import Label
from condhpc.store import Artefact
from condhpc.task_state import State

CONDENSERS = ("random", "herding", "rded", "minimax")
IPCS = (1, 10, 50)
PROTOCOLS = ("erm", "single_teacher")
_BASE_PCT = {"random": 40.0, "herding": 43.5, "rded": 52.25, "minimax": 49.0}
_GPU_H = {"random": 0.0, "herding": 0.02, "rded": 0.9, "minimax": 7.5}
_SIDE, _CLASSES = 16, 4
LOG = (
    "condense digits minimax ipc 10: 10 classes on n3",
    "step 100 of 400, loss 0.8312",
    "step 200 of 400, loss nan",
    "Traceback (most recent call last):",
    '  File "condhpc/minimax_tuning.py", line 214, in step',
    '    raise StageError(f"loss is {loss}, expected a number")',
    "condhpc.errors.StageError: loss is nan, expected a number",
)


class Study(NamedTuple):
    """The run on disk, and what a look at it finds."""

    made: MadeRun
    shot: Snapshot


def study(root: Path) -> Study:
    """One teacher, sets of four condensers at three ipc, their evaluations, in many states."""
    made = MadeRun(root, name="paper-20260101T000000Z")
    teacher = made.teacher()
    sets = {(c, ipc): made.condense(c, ipc) for c in CONDENSERS for ipc in IPCS}
    evaluations = {
        (c, ipc, protocol, seed): made.evaluate(key, seed, protocol)
        for (c, ipc), key in sets.items()
        for protocol in PROTOCOLS
        for seed in range(3)
    }
    made.write()
    rows = [_row(made, key) for key in [teacher, *sets.values(), *evaluations.values()]]
    _publish_set(made, sets["rded", 10])
    failed = [row.key for row in rows if row.state == "failed"]
    _publish_log(made, failed)
    cells = [_cell(made, c, ipc, p, evaluations) for p in PROTOCOLS for c in CONDENSERS for ipc in IPCS]
    return Study(made, _shot(made, rows, cells, failed))


def state_of(label: Label) -> State:
    """Sets of `minimax` fail at ipc 10 and run at ipc 50; what rests on them waits or is blocked."""
    if label.condenser != "minimax" or label.ipc == 1:
        return "queued" if label.ipc == 50 and label.student_seed == 2 else "recorded"
    if label.ipc == 10:
        return "failed" if label.protocol is None else "blocked"
    return "running" if label.protocol is None else "queued"


def _row(made: MadeRun, key: str) -> Row:
    line = next(line for line in made.lines if line.key == key)
    state = state_of(line.label)
    more: dict[str, Any] = {}
    if state == "running":
        values = {"loss": 0.5218, "images_s": 1240.0, "eta_s": 900.0}
        more = {"step": 250, "total": 400, "values": values, "since_s": NOW_S - 1500.0, "host": "n3"}
    if state == "failed":
        more = {"detail": "StageError: loss is nan, expected a number", "attempts": 2, "host": "n3"}
    if state in {"running", "queued", "failed"}:
        more["element"] = "608_0"
    return Row(key=key, stage=line.stage, label=line.label, state=state, **more)


def _publish_set(made: MadeRun, key: str) -> None:
    """Images whose colours tell class and place."""
    path = made.folder(key).path / "set.0001.h5"
    count = _CLASSES * 10
    across, down = np.meshgrid(np.linspace(0, 255, _SIDE), np.linspace(0, 255, _SIDE))
    images = np.zeros((count, _SIDE, _SIDE, 3), dtype=np.uint8)
    images[..., 0] = across
    images[..., 1] = down
    images[..., 2] = (np.arange(count) * 255 // count)[:, None, None]
    names = ["zero", "one", "two", "three"]
    labels_N = np.repeat(np.arange(_CLASSES), 10)
    arrays.write_condensed_set(path, CondensedSet(images, labels_N, attributes={"class_names": names}))
    data = path.read_bytes()
    held = Artefact(file=path.name, bytes=len(data), sha256=hashlib.sha256(b"made").hexdigest())
    used = Energy("gpu", 0.9 * 3.6e6 * 0.4, "A", "NVML energy counter, 1 GPUs", 3240.0)
    made.record(
        key,
        {"count": count, "set_bytes": int(images.nbytes), "soft_label_bytes": 0},
        artefacts={"set": held},
        cost={"wall_s": 3300.0, "gpu_s": 3240.0, "cpu_s": 4100.0},
        energy=(used,),
        environment={"device": "cuda", "host": "n1"},
    )


def _publish_log(made: MadeRun, failed: list[str]) -> None:
    """Two tries at what failed; the newer one with a bar that draws over itself."""
    for job in ("607", "608"):
        made.submit(failed, job=job)
        folder = made.run.logs / f"sub-{job}"
        folder.mkdir(parents=True)
        text = (
            "\n".join(LOG) if job == "608" else "slurmstepd: error: *** JOB 607 ON n3 CANCELLED DUE TO PREEMPTION ***"
        )
        (folder / "0.log").write_text(f" 10%|=\r 55%|=====\r100%|==========\n{text}\n")


def _cell(
    made: MadeRun, condenser: str, ipc: int, protocol: str, keys: dict[tuple[str, int, str, int], str]
) -> CellResult:
    base = _BASE_PCT[condenser] + 4.5 * IPCS.index(ipc) + (6.0 if protocol == "single_teacher" else 0.0)
    labels = {line.key: line.label for line in made.lines}
    seeds = []
    for seed in range(3):
        key = keys[condenser, ipc, protocol, seed]
        state = state_of(labels[key])
        top1_pct = base + 0.4 * (seed - 1) if state == "recorded" else None
        seeds.append(SeedResult(set_seed=0, student_seed=seed, key=key, state=state, top1_pct=top1_pct))
    values = [seed.top1_pct for seed in seeds if seed.top1_pct is not None]
    mean = sum(values) / len(values) if values else None
    over = None if mean is None else mean - (base - _BASE_PCT[condenser] + _BASE_PCT["random"])
    made_sets = condenser != "minimax" or ipc == 1
    measures = {"coverage": 0.2 + 0.1 * IPCS.index(ipc), "gpu_h": _GPU_H[condenser] * ipc, "cpu_h": 0.1 * ipc}
    return CellResult(
        dataset="digits",
        condenser=condenser,
        ipc=ipc,
        protocol=protocol,
        student="convnet3",
        planned=3,
        n=len(values),
        pending=sum(seed.state == "queued" for seed in seeds),
        failed=sum(seed.state == "blocked" for seed in seeds),
        mean_pct=mean,
        sd_pct=0.4 if len(values) == 3 else 0.28 if len(values) == 2 else None,
        over_random_pct=over,
        is_best=condenser == "rded",
        seeds=seeds,
        measures=measures if made_sets else {},
    )


def _shot(made: MadeRun, rows: list[Row], cells: list[CellResult], failed: list[str]) -> Snapshot:
    counts = findings.counted(rows)
    pace = [
        Pace(
            stage=stage,
            tasks=sum(of_stage.values()),
            recorded=of_stage["recorded"],
            progress=of_stage["recorded"] / sum(of_stage.values()),
            per_h=12.0 if stage == "evaluate" else None,
            left_s=5400.0 if stage == "evaluate" else None,
        )
        for stage, of_stage in counts.items()
    ]
    return Snapshot(
        run=made.run.name,
        state=findings.summary(rows),
        taken_s=NOW_S,
        queue_s=NOW_S,
        queue_error="",
        counts=counts,
        rows=rows,
        problems=[
            f"1 condense failed: StageError: loss is nan, expected a number (task {failed[0][:12]})",
            "6 evaluate blocked: an input failed",
            f"`condhpc logs {made.run.name} --failed` shows more",
        ],
        outlook=Outlook(
            pace=pace,
            left_s=5400.0,
            calls=SlurmCalls(squeue_last_h=58, sacct_last_h=12, next_s=NOW_S + 20.0),
            costs=_costs(),
            failures=_failures(failed),
            cells=cells,
        ),
    )


def _costs() -> Costs:
    lines = [
        CostLine(stage="teacher", condenser="", gpu_type="h100", tasks=1, gpu_h=0.8, cpu_h=6.1, kwh=0.41, grade="A"),
        CostLine(stage="condense", condenser="herding", gpu_type="", tasks=3, gpu_h=0.0, cpu_h=0.4),
        CostLine(
            stage="condense", condenser="rded", gpu_type="h100", tasks=3, gpu_h=2.7, cpu_h=5.2, kwh=1.2, grade="A"
        ),
        CostLine(
            stage="condense", condenser="minimax", gpu_type="h100", tasks=1, gpu_h=7.5, cpu_h=9.0, kwh=3.6, grade="B"
        ),
        CostLine(stage="evaluate", condenser="", gpu_type="a100", tasks=46, gpu_h=4.2, cpu_h=12.9, kwh=1.4, grade="C"),
    ]
    return Costs(
        source="sacct",
        lines=lines,
        gpu_h={"h100": 13.6, "a100": 4.2},
        cpu_h=33.6,
        kwh=6.61,
        grade="C",
        planned_gpu_h={"h100": (18.0, 27.0), "a100": (5.0, 7.0)},
        planned_cpu_h=(40.0, 60.0),
        budget=[BudgetLine(unit="gpuh", limit=40.0, charged=17.8, reserved=9.0)],
        waste_gpu_h={"failed": 1.9, "preempted": 0.7},
        waste_cpu_h={"failed": 2.2, "preempted": 0.9},
    )


def _failures(failed: list[str]) -> list[FailureGroup]:
    return [
        FailureGroup(
            signature="StageError: loss is N, expected a number",
            example="StageError: loss is nan, expected a number",
            state="failed",
            stages=["condense"],
            slurm_state="",
            cause="code",
            nodes=["n3"],
            keys=failed,
            gpu_h_lost=1.9,
            cpu_h_lost=2.2,
        )
    ]
