"""What the numbers say, in words: computed sentences, each with its interval and its n, or that seeds are too few."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from condhpc.paper.accuracy import interval
from condhpc.paper.blocks import Block, Place
from condhpc.paper.bootstrap import RESAMPLES, Difference
from condhpc.paper.costs import SetCosts
from condhpc.paper.judgement import Duel, Judged
from condhpc.paper.metric_pages import Coverage, Sets, coverage
from condhpc.paper.pages import signed, significant, words

Outcome = Literal["first", "second", "open", "unknown"]
"""Which of two is better; `open`: the interval holds 0; `unknown`: not enough seeds."""
Costs = Mapping[tuple[str, str, int | None], SetCosts]
_DECIMALS = 2


def outcome(found: Difference | None) -> Outcome:
    """What may be claimed of a difference."""
    if found is None or found.low is None or found.high is None or not found.seeded:
        return "unknown"
    return "first" if found.low > 0 else "second" if found.high < 0 else "open"


def text(judged: Sequence[Judged], costs: Sequence[SetCosts], sets: Sequence[Sets]) -> str:
    """The whole page."""
    with_sets = [one for one in judged if one.block.ipc is not None and any(_compared(one))]
    by_set = {(one.dataset, one.condenser, one.ipc): one for one in costs}
    lines = ["# Verdict", "", *_how(), "", "## In short", "", *_short(with_sets, sets), ""]
    for place in dict.fromkeys(one.block.place for one in with_sets):
        lines += [f"## {place}", ""]
        for one in (one for one in with_sets if one.block.place == place):
            lines += [f"### ipc {one.block.ipc}", "", *_block(one, by_set), ""]
    for dataset in dict.fromkeys(one.block.place.dataset for one in with_sets):
        found = list(_coverage(dataset, with_sets, sets))
        lines += [f"## {dataset}: coverage", "", *found, ""]
    return "\n".join(lines).rstrip("\n") + "\n"


def _how() -> list[str]:
    sentences = (
        f"Every sentence is computed. Intervals are 95 %, from {RESAMPLES:,} resamples of set seeds, student seeds and",
        "test images, with students paired by their seed. Those of one comparison at one ipc hold all at once,",
        "whichever condenser turned out best; they do not over several datasets, protocols or ipc.",
        'n counts pairs of students. "Not told apart" means that the interval holds 0, not that two are equal.',
        "Random images are not a coreset strategy here, and sets made elsewhere count on neither side.",
    )
    return [" ".join(sentences)]


def _compared(one: Judged) -> Iterator[str]:
    yield from (name for name, cell in one.block.cells.items() if cell.kind in {"method", "coreset", "external"})


def _where(block: Block) -> str:
    return f"{block.place}, ipc {block.ipc}"


def _short(judged: Sequence[Judged], sets: Sequence[Sets]) -> Iterator[str]:
    """Counts of the claims below."""
    duels = [(one, outcome(one.duel.difference)) for one in judged if one.duel is not None]
    if duels:
        counts = Counter(found for _, found in duels)
        yield (
            f"- Best distilled set against best coreset, {len(duels)} comparisons: distilled better in "
            f"{counts['first']}, coreset better in {counts['second']}, not told apart in {counts['open']}, not enough "
            f"seeds in {counts['unknown']}."
        )
    else:
        yield "- No place has both a distilled set and a coreset recorded."
    beats: dict[str, list[Outcome]] = {}
    for one in judged:
        for name, found in one.over_random.items():
            beats.setdefault(name, []).append(outcome(found))
    never = [name for name, found in beats.items() if "first" not in found and set(found) != {"unknown"}]
    always = [name for name, found in beats.items() if set(found) == {"first"}]
    if beats:
        yield f"- Beat random wherever they were compared: {_list(always)}."
        yield f"- Beat random nowhere (with enough seeds): {_list(never)}."
    places = dict.fromkeys((one.block.place.dataset, one.block.ipc) for one in judged)
    held = [covered for where in places if (covered := coverage(sets, *where)) is not None]
    if held:
        counts = Counter(outcome(covered.gain) for covered in held)
        yield (
            f"- Coverage, best coreset against best distilled set, {len(held)} comparisons: coreset better in "
            f"{counts['first']}, distilled better in {counts['second']}, not told apart in {counts['open']}, not "
            f"enough sets in {counts['unknown']}."
        )


def _list(names: Sequence[str]) -> str:
    return words([f"`{name}`" for name in names]) if names else "none"


def _block(one: Judged, costs: Costs) -> Iterator[str]:
    yield from _against_random(one)
    if one.duel is None:
        yield "- Distillation against coresets: not both are recorded here."
        return
    yield _duel(one, one.duel)
    yield _price(one.block.place, one.block.ipc, one.duel, costs)


def _against_random(one: Judged) -> Iterator[str]:
    if not one.over_random:
        yield "- Random: nothing recorded to compare with."
        return
    groups: dict[Outcome, list[str]] = {"first": [], "open": [], "second": [], "unknown": []}
    for name, found in one.over_random.items():
        groups[outcome(found)].append(f"`{name}` ({_claim(found)})")
    titles = {
        "first": "Better than random",
        "open": "Not told apart from random",
        "second": "Worse than random",
        "unknown": "Not enough seeds to compare with random",
    }
    for which, title in titles.items():
        if groups[which]:  # type: ignore[index]
            yield f"- {title}: {', '.join(groups[which])}."  # type: ignore[index]


def _claim(found: Difference) -> str:
    value = signed(100 * found.value, _DECIMALS)
    return f"{value} points{interval(found, _DECIMALS)}, n = {found.n}, over {_over(found)}"


def _over(found: Difference) -> str:
    return words(found.over) if found.over else "nothing"


def _duel(one: Judged, duel: Duel) -> str:
    means = [one.block.cells[name].statistics.mean or 0.0 for name in (duel.distilled, duel.coreset)]
    head = (
        f"- Best distilled set `{duel.distilled}` ({means[0]:.{_DECIMALS}f} %), best coreset `{duel.coreset}` "
        f"({means[1]:.{_DECIMALS}f} %): "
    )
    if duel.difference is None:
        return f"{head}they share no seeds, so they are not compared."
    said = {
        "first": "the distilled set is better",
        "second": "the coreset is better",
        "open": "not told apart",
        "unknown": "not enough seeds for a claim",
    }[outcome(duel.difference)]
    return f"{head}{said} ({_claim(duel.difference)})."


def _price(place: Place, ipc: int | None, duel: Duel, costs: Costs) -> str:
    """What both took, and how many times the other it is, in a unit that both have on one type of GPU."""
    sides = [costs.get((place.dataset, name, ipc)) for name in (duel.distilled, duel.coreset)]
    distilled, coreset = sides
    if distilled is None or coreset is None or not distilled.n or not coreset.n:
        return "- Cost: not recorded on both sides."
    parts = [_hours(distilled), _hours(coreset)]
    return f"- Cost of one set: {'; '.join(parts)}. {_times(distilled, coreset)}{_uncharged(distilled)}"


def _hours(one: SetCosts) -> str:
    figures = [
        f"{significant(value)} {unit}"
        for name, unit in (("gpu_h", f"GPU-h ({' / '.join(one.gpu_types)})"), ("cpu_h", "CPU-h"), ("kwh", "kWh"))
        if (value := one.number(name)) is not None and (name != "gpu_h" or one.gpu_types)
    ]
    full = ""
    if (over := one.number("over_full")) is not None:
        full = f", {significant(over)} times one full training ({one.full_training})"
    elif (over := one.number("kwh_over_full")) is not None:  # as of a coreset chosen on CPUs
        full = f", {significant(over)} times the energy of one full training ({one.full_training})"
    return f"`{one.condenser}` {', '.join(figures) or 'n/a'}{full}, n = {_sets(one.n)}"


def _sets(count: int) -> str:
    return "1 set" if count == 1 else f"{count} sets"


def _times(distilled: SetCosts, coreset: SetCosts) -> str:
    unit = _unit(distilled, coreset)
    spent, base = distilled.number(unit), coreset.number(unit)
    if spent is None or not base:
        return "How many times more it is cannot be said: they have no measured unit in common."
    times = f"In {_UNITS[unit]} the distilled set took {significant(spent / base)} times as much as the coreset"
    return f"{times}; {_times_alone(distilled, coreset)}."


def _times_alone(distilled: SetCosts, coreset: SetCosts) -> str:
    """With what both rest on: a teacher that both need makes the dearer look less so, one that one needs more."""
    unit = _unit_alone(distilled, coreset)
    spent, base = (one.number(f"standalone_{unit}") for one in (distilled, coreset))
    if spent is None or not base:
        return "alone, each with all that it rests on, they have no measured unit in common"
    return f"alone, each with all that it rests on, {significant(spent / base)} times in {_UNITS[unit]}"


_UNITS = {"gpu_h": "GPU-hours", "cpu_h": "CPU-hours", "kwh": "kWh"}


def _unit(distilled: SetCosts, coreset: SetCosts) -> str:
    """GPU-hours on the same single type; CPU-hours where neither had a GPU; else energy, which all have in common."""
    if not distilled.gpu_types and not coreset.gpu_types:
        return "cpu_h"
    return "gpu_h" if len(distilled.gpu_types) == 1 and distilled.gpu_types == coreset.gpu_types else "kwh"


def _unit_alone(distilled: SetCosts, coreset: SetCosts) -> str:
    """As `_unit`, where all that they rest on is on that type of GPU, too, or has none; hours of several are n/a."""
    unit = _unit(distilled, coreset)
    hours = [one.number("standalone_gpu_h") for one in (distilled, coreset)]
    return "kwh" if None in hours or (unit == "cpu_h" and any(hours)) else unit


def _uncharged(one: SetCosts) -> str:
    told = [note for note in one.notes if "not charged" in note]
    return f" Beside that `{one.condenser}`: {'; '.join(told)}." if told else ""


def _coverage(dataset: str, judged: Sequence[Judged], sets: Sequence[Sets]) -> Iterator[str]:
    sizes = sorted({one.block.ipc or 0 for one in judged if one.block.place.dataset == dataset})
    for ipc in sizes:
        found = coverage(sets, dataset, ipc)
        if found is None:
            yield f"- ipc {ipc}: not measured for both coresets and distilled sets."
        else:
            yield f"- ipc {ipc}: {_covered(found)}"


def _covered(found: Coverage) -> str:
    sides = [f"`{s.condenser}` {significant(s.statistics.mean or 0.0)} (n = {_sets(len(s.values))})"
             for s in (found.coreset, found.distilled)]  # fmt: skip
    said = {
        "first": "the coreset covers the data better",
        "second": "the distilled set covers the data better",
        "open": "not told apart",
        "unknown": "not enough sets for a claim",
    }[outcome(found.gain)]
    judges = {s.encoder for s in (found.coreset, found.distilled) if not s.independent}
    warning = f" Measured with {words(sorted(judges))}, which is no independent judge." if judges else ""
    return (
        f"{found.metric} ({found.better} is better), best coreset {sides[0]}, best distilled set {sides[1]}: {said}"
        f"{_gain(found.gain)}.{warning}"
    )


def _gain(found: Difference | None) -> str:
    if found is None or found.low is None or found.high is None:
        return ""
    return (
        f" (gain {significant(found.value)} [{significant(found.low)}, {significant(found.high)}], over {_over(found)})"
    )
