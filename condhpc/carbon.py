"""From kWh to CO2e: only with the grid's carbon intensity and the site's PUE, each with its source. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import msgspec

from condhpc.profile import Footprint

if TYPE_CHECKING:
    from condhpc.predictions import CostRow

_G_PER_KG = 1000


class Carbon(msgspec.Struct, frozen=True, kw_only=True):
    """What the whole plan will emit, and what that rests on."""

    low_kg: float
    expected_kg: float
    high_kg: float
    kg_per_kwh: float
    """Of computing: carbon intensity × PUE. A row's emission is its kWh times this."""
    carbon_g_per_kwh: float
    carbon_source: str
    pue: float
    pue_source: str


def carbon(rows: Iterable[CostRow], site: Footprint) -> Carbon | None:
    """Of all rows whose energy is known; None without both numbers and both sources, or where no energy is known."""
    if site.pue is None or site.carbon_g_per_kwh is None or not (site.pue_source and site.carbon_source):
        return None
    known = [(row.low_kwh, row.expected_kwh, row.high_kwh) for row in rows]
    sums = [sum(value for value in column if value is not None) for column in zip(*known, strict=True)]
    if not any(sums):
        return None
    factor = site.carbon_g_per_kwh / _G_PER_KG * site.pue
    low_kg, expected_kg, high_kg = (factor * kwh for kwh in sums)
    return Carbon(
        low_kg=low_kg,
        expected_kg=expected_kg,
        high_kg=high_kg,
        kg_per_kwh=factor,
        carbon_g_per_kwh=site.carbon_g_per_kwh,
        carbon_source=site.carbon_source,
        pue=site.pue,
        pue_source=site.pue_source,
    )
