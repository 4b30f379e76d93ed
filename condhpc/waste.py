"""What was charged against what led to records: where each charged second went, by cause. Pure."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from itertools import pairwise
from typing import Literal, get_args

import msgspec

from condhpc.accounts import Charge
from condhpc.slurm_text import StateClass, classify
from condhpc.tries import Try

Purpose = Literal[
    "productive", "running", "failed", "timed_out", "out_of_memory", "preempted", "node_fail", "cancelled", "stopped",
    "blocked", "superseded", "idle_in_pack", "other",
]  # fmt: skip
PURPOSES: tuple[Purpose, ...] = get_args(Purpose)
"""`productive`: led to a record, directly or through a checkpoint; `running`: nobody knows yet; the others are waste.

`stopped`: at a checkpoint from which nothing went on yet; `idle_in_pack`: imports, waiting, the time between tasks.
"""
_CAUSE_OF: dict[str, Purpose] = {
    "PREEMPTED": "preempted", "TIMEOUT": "timed_out", "DEADLINE": "timed_out", "OUT_OF_MEMORY": "out_of_memory",
    "CANCELLED": "cancelled", "FAILED": "failed", "COMPLETED": "idle_in_pack", "REQUEUED": "stopped",
    "REQUEUE_HOLD": "stopped", "SPECIAL_EXIT": "stopped",
}  # fmt: skip
_KILLED = frozenset({"preempted", "timed_out", "out_of_memory", "node_fail", "cancelled"})
"""Ends that come from outside: they are why a task that ran then left no record, whatever else it still said."""


class Spent(msgspec.Struct, frozen=True):
    """Where the time of one charge went."""

    charge: Charge
    seconds: dict[Purpose, float]
    """They add up to `elapsed_s`."""
    tries: tuple[Try, ...]

    @property
    def cause(self) -> Purpose | Literal[""]:
        """The cause of most of its waste; empty without waste other than idling."""
        bad = sorted((-s, p) for p, s in self.seconds.items() if is_waste(p) and p != "idle_in_pack" and s > 0)
        if bad:
            return bad[0][1]
        if self.seconds.get("productive", 0.0) + self.seconds.get("running", 0.0) > 0:
            return ""
        found = _cause_of(self.charge.state) if self.charge.is_over else "idle_in_pack"
        return "" if found == "idle_in_pack" else found


def is_waste(purpose: Purpose) -> bool:
    """Whether that time led to nothing."""
    return purpose not in {"productive", "running"}


def spent(charges: Sequence[Charge], tries: Iterable[Try]) -> tuple[list[Spent], list[Try]]:
    """Each charge with the attempts in it, and the attempts that are in none."""
    of_element = _of_elements(charges)
    within: dict[tuple[str, int], list[Try]] = defaultdict(list)
    strays = []
    for one in tries:
        found = _charge_of(one, of_element.get(one.element, ()))
        if found is None:
            strays.append(one)
        else:
            within[found.element, found.restart].append(one)
    every = by_element(charges)
    return [_spent(charge, within.get((charge.element, charge.restart), [])) for charge in every], strays


def by_element(charges: Iterable[Charge]) -> list[Charge]:
    """Those of one element one after the other."""
    return [charge for of_one in _of_elements(charges).values() for charge in of_one]


def _of_elements(charges: Iterable[Charge]) -> dict[str, list[Charge]]:
    found: dict[str, list[Charge]] = defaultdict(list)
    for charge in charges:
        found[charge.element].append(charge)
    return found


def hours(found: Iterable[Spent], *, gpus: bool) -> dict[str, dict[Purpose, float]]:
    """GPU-hours by GPU type and purpose; or, with `gpus` false, core-hours of all charges, by the type they had."""
    sums: dict[str, dict[Purpose, float]] = defaultdict(lambda: defaultdict(float))
    for one in found:
        charge = one.charge
        if gpus and not charge.gpus:
            continue
        for purpose, seconds in one.seconds.items():
            sums[charge.gpu_type][purpose] += seconds * (charge.gpus if gpus else charge.cpus) / 3600
    return {kind: dict(of_kind) for kind, of_kind in sorted(sums.items())}


# -- which attempt in which charge ---------------------------------------------------------------------------------


def _charge_of(one: Try, charges: Sequence[Charge]) -> Charge | None:
    """By time, which survives purged history; where clocks disagree, by the number of restarts."""
    started = charges if len(charges) == 1 else [charge for charge in charges if charge.start_s is not None]
    best = (
        started[0]
        if len(started) == 1
        else max(started, key=lambda c: (_overlap_s(one, c), c.restart == one.restarts), default=None)
    )
    if best is None or best.start_s is None or (best.restart != one.restarts and _overlap_s(one, best) <= 0):
        return None
    return best


def _overlap_s(one: Try, charge: Charge) -> float:
    start_s, end_s = _window(charge)
    last = one.end_s if one.end_s is not None else one.start_s
    return max(0.0, min(last, end_s) - max(one.start_s, start_s) + 1.0)  # sacct's seconds are whole


def _window(charge: Charge) -> tuple[float, float]:
    """Start and end; of one that goes on, or whose end is before its start, what its elapsed time makes of it."""
    start_s = float(charge.start_s or 0)
    held_s = float(charge.elapsed_s + charge.suspended_s)
    if charge.end_s is None or charge.end_s < start_s:
        return start_s, start_s + held_s
    return start_s, float(charge.end_s)


# -- where its time went -------------------------------------------------------------------------------------------


def _spent(charge: Charge, tries: Sequence[Try]) -> Spent:
    """Each instant is shared by the attempts at work in it; what is left over idled."""
    start_s, end_s = _window(charge)
    if charge.start_s is None or charge.elapsed_s <= 0:
        return Spent(charge, {}, tuple(tries))
    purposes = [_purpose(one, charge, tries) for one in tries]
    intervals = [_interval(one, tries, start_s, end_s) for one in tries]
    shares = _shared(intervals, purposes)
    idle_s = end_s - start_s - sum(shares.values())
    if idle_s > 0:
        shares[_left_over(charge, tries)] += idle_s
    total = sum(shares.values())  # with the time it was suspended, in which nobody worked
    if total <= 0:
        return Spent(charge, {_left_over(charge, tries): float(charge.elapsed_s)}, tuple(tries))
    return Spent(charge, {p: s * charge.elapsed_s / total for p, s in shares.items()}, tuple(tries))


def _purpose(one: Try, charge: Charge, tries: Sequence[Try]) -> Purpose:
    if one.productive:
        return "productive"
    if one.outcome in {"blocked", "superseded"}:
        return "blocked" if one.outcome == "blocked" else "superseded"
    if not charge.is_over:
        return "failed" if one.outcome == "failed" else "running"
    cause = _cause_of(charge.state)
    is_last = one.start_s >= max(other.start_s for other in tries)
    if one.outcome == "failed":
        return cause if cause == "out_of_memory" and is_last else "failed"
    if cause in _KILLED or one.outcome == "stopped":
        return cause if cause in _KILLED else "stopped"
    return "stopped" if cause == "stopped" else "failed"


def _cause_of(state: str) -> Purpose:
    word = state.split(" ", 1)[0].rstrip("+")
    if classify(word) is StateClass.INFRA and word != "PREEMPTED":
        return "node_fail"
    return _CAUSE_OF.get(word, "other")


def _left_over(charge: Charge, tries: Sequence[Try]) -> Purpose:
    """What the time without an attempt was: idling where there were some, else why there was none."""
    if not charge.is_over:
        return "idle_in_pack" if tries else "running"
    return "idle_in_pack" if tries else _cause_of(charge.state)


def _interval(one: Try, tries: Sequence[Try], start_s: float, end_s: float) -> tuple[float, float]:
    """When it was at work, within the charge; one that was killed worked until the charge ended, if it was the last."""
    last = one.end_s if one.end_s is not None else one.start_s
    if one.outcome == "silent" and not any(other.start_s > last for other in tries if other is not one):
        last = end_s
    return max(one.start_s, start_s), min(last, end_s)


def _shared(intervals: Sequence[tuple[float, float]], purposes: Sequence[Purpose]) -> dict[Purpose, float]:
    """Seconds by purpose; an instant with n attempts at work gives each an nth."""
    shares: dict[Purpose, float] = defaultdict(float)
    held = sorted((a, b, purpose) for (a, b), purpose in zip(intervals, purposes, strict=True) if b > a)
    if all(first[1] <= second[0] for first, second in pairwise(held)):  # one after the other, as without lanes
        for a, b, purpose in held:
            shares[purpose] += b - a
        return shares
    events = [(when, step, purpose) for a, b, purpose in held for when, step in ((a, 1), (b, -1))]
    active: Counter[Purpose] = Counter()
    before = 0.0
    for when, step, purpose in sorted(events):
        if count := active.total():
            for one, n in active.items():
                shares[one] += (when - before) * n / count
        active[purpose] += step
        before = when
    return shares
