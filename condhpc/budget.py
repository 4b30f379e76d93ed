"""Budgets: how many GPU-hours, CPU-hours and kilowatt-hours may be charged, as text and as values. Pure."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from typing import Literal

import msgspec

from condhpc.errors import InputError, nearest

Unit = Literal["gpu_h", "cpu_h", "kwh"]
UNITS: tuple[Unit, ...] = ("gpu_h", "cpu_h", "kwh")
_WORDS: dict[str, Unit] = {"gpuh": "gpu_h", "cpuh": "cpu_h", "kwh": "kwh"}
_SHOWN: dict[Unit, str] = {"gpu_h": "GPU-h", "cpu_h": "CPU-h", "kwh": "kWh"}
_AMOUNT = re.compile(r"([0-9]*\.?[0-9]+(?:e[+-]?[0-9]+)?)\s*([a-z-]+)", re.IGNORECASE)
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,99}")
_EXPECTED = "expected amounts such as '200gpuh', '15kwh' or '200gpuh,100cpuh', or 'NAME:200gpuh' for several runs"


class Amounts(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What something takes. GPU-hours are allocated GPUs × time, whatever their type."""

    gpu_h: float = 0.0
    cpu_h: float = 0.0
    kwh: float = 0.0

    def __add__(self, other: Amounts) -> Amounts:
        """Unit by unit."""
        return Amounts(gpu_h=self.gpu_h + other.gpu_h, cpu_h=self.cpu_h + other.cpu_h, kwh=self.kwh + other.kwh)

    def less(self, other: Amounts) -> Amounts:
        """Unit by unit, never below 0."""
        return Amounts(**{unit: max(0.0, getattr(self, unit) - getattr(other, unit)) for unit in UNITS})

    def share(self, count: int) -> Amounts:
        """An equal part, unit by unit."""
        return Amounts(**{unit: getattr(self, unit) / count for unit in UNITS})

    def at_most(self, other: Amounts) -> Amounts:
        """The smaller, unit by unit."""
        return Amounts(**{unit: min(getattr(self, unit), getattr(other, unit)) for unit in UNITS})


class Budget(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The most that may be charged; None: no bound in that unit."""

    gpu_h: float | None = None
    cpu_h: float | None = None
    kwh: float | None = None
    name: str = ""
    """Runs under one root whose budgets have one name share it; empty: the run's own."""

    @property
    def bounds(self) -> dict[Unit, float]:
        """By unit, those that are given."""
        found = {unit: getattr(self, unit) for unit in UNITS}
        return {unit: bound for unit, bound in found.items() if bound is not None}


def total(amounts: Iterable[Amounts]) -> Amounts:
    """Their sum, exact to the last bit whatever the order."""
    held = list(amounts)
    return Amounts(**{unit: math.fsum(getattr(one, unit) for one in held) for unit in UNITS})


def parse(text: str) -> Budget:
    """`200gpuh`, `15kwh`, `100cpuh`, several with commas, with `NAME:` before them where runs share it.

    Raises InputError with what was found and what was expected.
    """
    name, colon, amounts = text.rpartition(":")
    if colon and not _NAME.fullmatch(name.strip()):
        raise InputError(f"budget '{text}': '{name}' is no name (letters, digits, '_', '.', '-'); {_EXPECTED}")
    bounds: dict[Unit, float] = {}
    for part in amounts.split(","):
        unit, amount = _amount(part.strip(), text)
        if unit in bounds:
            raise InputError(f"budget '{text}': {_SHOWN[unit]} are bounded twice; give each unit once")
        bounds[unit] = amount
    return Budget(name=name.strip(), **bounds)


def _amount(part: str, text: str) -> tuple[Unit, float]:
    found = _AMOUNT.fullmatch(part)
    if found is None:
        raise InputError(f"budget '{text}': '{part}' is no amount with its unit; {_EXPECTED}")
    word = found[2].lower().replace("-", "")
    if word not in _WORDS:
        raise InputError(f"budget '{text}': '{found[2]}' is no unit{nearest(word, _WORDS)}; {_EXPECTED}")
    amount = float(found[1])
    if not 0.0 < amount < math.inf:
        raise InputError(f"budget '{text}': {found[1]} is not above 0; {_EXPECTED}")
    return _WORDS[word], amount


def shown(budget: Budget) -> str:
    """`200 GPU-h and 15 kWh`, with the name that runs share."""
    amounts = " and ".join(f"{_number(bound)} {_SHOWN[unit]}" for unit, bound in budget.bounds.items())
    return f"{amounts} ('{budget.name}')" if budget.name else amounts


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 100.0 else f"{value:.3g}"


def used_text(budget: Budget, used: Amounts) -> str:
    """`12.5 of 200 GPU-h`, for every unit that is bounded."""
    parts = (f"{_number(getattr(used, unit))} of {_number(b)} {_SHOWN[unit]}" for unit, b in budget.bounds.items())
    return ", ".join(parts)


def reached(budget: Budget, charged: Amounts) -> list[Unit]:
    """Units of which the budget is used up."""
    return [unit for unit, bound in budget.bounds.items() if getattr(charged, unit) >= bound]


def refusal(budget: Budget, charged: Amounts, reserved: Amounts, wanted: Amounts) -> str:
    """Why `wanted` does not fit beside what is charged and reserved, in words with all figures; empty where it does."""
    found = []
    for unit, bound in budget.bounds.items():
        used, kept, more = (getattr(amounts, unit) for amounts in (charged, reserved, wanted))
        left = bound - used - kept
        if more > left or left <= 0.0:
            found.append(
                f"up to {_number(more)} {_SHOWN[unit]} wanted, {_number(max(0.0, left))} left of {_number(bound)} "
                f"({_number(used)} charged, {_number(kept)} reserved for what waits or runs)"
            )
    return "; ".join(found)
