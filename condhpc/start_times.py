"""When arrays could start, by `sbatch --test-only`: one question for each distinct demand, none of them a must."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable, Iterable, Sequence
from datetime import datetime

import msgspec

from condhpc.arrange import Array
from condhpc.errors import SchedulerError
from condhpc.resources import StageResources
from condhpc.slurm_command import CommandFailedError, query_env, run_for_talk, submission_env
from condhpc.spec import STAGES, Stage
from condhpc.tables import duration

_TIMEOUT_S = 10.0
_QUESTIONS = 8
"""Distinct demands that are asked about, at most."""
_START = re.compile(r"\bto start at (?P<time>\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d|\d+)\b")
_SPOKE = re.compile(r"^(?:sbatch: error|sbatch|allocation failure): *(?P<words>.+)$", re.M)


class Wait(msgspec.Struct, frozen=True, kw_only=True):
    """What Slurm says of one demand, as if nothing had to be waited for but the resources."""

    stages: tuple[Stage, ...]
    """Whose first arrays have it."""
    start_s: int | None
    """Epoch seconds; None where it did not say."""
    wait_s: float | None
    reason: str = ""
    """Why it did not say."""


def parse_start(text: str) -> int | None:
    """Epoch second of `sbatch: Job 7 to start at 2026-11-24T10:00:00 using 1 processors on nodes n1 …`, else None.

    A time without zone is this machine's.
    """
    match = _START.search(text)
    if match is None:
        return None
    found = match["time"]
    return int(found) if found.isdigit() else int(datetime.fromisoformat(found).timestamp())


def words(text: str) -> str:
    """What Slurm gave as its reason, one line."""
    said = _SPOKE.findall(text)
    return (said[-1] if said else text.strip().rpartition("\n")[2])[:200]


def options(given: StageResources) -> tuple[str, ...]:
    """What sbatch is told of an element."""
    gpus = ":".join(["gpu", *([given.gpu_type] if given.gpu_type else []), str(given.gpus)]) if given.gpus else None
    memory = None if given.mem_gb is None else f"{round(given.mem_gb * 1024)}M"
    named: dict[str, object | None] = {
        "partition": given.partition,
        "account": given.account,
        "qos": given.qos,
        "gres": gpus,
        "nodes": given.nodes,
        "ntasks-per-node": given.ranks_per_node if given.ranks > 1 else None,
        "cpus-per-task": given.cpus,
        "mem": memory,
        "time": given.time_min,
        **{name.lstrip("-"): value for name, value in given.sbatch.items() if value is not False},
    }
    return tuple(f"--{name}" if value is True else f"--{name}={value}" for name, value in named.items() if value)


Ask = Callable[[Sequence[str]], str]


def ask_sbatch(demand: Sequence[str]) -> str:
    """What sbatch says of a job with these options that it is only to think of; raises SchedulerError."""
    command = ["sbatch", "--test-only", *demand, "--wrap=true"]
    return run_for_talk(command, query_env(submission_env(os.environ)), _TIMEOUT_S)


def waits(arrays: Iterable[Array], now_s: float | None = None, ask: Ask = ask_sbatch) -> list[Wait]:
    """Of every distinct demand, in the order of stages; a question that fails says why and fails nothing else."""
    demands: dict[tuple[str, ...], set[Stage]] = {}
    for array in arrays:
        if array.resources is not None:
            demands.setdefault(options(array.resources), set()).add(array.stage)
    now_s = time.time() if now_s is None else now_s
    return [_wait(demand, stages, now_s, ask) for demand, stages in [*demands.items()][:_QUESTIONS]]


def _wait(demand: Sequence[str], stages: set[Stage], now_s: float, ask: Ask) -> Wait:
    ordered = tuple(stage for stage in STAGES if stage in stages)
    try:
        text = ask(demand)
    except CommandFailedError as error:
        return Wait(stages=ordered, start_s=None, wait_s=None, reason=words(error.stderr))
    except SchedulerError as error:
        return Wait(stages=ordered, start_s=None, wait_s=None, reason=str(error))
    start_s = parse_start(text)
    if start_s is None:
        return Wait(stages=ordered, start_s=None, wait_s=None, reason=words(text) or "sbatch gave no time")
    return Wait(stages=ordered, start_s=start_s, wait_s=max(0.0, start_s - now_s))


def wait_lines(found: Iterable[Wait]) -> list[str]:
    """`could start, by sbatch --test-only now: condense, evaluate in 2.1 h`; equal answers share a line."""
    texts: dict[str, list[str]] = {}
    for wait in found:
        text = f"not known: {wait.reason}" if wait.wait_s is None else f"in {duration(wait.wait_s)}"
        texts.setdefault(text, []).extend(stage for stage in wait.stages if stage not in texts.get(text, ()))
    return [f"could start, by sbatch --test-only now: {', '.join(stages)} {text}" for text, stages in texts.items()]
