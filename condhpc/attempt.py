"""One attempt at one task: take the lease, run the stage, publish the record. Used by the worker and by hand."""

from __future__ import annotations

import contextlib
import importlib
import platform
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Literal

import condhpc
from condhpc import allotment, joining, keys, lease, registry, store
from condhpc.context import Context, FollowerContext, Site
from condhpc.errors import (
    CondhpcError,
    CorruptArtefactError,
    InputMissingError,
    LeaseLostError,
    RankLostError,
    Stopped,
)
from condhpc.files import publish
from condhpc.joining import Caller, Place
from condhpc.layout import Layout, TaskFolder
from condhpc.lease import Attempt, Lease, Outcome, Owner
from condhpc.meter import Meter
from condhpc.pulse import Pulse
from condhpc.spec import AnalyzeSpec, CondenseSpec, PrepareSpec, Task
from condhpc.store import Record

Result = Literal["recorded", "cached", "failed", "stopped", "blocked", "superseded", "busy"]
"""How a try at a task ended; `busy`: another attempt holds the lease, `cached`: it was recorded before."""

_REASON_CHARACTERS = 8000
_LAST_WORD_S = 10.0
"""How long another rank's reason, or the stop that follows its death, may take to get here."""
_EXIT_RESULTS: dict[Result, int] = {
    "recorded": 0, "cached": 0, "failed": 1, "stopped": 75, "blocked": 3, "busy": 76, "superseded": 76,
}  # fmt: skip
"""Busy and superseded say the same to who waits: another attempt has this task."""


def exit_code(result: Result) -> int:
    """Exit status of a process that ran one task."""
    return _EXIT_RESULTS[result]


def result_of(code: int) -> Result:
    """The result behind an exit status; anything unknown is a failure."""
    return next((name for name, held in _EXIT_RESULTS.items() if held == code), "failed")  # 0: recorded, 76: busy


def run(
    preimage: bytes,
    site: Site,
    stop: threading.Event,
    gone: Callable[[Attempt], bool] | None = None,
    caller: Caller | None = None,
) -> Result:
    """Try one task once, with the other ranks that `caller` reaches.

    Never raises for what happens inside the stage: the diary and the log tell.
    """
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
    return _attempt(Context(task, folder.path.name, site, held, stop), caller)


def join(preimage: bytes, site: Site, place: Place, number: int) -> None:
    """One rank's share of an attempt that rank 0 leads; raises whatever ends it."""
    task = keys.parse_preimage(preimage)
    folder = Layout(Path(site.root)).task(task.stage, keys.digest(preimage))
    held = lease.held_by_rank_0(folder, number)
    context = FollowerContext(task, folder.path.name, site, held, threading.Event())
    context.share(place)
    _stage(context).run(context)


def take(folder: TaskFolder, me: Owner, gone: Callable[[Attempt], bool] | None = None) -> Lease | None:
    """Take a task's lease if nobody alive holds it. `gone` adds reasons to believe that an owner is dead.

    A record whose artefacts were purged is set aside once the lease is ours; its attempt's number stays used.
    """
    record = store.read_record(folder)
    number = max(lease.latest_number(folder), record.attempt if record is not None else 0)
    held = lease.acquire(
        folder,
        me,
        lambda other: lease.provably_gone(other.owner, me) or (gone is not None and gone(other)),
        number=number,
    )
    if held is not None:
        record = store.read_record(folder)
        if record is not None and store.missing_artefacts(folder, record):
            store.set_aside(folder, record)
    return held


def _attempt(context: Context, caller: Caller | None) -> Result:
    """The stage between pulses; every way out ends the diary."""
    ranks = caller.place.ranks if caller is not None else 1
    meter = Meter(allotment.here(context.site, ranks), context.site.power)
    meter.start()
    held: Lease = context.lease
    pulse = Pulse(context, held, meter)
    outcome: Outcome
    try:
        context.require_inputs()
        pulse.start()
        if caller is not None:
            context.share(caller.place)
            caller.call(context.key, context.attempt)
        outcome, reason = _record(context, meter)
    except Stopped as error:
        outcome, reason = "stopped", str(error)
    except InputMissingError as error:
        outcome, reason = "blocked", str(error)
    except LeaseLostError as error:
        outcome, reason = "superseded", str(error)
    except RankLostError as error:
        outcome, reason = _after_rank_lost(context, error)
    except CondhpcError as error:
        outcome, reason = "failed", f"{type(error).__name__}: {error}"
    except BaseException:  # a bug, MemoryError or KeyboardInterrupt: the diary keeps the traceback, the log prints it
        outcome, reason = "failed", traceback.format_exc()
    finally:
        pulse.stop()
        meter.stop()
    if outcome != "recorded":
        outcome = _after_loss(context, outcome)
    held.end(outcome, reason[-_REASON_CHARACTERS:], meter.totals(), meter.energy())
    if outcome == "recorded":
        _clean(context.folder, held.number)
    _say(context, outcome, reason)
    return outcome


def _run_stage(context: Context, meter: Meter) -> tuple[dict[str, Any], dict[str, Any]]:
    """Values and environment for the record."""
    stage = _stage(context)
    environment = _environment(context)  # before hours of work, not after: it may fail
    preload = importlib.import_module("condhpc_jobs.preload")
    meter.sees(preload.gpu_uuids(context.device))
    context.lease.gpu = preload.gpu_type(context.device)  # for the diary: another attempt may go on elsewhere
    values: dict[str, Any] = stage.run(context)
    return values, {**environment, **preload.environment(context.device)}


def _stage(context: Context) -> Any:
    """The stage's module by its name (nobody imports `condhpc_jobs`), with the device that it shall use picked."""
    preload = importlib.import_module("condhpc_jobs.preload")
    context.device = preload.pick_device(context.site.device)
    if context.site.gpus and context.device == "cpu":
        print("warning: this element has a GPU, but torch sees none: computing on the CPU", file=sys.stderr)
    return importlib.import_module(f"condhpc_jobs.{context.task.stage}")


def _environment(context: Context) -> dict[str, Any]:
    return {
        "condhpc": condhpc.__version__,
        "code": code_digest(),
        "plugin_code": plugin_digest(context.task),
        "python": platform.python_version(),
        "host": socket.gethostname(),
        "device": context.device,
        "threads": context.threads,
        "ranks": context.place.ranks,
        "lanes": context.site.lanes,
        "run": context.site.run,
        "job": context.lease.owner.job,
        "restarts": context.lease.owner.restarts,
    }


def plugin_digest(task: Task) -> str:
    """Digest of the plug-in file behind a task; empty for stages without one."""
    spec = task.spec
    if isinstance(spec, CondenseSpec) and spec.kind != "external":
        return registry.code_digest("coresets" if spec.kind == "coreset" else "methods", spec.condenser)
    if isinstance(spec, PrepareSpec):
        return registry.code_digest("methods", spec.method)
    if isinstance(spec, AnalyzeSpec):
        return registry.code_digest("metrics", spec.metric)
    return ""


@cache
def code_digest() -> str:
    """Digest of all of condhpc's own source files that ran; read once, before the first fork."""
    base = Path(condhpc.__file__).parent
    stages = Path(str(importlib.import_module("condhpc_jobs").__file__)).parent
    files = sorted(p for folder in (base, stages) for p in folder.rglob("*.py"))
    return keys.digest(b"".join(keys.digest(p.read_bytes()).encode() for p in files))


def _record(context: Context, meter: Meter) -> tuple[Outcome, str]:
    """Run the stage and publish its record, unless another attempt was faster."""
    started = time.time()
    values, environment = _run_stage(context, meter)
    meter.elsewhere_cpu_s = context.ranks_cpu_s
    meter.stop()
    record = Record(
        key=context.key,
        stage=context.task.stage,
        attempt=context.attempt,
        artefacts=context.published,
        values=values,
        cost=meter.totals(),
        energy=meter.energy(),
        environment=environment,
        attempts=tuple(lease.attempts(context.folder, up_to=context.attempt - 1)),
        started=started,
        ended=time.time(),
    )
    if context.lease.is_current() and publish(context.folder.record, keys.encode(record)):
        return "recorded", ""
    return "superseded", "another attempt took over or recorded first"


def _after_rank_lost(context: Context, error: RankLostError) -> tuple[Outcome, str]:
    """What to make of a rank that is gone: it said why, or Slurm stops all of us, or nobody knows."""
    deadline = time.monotonic() + _LAST_WORD_S
    while time.monotonic() < deadline:
        if told := joining.told_failures(context.folder, context.place, context.attempt):
            return "failed", "\n".join(told)
        if context.asked.wait(0.2):
            return "stopped", f"stopped, without a checkpoint of its own: {error}"
    return "failed", f"{error}; it left no word: killed, out of memory, or its node failed"


def _after_loss(context: Context, outcome: Outcome) -> Outcome:
    """What an attempt without success was, seen from the folder; a superseded one withdraws its artefacts.

    Trouble after a takeover is no failure of the task, and trouble after our own record is none at all.
    """
    if context.lease.is_current():
        return outcome
    with contextlib.suppress(CorruptArtefactError):
        record = store.read_record(context.folder)
        if record is not None and record.attempt == context.attempt:
            return "recorded"
    for artefact in context.published.values():
        (context.folder.path / artefact.file).unlink(missing_ok=True)
    return "superseded"


def _clean(folder: TaskFolder, last: int) -> None:
    """After the record is there: leases, checkpoints and losers' artefacts have served (4 inodes remain).

    So has every temporary file: what is still being written here loses against the record.
    """
    record = store.read_record(folder)
    if record is None:
        return
    keep = {folder.task.name, folder.record.name, *(a.file for a in record.artefacts.values())}
    for path in folder.path.iterdir():
        rest = path.name.partition(".")[2]
        number = rest.partition(".")[0]
        served = number.isdigit() and int(number) <= last
        if path.name not in keep and (served or path.suffix == ".tmp"):
            path.unlink(missing_ok=True)


def _say(context: Context, result: Result, reason: str) -> None:
    line = f"{context.task.stage} {context.key} attempt {context.attempt}: {result}"
    print(line if not reason else f"{line}\n{reason}", flush=True)
