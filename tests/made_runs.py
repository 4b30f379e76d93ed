"""Run folders with real tasks, leases and records, written by the functions that the program uses."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from condhpc import keys, lease, runs, store, study
from condhpc.files import publish
from condhpc.findings import Row
from condhpc.layout import Layout, RunFolder, TaskFolder
from condhpc.lease import Lease, Outcome, Owner
from condhpc.planned import Label
from condhpc.runs import Intent, PlanLine, Reply
from condhpc.scheduler import Slurm
from condhpc.slurm_text import QUEUE_FORMAT, SEP, QueueRow, parse_squeue
from condhpc.spec import (
    AnalyzeSpec,
    Augment,
    CondenseSpec,
    DatasetSpec,
    EmbedSpec,
    EvaluateSpec,
    Optimizer,
    Protocol,
    Spec,
    Stage,
    Task,
    TeacherSpec,
    Training,
)
from condhpc.study import Study

DATASET = DatasetSpec(
    name="digits", loader="digits", index="0" * 32, classes=10, resolution=8, mean=(0.3,) * 3, std=(0.4,) * 3
)
TRAINING = Training(
    steps=5,
    batch=10,
    bn_group=10,
    optimizer=Optimizer(name="sgd", lr=0.1, weight_decay=0.0),
    augment=Augment(crop_scale_min=1.0, flip=False, cutmix_alpha=0.0),
    precision="fp32",
)


def protocol(name: str) -> Protocol:
    """A protocol of that name."""
    return Protocol(
        name=name,
        follows="condhpc",
        labels="hard",
        loss="ce",
        optimizer=TRAINING.optimizer,
        cutmix_alpha=0.0,
        test="last",
    )


class FakeQueue(Slurm):
    """A Slurm whose squeue prints recorded text; an exception in its place is raised."""

    def __init__(self, *rows: str, error: Exception | None = None) -> None:
        super().__init__(env={})
        self.text = "".join(rows)
        self.error = error
        self.calls = 0

    def queue(self, jobs: Any = None, names: Any = None) -> list[QueueRow]:
        """All rows, as squeue without filter."""
        del jobs, names
        self.calls += 1
        if self.error is not None:
            raise self.error
        return parse_squeue(self.text)


def squeue_row(ids: str, state: str, reason: str = "None", name: str = "job", end_s: int | str = "N/A") -> str:
    """One line of squeue in the format that is asked for."""
    parent = ids.partition("_")[0]
    fields = [ids, parent, parent, "0", state, reason, name, "main", "normal", "1795469333", "N/A", str(end_s)]
    fields += ["0:00", "10:00", "1", "n1", "N/A", "(null)", "1"]
    assert len(fields) == QUEUE_FORMAT.count(SEP) + 1
    return SEP.join(fields) + "\n"


class MadeRun:
    """A root with one run; tasks are added, then `write` makes the plan."""

    def __init__(self, root: Path, name: str = "made-20260101T000000Z") -> None:
        self.layout = Layout(root)
        self.run: RunFolder = self.layout.run(name)
        self.run.path.mkdir(parents=True)
        self.lines: list[PlanLine] = []
        self.tasks: dict[str, Task] = {}

    def add(self, stage: Stage, spec: Spec, label: Label, inputs: dict[str, str] | None = None, **line: Any) -> str:
        """Plan a task; its key."""
        task = Task(stage=stage, spec=spec, inputs=inputs or {}, version=(1, 1))
        key = keys.key(task)
        self.tasks[key] = task
        self.lines.append(PlanLine(key=key, stage=stage, inputs=inputs or {}, label=label, **line))
        return key

    def teacher(self, role: str = "single", seed: int = 0, **line: Any) -> str:
        """A teacher."""
        spec = TeacherSpec(dataset=DATASET, arch="convnet3", seed=seed, split="train", training=TRAINING, weights=None)
        return self.add("teacher", spec, Label(dataset="digits", role=role), **line)

    def embed(self, teacher: str, role: str = "single") -> str:
        """Embeddings by a teacher."""
        spec = EmbedSpec(
            dataset=DATASET, split="train", encoder="teacher", network=None, batch=10, precision="fp32", rows=None
        )
        return self.add("embed", spec, Label(dataset="digits", role=f"teacher:{role}"), {"encoder": teacher})

    def condense(
        self, condenser: str = "random", ipc: int = 1, seed: int | None = 0, inputs: dict[str, str] | None = None
    ) -> str:
        """A condensed set."""
        spec = CondenseSpec(
            dataset=DATASET,
            kind="coreset",
            condenser=condenser,
            params={},
            ipc=ipc,
            seed=seed,
            resolution=8,
            precision="fp32",
        )
        label = Label(dataset="digits", condenser=condenser, ipc=ipc, set_seed=seed)
        return self.add("condense", spec, label, inputs)

    def evaluate(self, set_key: str, seed: int = 0, name: str = "erm", inputs: dict[str, str] | None = None) -> str:
        """A student on a condensed set."""
        spec = EvaluateSpec(
            dataset=DATASET,
            student="convnet3",
            protocol=protocol(name),
            training=TRAINING,
            seed=seed,
            test_split="test",
        )
        of_set = next(line.label for line in self.lines if line.key == set_key)
        label = msgspec.structs.replace(of_set, protocol=name, student="convnet3", student_seed=seed)
        return self.add("evaluate", spec, label, {"set": set_key, **(inputs or {})})

    def reference(self, condenser: str, ipc: int | None, name: str = "erm", seed: int = 0) -> str:
        """A student on all training data."""
        spec = EvaluateSpec(
            dataset=DATASET,
            student="convnet3",
            protocol=protocol(name),
            training=TRAINING,
            seed=seed,
            test_split="test",
        )
        label = Label("digits", condenser, ipc, name, "convnet3", student_seed=seed)
        return self.add("evaluate", spec, label)

    def analyze(self, set_key: str, metric: str = "coverage", inputs: dict[str, str] | None = None) -> str:
        """A measure of a condensed set."""
        spec = AnalyzeSpec(dataset=DATASET, metric=metric, params={}, precision="fp32")
        of_set = next(line.label for line in self.lines if line.key == set_key)
        label = msgspec.structs.replace(of_set, metric=metric)
        return self.add("analyze", spec, label, {"set": set_key, **(inputs or {})})

    def write(self) -> MadeRun:
        """Write the plan."""
        runs.write_plan(self.run, self.lines)
        return self

    def folder(self, key: str) -> TaskFolder:
        """Folder of a task, with its `task.json`."""
        folder = self.layout.task(self.tasks[key].stage, key)
        store.write_task(folder, keys.preimage(self.tasks[key]))
        return folder

    def submit(
        self,
        *packs: Sequence[str],
        job: str = "608",
        name: str = "",
        sent: float | None = None,
        reply: bool = True,
    ) -> str:
        """An array with these packs; its name."""
        name = name or f"sub-{job}"
        when = time.time() if sent is None else sent
        elements = tuple(tuple(pack) for pack in packs)
        runs.append(self.run, Intent(name=name, backend="slurm", stage=None, elements=elements, time=when))
        if reply:
            runs.append(self.run, Reply(name=name, job=job, time=when))
        return name

    def pool(self, *tasks: str, pids: dict[str, int], name: str = "pool", host: str = "") -> str:
        """A local pool of workers with these processes."""
        when = time.time()
        runs.append(self.run, Intent(name=name, backend="local", elements=(tuple(tasks),), time=when))
        runs.append(self.run, Reply(name=name, host=host or os.uname().nodename, pids=pids, time=when))
        return name

    def hint(self, name: str, element: int, key: str, result: str) -> None:
        """One line of an element's hints."""
        self.run.done.mkdir(exist_ok=True)
        line = msgspec.json.encode({"key": key, "result": result, "time": time.time()}) + b"\n"
        with (self.run.done / f"{name}.{element}.jsonl").open("ab") as file:
            file.write(line)

    def lease(self, key: str, job: str = "", owner: Owner | None = None) -> Lease:
        """A lease that goes on, held by this process or a given owner."""
        owner = owner or msgspec.structs.replace(lease.myself(), job=job)
        held = lease.acquire(self.folder(key), owner, lambda _: True)
        assert held is not None
        return held

    def ended(self, key: str, outcome: Outcome, reason: str = "", job: str = "") -> None:
        """An attempt that ended without a record."""
        self.lease(key, job).end(outcome, reason)

    def record(self, key: str, values: dict[str, Any] | None = None, **fields: Any) -> None:
        """A record with these values."""
        given: dict[str, Any] = {
            "attempt": 1,
            "artefacts": {},
            "cost": {"wall_s": 2.5, "gpu_s": 0.0, "cpu_s": 2.0},
            "environment": {"device": "cpu", "host": "n1"},
            "started": 1.0,
            "ended": 3.5,
        }
        record = store.Record(key=key, stage=self.tasks[key].stage, values=values or {}, **{**given, **fields})
        publish(self.folder(key).record, keys.encode(record))


def dead_owner() -> Owner:
    """An owner of this machine whose process has ended."""
    return msgspec.structs.replace(lease.myself(), pid_start=1)


def strange_owner(beat_age_s: float = 0.0, job: str = "") -> Owner:
    """An owner on a machine that we cannot look into, started so long ago."""
    started = time.time() - beat_age_s
    return msgspec.structs.replace(lease.myself(), host="n9", machine="other", job=job, started=started)


def made_study(made: MadeRun, *rows: Row) -> Study:
    """What tables are made of, from the records as they are now; without `rows` nobody looked at the run."""
    return study.read(made.run, made.layout, rows)
