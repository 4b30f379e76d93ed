"""Why a task has no record, and whether and with what it is tried again: pure rules.

infra  the cluster's fault                     again, unchanged, a few times
limit  the time limit or the memory did not do  again, with more, up to what the partition has
code   the task's own fault                     not by itself: somebody mends it, then says `condhpc retry`
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from math import ceil
from typing import Literal, NamedTuple

import msgspec

from condhpc.lease import Outcome
from condhpc.resources import More
from condhpc.slurm_text import StateClass, classify

Class = Literal["infra", "limit", "code"]
CLASSES: tuple[Class, ...] = ("infra", "limit", "code")
Cause = Literal["infra", "time", "memory", "gpu_memory", "code"]
CLASS_OF: dict[Cause, Class] = {
    "infra": "infra", "time": "limit", "memory": "limit", "gpu_memory": "limit", "code": "code",
}  # fmt: skip
SENT_AT_MOST = 5
"""How often a run sends one task by itself; then somebody has to look."""
FACTOR = 1.5
"""How much more time or memory the next try gets."""
_WORDS: dict[Cause, str] = {
    "infra": "the cluster failed it",
    "time": "its time limit was too short",
    "memory": "out of memory",
    "gpu_memory": "out of GPU memory",
    "code": "failed by its own code",
}
_GPU_MEMORY = re.compile(r"^\S*OutOfMemoryError\b|CUDA out of memory|CUDA error: out of memory|_ALLOC_FAILED", re.M)
_MEMORY = re.compile(
    r"^\S*MemoryError\b|DefaultCPUAllocator: (?:can't allocate|not enough) memory|Cannot allocate memory"
    r"|^killed by signal 9 .*out of memory|left no word: killed, out of memory",
    re.M,
)
_INFRA = re.compile(
    r"uncorrectable ECC|Stale file handle|Input/output error|Transport endpoint is not connected|Remote I/O error"
    r"|NCCL error: (?:unhandled system|remote process)",
    re.I,
)


class Seen(NamedTuple):
    """One try at a task, as its diary and Slurm tell it."""

    outcome: Outcome | None
    """None: the diary has no end."""
    reason: str = ""
    step: int = 0
    """How far it was at its last sign of life."""
    state: str = ""
    """Slurm's word on the element's attempt; empty where there is none."""
    at_limit: bool = False
    """The element had used nearly all of its time."""


def cause_of(tries: Sequence[Seen]) -> Cause | None:
    """Why the newest of these tries, oldest first, left no record; None where nothing went wrong with it.

    A stop near the time limit is no failure, unless the one before came as far: then the limit is too short to go on.
    """
    if not tries:
        return None
    last = tries[-1]
    state = classify(last.state) if last.state else None
    if last.outcome == "failed":
        return _of_reason(last.reason, last.state)
    if last.outcome not in {None, "stopped"} or state is StateClass.USER:
        return None
    if last.outcome == "stopped":
        before = tries[-2] if len(tries) > 1 else None
        return "time" if before is not None and _stands_still(before, last) else None
    return _of_state(last.state) if state is StateClass.LIMIT else "infra"


def _stands_still(before: Seen, last: Seen) -> bool:
    """Whether a whole time limit was not enough to come further."""
    return before.at_limit and last.at_limit and last.step <= before.step


def cause_unstarted(state: str, pack: int) -> Cause | None:
    """Why a task that was sent was never begun, by Slurm's word on its element.

    In a pack that ran out of time others had used it up. An element that failed before its first task has a set-up
    that does not work.
    """
    found = classify(state) if state else None
    if found is StateClass.USER:
        return None
    if found is StateClass.LIMIT:
        cause = _of_state(state)
        return None if cause == "time" and pack > 1 else cause
    return "code" if found is StateClass.CODE else "infra"


def _of_state(state: str) -> Cause:
    return "memory" if state.startswith("OUT_OF_ME") else "time"


def _of_reason(reason: str, state: str) -> Cause:
    if _GPU_MEMORY.search(reason):
        return "gpu_memory"
    if _MEMORY.search(reason) or (state.startswith("OUT_OF_ME") and reason.startswith("killed by signal")):
        return "memory"
    return "infra" if _INFRA.search(reason) else "code"


class Given(NamedTuple):
    """What the newest try had; None where nobody knows."""

    time_min: int | None
    mem_gb: float | None
    concurrent: int


class Ceiling(NamedTuple):
    """The most that the partition gives; None: no bound known."""

    time_min: int | None = None
    mem_gb: float | None = None


class Asked(msgspec.Struct, frozen=True, kw_only=True):
    """Which failures are to be tried again, and with what."""

    classes: frozenset[Class]
    by_hand: bool = False
    """Somebody asked for it: however often it was tried, and though nothing more can be given."""
    withdrawn: bool = True
    """Also what a user cancelled task by task."""
    keys: frozenset[str] | None = None
    """Only these tasks, with what they wait for and what waits for them."""
    time_factor: float = FACTOR
    mem_factor: float = FACTOR
    time_min: int | None = None
    """In place of a factor, for all that is tried again."""
    mem_gb: float | None = None


AUTOMATIC = Asked(classes=frozenset({"infra", "limit"}))
UNASKED = Asked(classes=AUTOMATIC.classes, withdrawn=False)
"""What goes on while nobody is there."""
BY_HAND = Asked(classes=frozenset(CLASSES), by_hand=True)


class Verdict(NamedTuple):
    """What becomes of one task."""

    send: bool
    more: More | None
    """None: unchanged."""
    why: str
    """In words, for people; equal for tasks of one fate."""


def decide(cause: Cause, sent: int, given: Given, ceiling: Ceiling, asked: Asked) -> Verdict:
    """Whether a task that failed for this cause, and was sent so often, is sent again, and with what."""
    words = _WORDS[cause]
    if CLASS_OF[cause] not in asked.classes:
        return Verdict(send=False, more=None, why=f"{words}: `condhpc retry --class {CLASS_OF[cause]}` tries again")
    if not asked.by_hand and sent >= SENT_AT_MOST:
        return Verdict(send=False, more=None, why=f"{words}, sent {sent} times: `condhpc retry` tries again")
    if asked.time_min is not None or asked.mem_gb is not None:
        more = More(time_min=asked.time_min, mem_gb=asked.mem_gb, why=words)
        return Verdict(send=True, more=more, why=f"{words}: again with {_shown(more)}")
    if cause in {"infra", "code"}:
        return Verdict(send=True, more=None, why=f"{words}: again")
    larger = _more(cause, given, ceiling, asked)
    if larger is not None:
        return Verdict(send=True, more=larger, why=f"{words}: again with {_shown(larger)}, had {_had(cause, given)}")
    if asked.by_hand:
        return Verdict(send=True, more=None, why=f"{words}: again as before, {_no_more(cause, given)}")
    return Verdict(send=False, more=None, why=f"{words}, and {_no_more(cause, given)}")


def _more(cause: Cause, given: Given, ceiling: Ceiling, asked: Asked) -> More | None:
    """None where there is no more than it had, or nobody knows what it had."""
    words = _WORDS[cause]
    if cause == "gpu_memory":
        return More(concurrent=1, why=words) if given.concurrent > 1 else None
    if cause == "time":
        if given.time_min is None:
            return None
        minutes = ceil(given.time_min * asked.time_factor)
        minutes = minutes if ceiling.time_min is None else min(minutes, ceiling.time_min)
        return More(time_min=minutes, why=words) if minutes > given.time_min else None
    if given.mem_gb is None:
        return None
    gigabytes = round(given.mem_gb * asked.mem_factor, 2)
    gigabytes = gigabytes if ceiling.mem_gb is None else min(gigabytes, ceiling.mem_gb)
    return More(mem_gb=gigabytes, why=words) if gigabytes > given.mem_gb else None


def _no_more(cause: Cause, given: Given) -> str:
    if cause == "gpu_memory":
        return "it had the GPU to itself: give the stage a `gpu_type` with more"
    had = given.time_min if cause == "time" else given.mem_gb
    option = "--time-min" if cause == "time" else "--mem-gb"
    if had is None:
        return f"nobody knows what it had: say `condhpc retry {option}`"
    return f"it had the most that its partition gives ({_had(cause, given)})"


def _had(cause: Cause, given: Given) -> str:
    if cause == "time":
        return f"{given.time_min} min"
    return f"{given.mem_gb:g} GB" if cause == "memory" else f"{given.concurrent} at a time"


def _shown(more: More) -> str:
    parts = [f"{more.time_min} min"] if more.time_min is not None else []
    parts += [f"{more.mem_gb:g} GB"] if more.mem_gb is not None else []
    parts += [f"{more.concurrent} at a time"] if more.concurrent is not None else []
    return ", ".join(parts)
