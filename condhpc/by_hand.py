"""`python -m condhpc_jobs.<stage> <task-dir>`: one task by hand, leased and recorded exactly as by the worker."""

from __future__ import annotations

import os
import signal
import sys
import threading
from pathlib import Path

import msgspec

from condhpc import attempt, outside, profile, store
from condhpc.attempt import Result
from condhpc.context import Site, site_of
from condhpc.errors import CondhpcError, InputError
from condhpc.layout import Layout, TaskFolder
from condhpc.spec import EmbedSpec, Task, TeacherSpec

_WORDS: dict[Result, str] = {
    "busy": "another attempt holds the lease; see its newest lease.NNNN",
    "cached": "recorded already",
    "superseded": "another attempt took this task over",
}


def main(stage: str, argv: list[str] | None = None) -> int:
    """Run the task in the folder that is the only argument; returns the exit status."""
    arguments = sys.argv[1:] if argv is None else argv
    try:
        if len(arguments) != 1 or arguments[0].startswith("-"):
            raise InputError(f"usage: python -m condhpc_jobs.{stage} <task-dir>")
        return _run(stage, Path(arguments[0]).resolve())
    except CondhpcError as error:
        print(f"condhpc_jobs.{stage}: {error}", file=sys.stderr)
        return error.exit_code


def _run(stage: str, path: Path) -> int:
    folder = TaskFolder(path)
    task = store.read_task(folder)
    if task.stage != stage:
        raise InputError(f"{path}: its stage is {task.stage}; run `python -m condhpc_jobs.{task.stage} {path}`")
    root = path.parents[min(3, len(path.parents) - 1)]
    if Layout(root).task(task.stage, path.name) != folder:
        raise InputError(f"{path}: is not in a store; expected <root>/store/{stage}/{path.name[:2]}/{path.name}")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR2):
        signal.signal(number, lambda *_: stop.set())
    result = attempt.run(folder.task.read_bytes(), _site(root, task), stop)
    if text := _WORDS.get(result):
        print(f"{path}: {text}", file=sys.stderr)
    return attempt.exit_code(result)


def _weights(task: Task) -> list[str]:
    """Names of files of weights that a task reads."""
    if isinstance(task.spec, TeacherSpec) and task.spec.weights is not None:
        return [task.spec.weights.name]
    if isinstance(task.spec, EmbedSpec) and task.spec.network is not None:
        return [task.spec.network.weights]
    return []


def _site(root: Path, task: Task) -> Site:
    """Paths and pace of the user's profile; an input that is missing is reported at once, a set made in one go."""
    found = profile.resolve(None, str(root), dict(os.environ))
    found = outside.with_downloaded(_weights(task), found, os.environ)
    return msgspec.structs.replace(site_of(found), root=str(root), device="auto", patience_s=0.0, shards=1)
