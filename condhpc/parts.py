"""One rank's part of a batch: its rows, the rows mixed into them, and what was drawn for both.

Shapes: N images of the whole batch, n of the part, m ≥ n that are prepared for it.
"""

from __future__ import annotations

import dataclasses
from typing import TYPE_CHECKING, Any

import numpy as np

from condhpc.augment import Draws, Mix

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from condhpc.joining import Place


def part_of(count: int, place: Place) -> tuple[int, int]:
    """(start, stop) of a rank's contiguous part of `count` images; parts differ by one at most, and may be empty."""
    return count * place.rank // place.ranks, count * (place.rank + 1) // place.ranks


def needed_rows(mix: Mix | None, start: int, stop: int) -> NDArray[np.int64]:
    """Rows (m) of the whole batch that a part takes: its own first, then partners that are not its own."""
    own_n = np.arange(start, stop)
    if mix is None:
        return own_n
    return np.concatenate([own_n, np.setdiff1d(mix.partner_N[start:stop], own_n)])


def drawn_for(draws: Draws, rows_m: NDArray[np.int64]) -> Draws:
    """What was drawn for some rows; partners are counted within them, a row without its partner mixes with itself."""
    mix = draws.mix
    picked: Draws = _picked(dataclasses.replace(draws, mix=None), rows_m)
    if mix is None:
        return picked
    place_N = np.full(len(mix.partner_N), -1)
    place_N[rows_m] = np.arange(len(rows_m))
    partner_m = place_N[mix.partner_N[rows_m]]
    partner_m = np.where(partner_m < 0, np.arange(len(rows_m)), partner_m)
    return dataclasses.replace(picked, mix=mix._replace(partner_N=partner_m))


def _picked(drawn: Any, rows_m: NDArray[np.int64]) -> Any:
    """Every array of a (nested) set of parameters at some rows. The N in a field's name says along which axis."""
    if dataclasses.is_dataclass(drawn) and not isinstance(drawn, type):
        names = [field.name for field in dataclasses.fields(drawn)]
        return dataclasses.replace(drawn, **{name: _field(name, getattr(drawn, name), rows_m) for name in names})
    return drawn._replace(**{name: _field(name, getattr(drawn, name), rows_m) for name in drawn._fields})


def _field(name: str, value: Any, rows_m: NDArray[np.int64]) -> Any:
    if isinstance(value, np.ndarray):
        return value.take(rows_m, axis=name.rpartition("_")[2].index("N"))
    return value if value is None or isinstance(value, int | float) else _picked(value, rows_m)
