"""What figures show, as values: accuracy against cost, by ipc, against coverage, and ranks by protocol. Pure."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

from condhpc.paper.blocks import REFERENCE, Block, Runs
from condhpc.paper.costs import SetCosts
from condhpc.paper.metric_pages import COVERAGE, Sets

Scale = Literal["linear", "log", "ipc", "words"]
_BEFORE_ZERO = 10.0
"""Costs of 0 stand at the least cost above 0 divided by this."""


class Point(NamedTuple):
    """One cell."""

    condenser: str
    x: float
    y: float
    y_sd: float = 0.0
    at_zero: bool = False
    """Its x is 0, which a logarithmic axis cannot show."""


class Panel(NamedTuple):
    """One pair of axes."""

    row: int
    column: int
    title: str
    points: list[Point]
    x_names: tuple[str, ...] = ()


class Plot(NamedTuple):
    """One figure."""

    name: str
    """Stem of its files."""
    title: str
    x_label: str
    y_label: str
    panels: list[Panel]
    x_scale: Scale = "linear"
    joined: bool = False
    """Whether points of a condenser are joined by a line."""
    has_front: bool = False
    y_ranks: bool = False
    shares_y: bool = True


def plots(blocks: Sequence[Block], costs: Sequence[SetCosts], sets: Sequence[Sets]) -> list[Plot]:
    """All figures of a run: four kinds by dataset and student; those without two points are left out."""
    found = []
    for dataset, student in dict.fromkeys((block.place.dataset, block.place.student) for block in blocks):
        held = [b for b in blocks if (b.place.dataset, b.place.student) == (dataset, student) and b.ipc is not None]
        of_dataset = [one for one in costs if one.dataset == dataset]
        made = [
            *_over_cost(held, of_dataset),
            _by_ipc(held),
            _over_coverage(held, [one for one in sets if one.dataset == dataset]),
            _ranks(held),
        ]
        where = f"{dataset}, {student}"
        found += [
            plot._replace(name=f"{plot.name}-{dataset}-{student}", title=f"{where}: {plot.title}")
            for plot in made
            if plot is not None and sum(len(panel.points) for panel in plot.panels) > 1
        ]
    return found


def _compared(block: Block) -> list[tuple[Runs, float, float]]:
    """Condensers with their mean and deviation."""
    found = ((one, one.statistics.mean, one.statistics.sd or 0.0) for one in block.cells.values())
    return [(one, mean, sd) for one, mean, sd in found if mean is not None and one.kind != REFERENCE]


def _axes(blocks: Sequence[Block]) -> Iterator[tuple[tuple[int, int, str], Block]]:
    """Protocols side by side, ipc below each other."""
    protocols = list(dict.fromkeys(block.place.protocol for block in blocks))
    sizes = sorted({block.ipc or 0 for block in blocks})
    for block in blocks:
        title = f"{block.place.protocol}, ipc {block.ipc}"
        yield (sizes.index(block.ipc or 0), protocols.index(block.place.protocol), title), block


def _over_cost(blocks: Sequence[Block], costs: Sequence[SetCosts]) -> Iterator[Plot]:
    """One figure per type of GPU, each with the sets that needed none; in CPU-hours where no set needed one."""
    types = sorted({one.gpu_types[0] for one in costs if len(one.gpu_types) == 1})
    for gpu_type in types or [""]:
        unit = "gpu_h" if types else "cpu_h"
        of_type = [one for one in costs if one.n and (not one.gpu_types or one.gpu_types == (gpu_type,))]
        spent = {(one.condenser, one.ipc): hours for one in of_type if (hours := one.number(unit)) is not None}
        panels = [Panel(*at, _cost_points(block, spent)) for at, block in _axes(blocks)]
        label = f"GPU-hours to make one set ({gpu_type})" if types else "CPU-hours to make one set"
        name = "accuracy-over-cost" + (f"-{_slug(gpu_type)}" if len(types) > 1 else "")
        yield Plot(name, "accuracy over cost", label, "test accuracy, %", panels, "log", has_front=True)


def _slug(text: str) -> str:
    return "".join(c if c.isascii() and c.isalnum() else "_" for c in text)


def _cost_points(block: Block, spent: Mapping[tuple[str, int | None], float]) -> list[Point]:
    above_zero = [hours for hours in spent.values() if hours > 0]
    edge = min(above_zero, default=1.0) / _BEFORE_ZERO
    points = []
    for one, mean, sd in _compared(block):
        hours = spent.get((one.condenser, block.ipc))
        if hours is not None:
            points.append(Point(one.condenser, hours if hours > 0 else edge, mean, sd, hours <= 0))
    return points


def front(points: Sequence[Point]) -> list[Point]:
    """The Pareto front by rising x: points that no other matches at the same or a smaller x."""
    best: list[Point] = []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if not best or point.y > best[-1].y:
            best.append(point)
    return best


def _by_ipc(blocks: Sequence[Block]) -> Plot:
    points: dict[str, list[Point]] = defaultdict(list)
    for block in blocks:
        found = [Point(one.condenser, float(block.ipc or 0), mean, sd) for one, mean, sd in _compared(block)]
        points[block.place.protocol] += found
    panels = [Panel(0, i, protocol, found) for i, (protocol, found) in enumerate(points.items())]
    title, label = "accuracy by size", "images per class"
    return Plot("accuracy-by-ipc", title, label, "test accuracy, %", panels, "ipc", joined=True)


def _over_coverage(blocks: Sequence[Block], sets: Sequence[Sets]) -> Plot | None:
    metric = next((name for name in COVERAGE if any(one.metric == name and one.values for one in sets)), None)
    if metric is None:
        return None
    held = {(one.condenser, one.ipc): one.statistics.mean for one in sets if one.metric == metric}
    panels = []
    for at, block in _axes(blocks):
        points = [
            Point(one.condenser, reached, mean, sd)
            for one, mean, sd in _compared(block)
            if (reached := held.get((one.condenser, block.ipc))) is not None
        ]
        panels.append(Panel(*at, points))
    better = next(one.better for one in sets if one.metric == metric and one.values)
    label = f"{metric} ({better} is better)"
    return Plot("accuracy-over-coverage", "accuracy over coverage", label, "test accuracy, %", panels)


def _ranks(blocks: Sequence[Block]) -> Plot | None:
    """Condensers that every protocol of an ipc has; None with one protocol."""
    protocols = tuple(dict.fromkeys(block.place.protocol for block in blocks))
    if len(protocols) < 2:
        return None
    panels = []
    for column, ipc in enumerate(sorted({block.ipc or 0 for block in blocks})):
        means = {
            block.place.protocol: {one.condenser: mean for one, mean, _ in _compared(block)}
            for block in blocks
            if block.ipc == ipc
        }
        shown = tuple(name for name in protocols if means.get(name))
        common = set.intersection(*(set(means[name]) for name in shown)) if shown else set()
        points = []
        for i, protocol in enumerate(shown):
            order = sorted(common, key=lambda name: (-means[protocol][name], name))
            points += [Point(name, float(i), float(rank)) for rank, name in enumerate(order, start=1)]
        panels.append(Panel(0, column, f"ipc {ipc}", points, shown))
    return Plot(
        "rank-by-protocol", "rank by protocol", "", "rank", panels, "words", joined=True, y_ranks=True, shares_y=False
    )
