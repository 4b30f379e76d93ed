"""What a run was planned to take, and its budget's limits, read again only where their files changed."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from condhpc import reservations
from condhpc.errors import StoreError
from condhpc.layout import Layout, RunFolder
from condhpc.outlook import BudgetLine
from condhpc.reservations import Pot

if TYPE_CHECKING:
    from condhpc.spending import Standing

_UNITS: tuple[tuple[Literal["gpuh", "cpuh", "kwh"], str], ...] = (("gpuh", "gpu_h"), ("cpuh", "cpu_h"), ("kwh", "kwh"))
_DECIMALS = 6


class Hours(NamedTuple):
    """Low and high end; GPU types are never added up."""

    gpu_h: dict[str, tuple[float, float]]
    cpu_h: tuple[float, float] | None


class _Row(msgspec.Struct, gc=False):
    """What is needed of a `predictions.CostRow`."""

    device: str
    gpu: str
    unknown: int
    low_h: float | None = None
    high_h: float | None = None


_rows = msgspec.json.Decoder(list[_Row])


class Budgets:
    """Of one run."""

    def __init__(self, run: RunFolder, layout: Layout) -> None:
        self._run = run
        self._layout = layout
        self._hours: Hours | None = None
        self._pot: Pot | None = None
        self._seen: tuple[object, ...] | None = None
        self._notes: dict[str, str] = {}

    def planned(self) -> Hours:
        """As the plan predicted it when the run was submitted, for what was new then."""
        if self._hours is None:
            self._hours = self._forecast()
        return self._hours

    def _forecast(self) -> Hours:
        try:
            rows = _rows.decode(self._run.forecast.read_bytes())
        except FileNotFoundError:
            return Hours({}, None)  # submitted before there were forecasts
        except (OSError, ValueError) as error:
            self._notes["planned"] = f"{self._run.forecast}: cannot be read ({error}); planned hours are not known"
            return Hours({}, None)
        known = [(row, row.low_h, row.high_h) for row in rows if row.low_h is not None and row.high_h is not None]
        if unknown := sum(row.unknown for row in rows):
            self._notes["planned"] = f"planned hours are without {unknown} tasks: nobody knew what they take"
        gpu_h: dict[str, tuple[float, float]] = defaultdict(lambda: (0.0, 0.0))
        for row, low_h, high_h in known:
            if row.device == "gpu":
                gpu_h[row.gpu] = gpu_h[row.gpu][0] + low_h, gpu_h[row.gpu][1] + high_h
        on_cpu = [(low_h, high_h) for row, low_h, high_h in known if row.device == "cpu"]
        cpu_h = (sum(low for low, _ in on_cpu), sum(high for _, high in on_cpu)) if on_cpu else None
        return Hours(dict(gpu_h), cpu_h)

    def lines(self, standing: Standing | None, gpu_h: float, cpu_h: float, kwh: float | None) -> list[BudgetLine]:
        """One per unit with a limit. Without a `standing` the run's own hours count, and reservations are not known."""
        self._notes.pop("budget", None)
        pot = standing.pot if standing is not None else self._read_pot()
        if pot is None or pot.budget is None:
            return []
        own = {"gpu_h": gpu_h, "cpu_h": cpu_h, "kwh": kwh or 0.0}
        if standing is None and len(pot.runs) > 1:
            others = len(pot.runs) - 1
            told = f"budget: what {others} other runs were charged is not in it; `condhpc budget` tells"
            self._notes["budget"] = told
        found = []
        for unit, name in _UNITS:
            limit = getattr(pot.budget, name)
            if limit is not None:
                charged = own[name] if standing is None else getattr(standing.charged, name)
                reserved = 0.0 if standing is None else getattr(standing.reserved, name)
                line = BudgetLine(
                    unit=unit, limit=limit, charged=round(charged, _DECIMALS), reserved=round(reserved, _DECIMALS)
                )
                found.append(line)
        return found

    def _read_pot(self) -> Pot | None:
        """Its file holds a number for every task that was sent."""
        seen = (_look(self._run.budget), _look(self._pot.path) if self._pot is not None else None)
        if seen != self._seen:
            self._notes.pop("budget file", None)
            try:
                self._pot = reservations.pot_of(self._run, self._layout)
            except (StoreError, OSError) as error:  # of a newer condhpc; closed to us
                self._pot = None
                self._notes["budget file"] = f"budget: {error}"
            self._seen = (_look(self._run.budget), _look(self._pot.path) if self._pot is not None else None)
        return self._pot

    def notes(self) -> Iterator[str]:
        """What could not be told."""
        yield from self._notes.values()


def _look(path: Path) -> tuple[int, int] | None:
    try:
        found = os.stat(path)  # noqa: PTH116 - one call
    except FileNotFoundError:
        return None
    return found.st_size, found.st_mtime_ns
