"""What condensed sets cost with all that they consumed: teachers and embeddings are charged to their users."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

from condhpc.ledger import Entry
from condhpc.lineage import Lineage
from condhpc.runs import PlanLine

_DECIMALS = 6
_WEIGHTS = "weights:"
"""A record's `source` with this prefix names weights that were made elsewhere."""


class SetCost(NamedTuple):
    """Seconds of the attempts that left records; None where a record of what was consumed is missing."""

    standalone_cpu_s: float | None
    """The set's own task, and all that it rests on, each once: what making this set alone takes."""
    standalone_gpu_s: float | None
    amortised_cpu_s: float | None
    """Its own task, and its share of all that it rests on: summed over the sets of a plan, nothing counts twice."""
    amortised_gpu_s: float | None
    shared_by: str
    """By how many planned sets each share is divided: `teacher single 12; embed teacher:single 6`."""
    uncharged: str
    """Weights made elsewhere that it rests on; what their training took is not known and not charged."""
    pretrained_on: str = ""
    """What generators made elsewhere, that it rests on, saw before."""


def set_costs(plan: Sequence[PlanLine], lineage: Lineage, entries: Mapping[str, Entry]) -> dict[str, SetCost]:
    """The cost of every planned condensed set, by its key."""
    lines = {line.key: line for line in plan}
    return {key: _cost(key, divisors, lines, entries) for key, divisors in consumption(plan, lineage).items()}


def consumption(plan: Sequence[PlanLine], lineage: Lineage) -> dict[str, dict[str, int]]:
    """By set: the keys of itself and of all that it rests on, each with the number of planned sets that share it."""
    sets = [line.key for line in plan if line.stage == "condense" and line.label.shard is None]
    shards = {line.key for line in plan if line.label.shard is not None}
    consumed = {key: lineage.ordered(lineage.ancestors(key) - shards) for key in sets}
    users = Counter(parent for parents in consumed.values() for parent in parents)
    return {key: {key: 1} | {parent: users[parent] for parent in parents} for key, parents in consumed.items()}


def _cost(
    key: str, divisors: Mapping[str, int], lines: Mapping[str, PlanLine], entries: Mapping[str, Entry]
) -> SetCost:
    consumed = [parent for parent in divisors if parent != key]
    cpu_s, cpu_share_s = _sums("cpu_s", divisors, entries)
    gpu_s, gpu_share_s = _sums("gpu_s", divisors, entries)
    named = (f"{_name(lines[parent])} {divisors[parent]}" for parent in consumed if parent in lines)
    shared = "; ".join(dict.fromkeys(named))  # parts of an embedding are one for people
    uncharged = "; ".join(_elsewhere([*consumed, key], entries))
    pretrained = "; ".join(_told("pretrained_on", [*consumed, key], entries))
    return SetCost(cpu_s, gpu_s, cpu_share_s, gpu_share_s, shared, uncharged, pretrained)


def _sums(name: str, divisors: Mapping[str, int], entries: Mapping[str, Entry]) -> tuple[float | None, float | None]:
    """Standalone and amortised."""
    costs = [cost_of(entries[key], name) if key in entries else None for key in divisors]
    known = [cost for cost in costs if cost is not None]
    if len(known) < len(costs):
        return None, None
    shares = (cost / divisor for cost, divisor in zip(known, divisors.values(), strict=True))
    return round(math.fsum(known), _DECIMALS), round(math.fsum(shares), _DECIMALS)


def cost_of(entry: Entry, name: str) -> float | None:
    """Seconds of a task with its shards: a set that was made in parts says what these took.

    None where they are not known, and of a record with costs below 0, of which nothing is believed.
    """
    return costs_of(entry, name)[0]


def costs_of(entry: Entry, *names: str) -> tuple[float | None, ...]:
    """Several of these."""
    own, values = entry.cost, entry.values
    if own and min(own.values()) < 0.0:
        return (None,) * len(names)
    return tuple([own[n] + float(values.get(f"shards_{n}", 0.0)) if n in own else None for n in names])


def _name(line: PlanLine) -> str:
    return f"{line.stage} {line.label.role}" if line.label.role else line.stage


def _elsewhere(keys: Sequence[str], entries: Mapping[str, Entry]) -> Iterator[str]:
    """Names of weights made elsewhere, each once, in the order of the plan."""
    sources = _told("source", keys, entries)
    yield from (s.removeprefix(_WEIGHTS) for s in sources if s.startswith(_WEIGHTS))


def _told(name: str, keys: Sequence[str], entries: Mapping[str, Entry]) -> Iterator[str]:
    """What records say under a name, each text once, in the order of the plan."""
    texts = (str(entries[key].values.get(name, "")) for key in keys if key in entries)
    yield from dict.fromkeys(text for text in texts if text)
