"""What a block says: who is best and who is alike, who beats random, distillation against coresets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from condhpc.paper.blocks import RANDOM, REFERENCE, Block, Runs
from condhpc.paper.bootstrap import Arm, Difference, differences


class Duel(NamedTuple):
    """The best distilled set against the best coreset."""

    distilled: str
    coreset: str
    difference: Difference | None
    """Holds for whichever pair of the block was picked: it is one of intervals that hold all at once."""


class Judged(NamedTuple):
    """A block and its comparisons."""

    block: Block
    best: str
    """Highest mean among condensers; empty where none is recorded."""
    behind: dict[str, Difference]
    """Best minus each other condenser; intervals hold for every choice of the best at once."""
    over_random: dict[str, Difference]
    """Each condenser minus random; intervals hold all at once."""
    duel: Duel | None

    @property
    def alike(self) -> frozenset[str]:
        """Condensers that may be as good as the best: their interval holds 0, or nobody knows it."""
        return frozenset(name for name, found in self.behind.items() if found.holds_zero)


def judge(block: Block) -> Judged:
    """Compare the condensers of a block; reference lines take no part."""
    runs = [one for one in block.cells.values() if one.arm.top1 and one.kind != REFERENCE]
    best = max(runs, key=_mean, default=None)
    return Judged(
        block=block,
        best="" if best is None else best.condenser,
        behind={} if best is None else _behind(best, runs),
        over_random=_over_random(block, runs),
        duel=_duel(runs),
    )


def _mean(one: Runs) -> float:
    return one.statistics.mean if one.statistics.mean is not None else -1.0


def _behind(best: Runs, runs: Sequence[Runs]) -> dict[str, Difference]:
    """The best was picked after looking: its intervals are those of all pairs at once."""
    pairs = [(one, other) for i, one in enumerate(runs) for other in runs[i + 1 :]]
    found = differences([_ordered(best, *pair) for pair in pairs])
    named = zip(pairs, found, strict=True)
    return {
        (other if one is best else one).condenser: difference
        for (one, other), difference in named
        if difference is not None and (one is best or other is best)
    }


def _ordered(best: Runs, one: Runs, other: Runs) -> tuple[Arm, Arm]:
    return (other.arm, one.arm) if other is best else (one.arm, other.arm)


def _over_random(block: Block, runs: Sequence[Runs]) -> dict[str, Difference]:
    random = block.cells.get(RANDOM)
    if random is None:
        return {}
    others = [one for one in runs if one.condenser != RANDOM]
    found = differences([(one.arm, random.arm) for one in others])
    return {one.condenser: held for one, held in zip(others, found, strict=True) if held is not None}


def _duel(runs: Sequence[Runs]) -> Duel | None:
    """Random images are nobody's strategy, and what sets made elsewhere are is not known: neither takes part."""
    distilled = [one for one in runs if one.kind == "method"]
    coresets = [one for one in runs if one.kind == "coreset"]
    if not distilled or not coresets:
        return None
    pairs = [(one, other) for one in distilled for other in coresets]
    found = differences([(one.arm, other.arm) for one, other in pairs])
    first, second = max(distilled, key=_mean), max(coresets, key=_mean)
    return Duel(first.condenser, second.condenser, found[pairs.index((first, second))])
