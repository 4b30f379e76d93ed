"""How far what was recorded lay from what the model said: a factor, and how widely it spreads. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

MODEL_FACTOR = 3.0
"""Within which the model alone holds, up and down."""
FEW = 5
"""Records that tell a spread of their own; fewer are widened by `FEW_FACTOR`."""
FEW_FACTOR = 2.0
OFF = 2.0
"""A factor beyond which a prediction was wrong, and is said to have been."""
_TAIL = 0.1
"""Of the records that may lie below the range, and of those above it."""

Basis = Literal["records", "few records", "model"]


class Spread(NamedTuple):
    """What a prediction is multiplied with."""

    low: float
    mid: float
    high: float
    basis: Basis


MODEL_ALONE = Spread(1 / MODEL_FACTOR, 1.0, MODEL_FACTOR, "model")


def spread(pairs: Sequence[tuple[float, float]]) -> Spread:
    """Of (measured, predicted) pairs: ratio of the sums, between the ratios of the tenth and the ninetieth percent."""
    known = [(measured, predicted) for measured, predicted in pairs if predicted > 0]
    if not known:
        return MODEL_ALONE
    mid = sum(measured for measured, _ in known) / sum(predicted for _, predicted in known)
    ratios = sorted(measured / predicted for measured, predicted in known)
    if len(ratios) < FEW:
        return Spread(ratios[0] / FEW_FACTOR, mid, ratios[-1] * FEW_FACTOR, "few records")
    return Spread(min(mid, _quantile(ratios, _TAIL)), mid, max(mid, _quantile(ratios, 1 - _TAIL)), "records")


def _quantile(ordered: Sequence[float], share: float) -> float:
    """Between neighbours by their distance."""
    position = share * (len(ordered) - 1)
    below = int(position)
    above = min(below + 1, len(ordered) - 1)
    return ordered[below] + (position - below) * (ordered[above] - ordered[below])
