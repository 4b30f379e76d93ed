"""Figures as PNG and SVG; matplotlib is at home here. From equal numbers the same bytes: no dates, fixed SVG ids.

Every condenser has one colour and one marker in all figures of a run; the legend stands beside the panels.
"""

from __future__ import annotations

import io
import math
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import matplotlib as mpl
from matplotlib import style
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from condhpc.paper.plots import Panel, Plot, Point, front

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_RC: dict[Any, Any] = {
    "text.parse_math": False,
    "svg.hashsalt": "condhpc",
    "svg.fonttype": "path",
    "font.size": 8,
    "axes.titlesize": 8,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.alpha": 0.25,
    "legend.frameon": False,
    "figure.dpi": 100,
    "savefig.dpi": 150,
}
_COLOURS = (
    "#666666", "#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#8c564b", "#17becf", "#9467bd",
    "#bcbd22", "#000000",
)  # fmt: skip
_MARKERS = "os^Dvp<*>hXP"
_PANEL_INCHES = 2.5, 2.2
_TICKS = 4
"""At most so many steps between decades."""


class Drawn(NamedTuple):
    """A figure in both formats."""

    png: bytes
    svg: bytes


def draw(plot: Plot, names: Sequence[str]) -> Drawn:
    """A plot; `names` are all condensers of the run in their order, which decides colours."""
    with style.context("default"), mpl.rc_context(_RC):
        rows, columns = max(p.row for p in plot.panels) + 1, max(p.column for p in plot.panels) + 1
        size = (columns * _PANEL_INCHES[0] + 1.9, rows * _PANEL_INCHES[1] + 0.5)
        figure = Figure(figsize=size, layout="constrained")
        FigureCanvasAgg(figure)
        axes = figure.subplots(rows, columns, squeeze=False, sharey=plot.shares_y and "row")
        for row in axes:
            for empty in row:
                empty.set_visible(False)
        for panel in plot.panels:
            _panel(axes[panel.row][panel.column], plot, panel, names)
        figure.suptitle(plot.title, fontsize=9)
        figure.legend(handles=list(_legend(plot, names)), loc="outside right upper")
        png = _saved(figure, "png", {"Software": None})
        figure.set_layout_engine("none")  # all is in its place now: not again for the other format
        return Drawn(png, _saved(figure, "svg", {"Date": None, "Creator": None}))


def _saved(figure: Figure, kind: str, metadata: dict[str, None]) -> bytes:
    held = io.BytesIO()
    figure.savefig(held, format=kind, metadata=metadata)
    return held.getvalue()


def _look(names: Sequence[str], name: str) -> dict[str, Any]:
    i = names.index(name)
    return {"color": _COLOURS[i % len(_COLOURS)], "marker": _MARKERS[i % len(_MARKERS)]}


def _legend(plot: Plot, names: Sequence[str]) -> Iterator[Line2D]:
    used = {point.condenser for panel in plot.panels for point in panel.points}
    for name in (name for name in names if name in used):
        yield Line2D([], [], label=name, markersize=5, linestyle="-" if plot.joined else "", **_look(names, name))
    if plot.has_front:
        yield Line2D([], [], label="Pareto front", color="black", linestyle=":", linewidth=1)


def _panel(axes: Axes, plot: Plot, panel: Panel, names: Sequence[str]) -> None:
    axes.set_visible(True)
    axes.set_title(panel.title)
    axes.set_xlabel(plot.x_label)
    if panel.column == 0 or not plot.shares_y:
        axes.set_ylabel(plot.y_label)
    for name in names:
        _series(axes, plot, [point for point in panel.points if point.condenser == name], _look(names, name))
    _SCALES[plot.x_scale](axes, panel)
    if plot.y_ranks:
        last = int(max([point.y for point in panel.points], default=1))
        axes.set_yticks(range(1, last + 1))
        axes.set_ylim(last + 0.5, 0.5)
    if plot.has_front:
        _front(axes, panel.points)


def _series(axes: Axes, plot: Plot, points: Sequence[Point], look: dict[str, Any]) -> None:
    if not points:
        return
    x, y = [point.x for point in points], [point.y for point in points]
    axes.errorbar(
        x,
        y,
        yerr=None if plot.y_ranks else [point.y_sd for point in points],
        markersize=5,
        linewidth=1,
        elinewidth=0.7,
        linestyle="-" if plot.joined else "",
        **look,
    )


def _linear(axes: Axes, panel: Panel) -> None:
    del panel
    axes.xaxis.set_major_locator(MaxNLocator(4))


def _log(axes: Axes, panel: Panel) -> None:
    """Decades; costs of 0 have no place there and stand at the left edge, in front of a line."""
    axes.set_xscale("log")
    if not panel.points:
        return
    edge = min((point.x for point in panel.points if point.at_zero), default=0.0)
    spent = [point.x for point in panel.points if not point.at_zero] or [edge * 10]
    low, high = math.floor(math.log10(min(spent))), math.ceil(math.log10(max(spent)))
    step = max(1, -(-(high - low) // _TICKS))
    ticks = [value for power in range(high, low - 1, -step) if (value := 10.0**power) > 3 * edge]
    axes.set_xticks(ticks, [f"{value:g}" for value in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlim(0.6 * (edge or 10.0**low), 1.6 * 10.0**high)
    if edge:
        axes.axvline(2 * edge, color="black", linewidth=0.5)
        axes.annotate("0", (edge, 0), xycoords=("data", "axes fraction"), xytext=(0, -4), textcoords="offset points",
                      ha="center", va="top")  # fmt: skip


def _ipc(axes: Axes, panel: Panel) -> None:
    """Logarithmic, with the values themselves as ticks."""
    axes.set_xscale("log")
    values = sorted({point.x for point in panel.points})
    axes.set_xticks(values, [f"{value:g}" for value in values])
    axes.set_xticks([], minor=True)


def _words(axes: Axes, panel: Panel) -> None:
    """Positions with names."""
    axes.set_xticks(range(len(panel.x_names)), list(panel.x_names), rotation=20, ha="right")
    axes.set_xlim(-0.3, len(panel.x_names) - 0.7)


_SCALES: dict[str, Callable[[Axes, Panel], None]] = {"linear": _linear, "log": _log, "ipc": _ipc, "words": _words}


def _front(axes: Axes, points: Sequence[Point]) -> None:
    best = front(points)
    if len(best) > 1:
        axes.step([p.x for p in best], [p.y for p in best], where="post", color="black", linestyle=":", linewidth=1)
