"""Small tasks for tests of the store and of workers; `fake_stages` says what their parameters do."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import condhpc
from condhpc import keys, payload
from condhpc.context import Site
from condhpc.layout import Layout, TaskFolder
from condhpc.payload import Header
from condhpc.spec import AnalyzeSpec, CondenseSpec, DatasetSpec, EmbedSpec, Task

Start = Callable[..., "subprocess.Popen[bytes]"]
"""From a payload, and an element of it, to a worker process."""

DATASET = DatasetSpec(
    name="d", loader="digits", index="00ff", classes=2, resolution=4, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.25)
)


def condense(number: int = 0, inputs: Mapping[str, str] | None = None, **params: Any) -> Task:
    """A condense task; tasks of different numbers have different keys."""
    spec = CondenseSpec(
        dataset=DATASET,
        kind="coreset",
        condenser="random",
        params=params,
        ipc=1,
        seed=number,
        resolution=4,
        precision="fp32",
    )
    return Task(stage="condense", spec=spec, inputs=dict(inputs or {}), version=(1, 1))


def analyze(inputs: Mapping[str, str], **params: Any) -> Task:
    """An analyze task that consumes condensed sets."""
    spec = AnalyzeSpec(dataset=DATASET, metric="coverage", params=params, precision="fp32")
    return Task(stage="analyze", spec=spec, inputs=dict(inputs), version=(1, 1))


def embed(number: int = 0) -> Task:
    """An embed task without an input."""
    spec = EmbedSpec(
        dataset=DATASET,
        split="train",
        encoder="pixels",
        network=None,
        batch=number + 1,
        precision="fp32",
        rows=None,
    )
    return Task(stage="embed", spec=spec, inputs={}, version=(1, 1))


def folder_of(root: Path, task: Task) -> TaskFolder:
    """A task's folder."""
    return Layout(root).task(task.stage, keys.key(task))


def site(root: Path, **fields: Any) -> Site:
    """A site without patience: tests miss no input by a slow file system."""
    return Site(**{"root": str(root), "patience_s": 0.0, "device": "cpu", **fields})


def write_payload(root: Path, packs: Sequence[Sequence[Task]], **fields: Any) -> Path:
    """A payload of the run `r`; fields beginning with `site_` go to its site."""
    of_site = {name.removeprefix("site_"): value for name, value in fields.items() if name.startswith("site_")}
    of_header = {name: value for name, value in fields.items() if not name.startswith("site_")}
    header = Header(**{"name": "p", "time_min": 60, "site": site(root, run="r", **of_site), **of_header})
    path = Layout(root).run("r").payloads / "p.jsonl"
    payload.write(path, header, [[keys.preimage(task) for task in pack] for pack in packs]).join()
    return path


def python(*words: str, stages: Path, log: Path) -> subprocess.Popen[bytes]:
    """A Python with the fake stages before everything else, its output in a log."""
    env = {
        "PATH": "/usr/bin:/bin",
        "HOME": str(log.parent),
        "PYTHONPATH": f"{stages}:{Path(condhpc.__file__).parents[1]}",
        "PYTHONSAFEPATH": "1",
        "OMP_NUM_THREADS": "1",
    }
    with log.open("ab") as file:
        return subprocess.Popen([sys.executable, "-u", *words], env=env, stdout=file, stderr=file)
