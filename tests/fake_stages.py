"""Stages for tests of attempts and workers: they count steps, checkpoint, fail, crash or hang as their task says.

`install` makes a package `condhpc_jobs` of copies of this file. Parameters of a task: `steps`, `do` (what happens
at step `at`), `gate` (a file under the root that `wait` and `deaf` wait for), `kind` of artefact.
"""

from __future__ import annotations

import faulthandler
import os
import resource
import shutil
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

from condhpc.context import Context
from condhpc.errors import StageError

_STAGES = ("teacher", "embed", "condense", "evaluate", "analyze")
_PRELOAD = '''"""Fake: nothing to load."""

def pick_device(wanted):
    return "cpu"

def gpu_uuids(device):
    return ()

def gpu_type(device):
    return "NVIDIA Fake"

def environment(device):
    return {"fake": True}
'''
_BY_HAND = """

if __name__ == "__main__":
    from condhpc import by_hand

    raise SystemExit(by_hand.main(Path(__file__).stem))
"""


def install(folder: Path) -> Path:
    """Write the package into a folder, which goes on the import path."""
    package = folder / "condhpc_jobs"
    package.mkdir(parents=True)
    (package / "__init__.py").touch()
    (package / "preload.py").write_text(_PRELOAD)
    for stage in _STAGES:
        shutil.copy(__file__, package / f"{stage}.py")
        with (package / f"{stage}.py").open("a") as file:
            file.write(_BY_HAND)
    return folder


def run(context: Context) -> dict[str, Any]:
    """The stage: steps from the newest checkpoint on, then one artefact."""
    params: dict[str, Any] = getattr(context.spec, "params", {})
    total = params.get("steps", 3)
    held = context.checkpoint()
    first = int(held.read_text()) if held is not None else 0
    _trace(context, f"start {first}")
    for step in range(first, total):
        _trace(context, f"step {step}")
        if step == params.get("at", 0):
            _DEEDS[params.get("do", "nothing")](context, step, total)
        context.tick(step + 1, total, partial(_save, step + 1), loss=1.0 / (step + 1))
    read = [context.input(role, "images").name for role in sorted(context.task.inputs)]
    _WRITERS[params.get("kind", "text")](context)
    values: dict[str, Any] = {"steps": total, "inputs": read}
    return {"odd": object()} if params.get("do") == "unencodable" else values


def trace(root: Path, key: str) -> list[str]:
    """What the attempts at a task did: `<attempt> <pid> start <step>`, `<attempt> <pid> step <step>`."""
    path = root / "trace" / key
    return path.read_text().splitlines() if path.exists() else []


def _trace(context: Context, text: str) -> None:
    folder = context.layout.root / "trace"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / context.key).open("a") as file:
        file.write(f"{context.attempt} {os.getpid()} {text}\n")


def _save(step: int, path: Path) -> None:
    path.write_text(str(step))


def _nothing(context: Context, step: int, total: int) -> None:
    pass


def _wait(context: Context, step: int, total: int) -> None:
    """Until the gate is there, at safe points."""
    for _ in _until_gate(context):
        context.tick(step, total, partial(_save, step))


def _deaf(context: Context, step: int, total: int) -> None:
    """Until the gate is there, without a safe point."""
    for _ in _until_gate(context):
        pass


def _until_gate(context: Context) -> Iterator[None]:
    """Bounded, so that no test hangs."""
    deadline = time.monotonic() + 30.0
    while not (context.layout.root / context.spec.params["gate"]).exists():
        if time.monotonic() > deadline:
            raise TimeoutError("the gate never opened")
        yield
        time.sleep(0.005)


def _fail(context: Context, step: int, total: int) -> None:
    raise StageError("the loss is not finite at step 0; lower the rate")


def _fail_once(context: Context, step: int, total: int) -> None:
    if context.attempt == 1:
        _fail(context, step, total)


def _bug(context: Context, step: int, total: int) -> None:
    raise ZeroDivisionError("a bug")


def _crash(context: Context, step: int, total: int) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    faulthandler.disable()
    os.abort()


def _leave(context: Context, step: int, total: int) -> None:
    os._exit(0)


def _write_late(context: Context, step: int, total: int) -> None:
    """Publish an artefact, then fail."""
    _text(context)
    _fail(context, step, total)


def _text(context: Context) -> None:
    context.artefact("images", "txt", lambda path: path.write_text(f"images of attempt {context.attempt}"))


def _h5(context: Context) -> None:
    import numpy as np

    from condhpc import arrays

    images = np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3)
    held = arrays.CondensedSet(images, np.arange(2, dtype=np.int64), np.arange(2, dtype=np.int64), {"key": context.key})
    context.artefact("images", "h5", lambda path: arrays.write_condensed_set(path, held))


_DEEDS: dict[str, Callable[[Context, int, int], None]] = {
    "nothing": _nothing,
    "unencodable": _nothing,
    "wait": _wait,
    "deaf": _deaf,
    "fail": _fail,
    "fail_once": _fail_once,
    "bug": _bug,
    "crash": _crash,
    "leave": _leave,
    "write_late": _write_late,
}
_WRITERS: dict[str, Callable[[Context], None]] = {"text": _text, "h5": _h5}
