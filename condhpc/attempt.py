"""One attempt at one task: take the lease, run the stage, publish the record. Used by the worker and by hand."""

from __future__ import annotations

import importlib
import platform
import socket
import threading
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

import condhpc
from condhpc import keys, lease, registry, store
from condhpc.context import Context, Site
from condhpc.errors import CondhpcError, InputMissingError, LeaseLostError, Stopped
from condhpc.files import publish
from condhpc.layout import Layout, TaskFolder
from condhpc.lease import Attempt, Lease, Outcome, Owner
from condhpc.meter import Meter
from condhpc.spec import AnalyzeSpec, CondenseSpec, Task
from condhpc.store import Record

Result = Literal["recorded", "cached", "failed", "stopped", "blocked", "superseded", "busy"]
"""How a try at a task ended; `busy`: another attempt holds the lease, `cached`: it was recorded before."""

_REASON_BYTES = 8000
_EXIT_RESULTS: dict[Result, int] = {
    "recorded": 0, "cached": 0, "failed": 1, "stopped": 75, "blocked": 3, "superseded": 0, "busy": 76,
}  # fmt: skip


def exit_code(result: Result) -> int:
    """Exit status of a process that ran one task."""
    return _EXIT_RESULTS[result]


def result_of(code: int) -> Result:
    """The result behind an exit status; anything unknown is a failure."""
    return next((name for name, held in _EXIT_RESULTS.items() if held == code), "failed")


def run(preimage: bytes, site: Site, stop: threading.Event, gone: Callable[[Attempt], bool] | None = None) -> Result:
    """Try one task once. Never raises for what happens inside the stage: the diary and the log tell."""
    task = keys.parse_preimage(preimage)
    folder = Layout(Path(site.root)).task(task.stage, keys.digest(preimage))
    if store.is_recorded(folder):
        return "cached"
    store.write_task(folder, preimage)
    me = lease.myself(run=site.run)
    held = take(folder, me, gone)
    if held is None:
        return "busy"
    if store.is_recorded(folder):  # published between our first look and our lease
        held.end("superseded", "recorded by another attempt")
        _clean(folder, held.number)
        return "cached"
    return _attempt(Context(task, folder.path.name, site, held, stop))


def take(folder: TaskFolder, me: Owner, gone: Callable[[Attempt], bool] | None = None) -> Lease | None:
    """Take a task's lease if nobody alive holds it. `gone` adds reasons to believe that an owner is dead."""
    record = store.read_record(folder)
    if record is not None and store.missing_artefacts(folder, record):
        store.set_aside(folder, record)  # scratch was purged: the task can be recorded anew
    return lease.acquire(
        folder, me, lambda held: lease.provably_gone(held.owner, me) or (gone is not None and gone(held))
    )


def _attempt(context: Context) -> Result:
    """The stage between pulses; every way out ends the diary."""
    meter = Meter(gpus=float(context.site.gpus))
    held: Lease = context.lease
    pulse = _Pulse(context, held, meter)
    started = time.time()
    outcome: Outcome
    try:
        context.require_inputs()
        pulse.start()
        values, environment = _run_stage(context)
        outcome, reason = "recorded", ""
    except Stopped as error:
        outcome, reason = "stopped", str(error)
    except InputMissingError as error:
        outcome, reason = "blocked", str(error)
    except LeaseLostError as error:
        outcome, reason = "superseded", str(error)
    except CondhpcError as error:
        outcome, reason = "failed", f"{type(error).__name__}: {error}"
    except BaseException:  # a bug, MemoryError or KeyboardInterrupt: the diary keeps the traceback, the log prints it
        outcome, reason = "failed", traceback.format_exc()
    finally:
        pulse.stop()
    if outcome == "recorded":
        outcome = _record(context, held, values, environment, (started, time.time()), meter)
    else:
        held.end(outcome, reason[-_REASON_BYTES:], meter.totals())
    _say(context, outcome, reason)
    return outcome


def _run_stage(context: Context) -> tuple[dict[str, Any], dict[str, Any]]:
    """The stage by its name: nobody imports `condhpc_jobs`."""
    preload = importlib.import_module("condhpc_jobs.preload")
    context.device = preload.pick_device(context.site.device)
    stage = importlib.import_module(f"condhpc_jobs.{context.task.stage}")
    values: dict[str, Any] = stage.run(context)
    return values, {**_environment(context), **preload.environment(context.device)}


def _environment(context: Context) -> dict[str, Any]:
    return {
        "condhpc": condhpc.__version__,
        "code": code_digest(),
        "plugin_code": plugin_digest(context.task),
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "device": context.device,
        "threads": context.threads,
        "run": context.site.run,
        "job": context.lease.owner.job,
    }


def plugin_digest(task: Task) -> str:
    """Digest of the plug-in file behind a task; empty for stages without one."""
    spec = task.spec
    if isinstance(spec, CondenseSpec):
        return registry.code_digest("coresets" if spec.kind == "coreset" else "methods", spec.condenser)
    if isinstance(spec, AnalyzeSpec):
        return registry.code_digest("metrics", spec.metric)
    return ""


def code_digest() -> str:
    """Digest of all of condhpc's own source files that ran."""
    base = Path(condhpc.__file__).parent
    stages = Path(str(importlib.import_module("condhpc_jobs").__file__)).parent
    files = sorted(p for folder in (base, stages) for p in folder.rglob("*.py"))
    return keys.digest(b"".join(keys.digest(p.read_bytes()).encode() for p in files))


def _record(
    context: Context,
    held: Lease,
    values: dict[str, Any],
    environment: dict[str, Any],
    span: tuple[float, float],
    meter: Meter,
) -> Outcome:
    """Publish the record, unless another attempt was faster; then remove what only served this work."""
    cost = meter.totals()
    record = Record(
        key=context.key,
        stage=context.task.stage,
        attempt=held.number,
        artefacts=context.published,
        values=values,
        cost=cost,
        environment=environment,
        attempts=tuple(lease.attempts(context.folder, up_to=held.number - 1)),
        started=span[0],
        ended=span[1],
    )
    if held.is_current() and publish(context.folder.record, keys.encode(record)):
        held.end("recorded", cost=cost)
        _clean(context.folder, held.number)
        return "recorded"
    held.end("superseded", "another attempt took over or recorded first", cost)
    for artefact in context.published.values():
        (context.folder.path / artefact.file).unlink(missing_ok=True)
    return "superseded"


def _clean(folder: TaskFolder, last: int) -> None:
    """After the record is there: leases, checkpoints and losers' artefacts have served (4 inodes remain)."""
    record = store.read_record(folder)
    if record is None:
        return
    keep = {folder.task.name, folder.record.name, *(a.file for a in record.artefacts.values())}
    for path in folder.path.iterdir():
        stem, _, rest = path.name.partition(".")
        number = rest.partition(".")[0]
        if path.name not in keep and number.isdigit() and int(number) <= last and stem != "record":
            path.unlink(missing_ok=True)


def _say(context: Context, result: Result, reason: str) -> None:
    line = f"{context.task.stage} {context.key} attempt {context.attempt}: {result}"
    print(line if not reason else f"{line}\n{reason}", flush=True)


class _Pulse:
    """Thread that appends to the diary and notices a takeover."""

    def __init__(self, context: Context, held: Lease, meter: Meter) -> None:
        self._context = context
        self._held = held
        self._meter = meter
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _beat(self) -> None:
        while not self._end.wait(self._context.site.pulse_s):
            progress = self._context.progress
            cost = self._meter.totals()
            self._held.pulse(step=progress.step, total=progress.total, values=progress.values, cost=cost)
            if not self._held.is_current():
                self._context.lost.set()
