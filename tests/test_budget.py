"""Budgets as text, and the rules upon them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from condhpc import budget
from condhpc.budget import Amounts, Budget
from condhpc.errors import InputError

_hours = st.floats(min_value=0.0, max_value=1e6, allow_nan=False)
_amounts = st.builds(Amounts, gpu_h=_hours, cpu_h=_hours, kwh=_hours)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("200gpuh", Budget(gpu_h=200.0)),
        ("15kwh", Budget(kwh=15.0)),
        ("100 CPU-h", Budget(cpu_h=100.0)),
        (".5gpuh, 1e3cpuh", Budget(gpu_h=0.5, cpu_h=1000.0)),
        ("spring:200gpuh", Budget(gpu_h=200.0, name="spring")),
    ],
)
def test_texts_that_are_budgets(text: str, expected: Budget) -> None:
    """Units in any case, with or without a blank, several with commas, a name before a colon."""
    assert budget.parse(text) == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("200", "'200' is no amount with its unit"),
        ("", "'' is no amount"),
        ("200gpu", "did you mean 'gpuh'"),
        ("0gpuh", "0 is not above 0"),
        ("-3gpuh", "is no amount"),
        ("nangpuh", "is no amount"),
        ("1e999gpuh", "is not above 0"),
        ("1gpuh,2gpuh", "bounded twice"),
        ("a b:1gpuh", "'a b' is no name"),
        (":1gpuh", "'' is no name"),
    ],
)
def test_texts_that_are_none(text: str, told: str) -> None:
    """The message has the text, what is wrong and what was expected."""
    with pytest.raises(InputError) as caught:
        budget.parse(text)
    assert told in str(caught.value)
    assert "budget '" in str(caught.value)


def test_what_is_left_decides() -> None:
    """Charged and reserved hours are both taken; a bound in another unit is another matter."""
    held = Budget(gpu_h=10.0)
    assert not budget.refusal(held, Amounts(gpu_h=4.0), Amounts(gpu_h=3.0), Amounts(gpu_h=3.0, cpu_h=1e6))
    told = budget.refusal(held, Amounts(gpu_h=4.0), Amounts(gpu_h=3.0), Amounts(gpu_h=3.5))
    assert told == "up to 3.5 GPU-h wanted, 3 left of 10 (4 charged, 3 reserved for what waits or runs)"


def test_a_used_up_budget_refuses_even_what_costs_nothing_known() -> None:
    """Where nothing is left, work of unknown cost must not pass as free."""
    assert budget.refusal(Budget(kwh=1.0), Amounts(kwh=1.0), Amounts(), Amounts())


def test_each_unit_is_reached_by_itself() -> None:
    """At the bound, not only above it."""
    held = Budget(gpu_h=2.0, kwh=1.0)
    assert budget.reached(held, Amounts(gpu_h=1.99, kwh=0.5, cpu_h=9.0)) == []
    assert budget.reached(held, Amounts(gpu_h=2.0, kwh=0.5)) == ["gpu_h"]
    assert budget.reached(held, Amounts(gpu_h=3.0, kwh=1.0)) == ["gpu_h", "kwh"]


def test_figures_for_people() -> None:
    """Each bounded unit with its own name."""
    held = budget.parse("spring:1500gpuh,2.5kwh")
    assert budget.shown(held) == "1,500 GPU-h and 2.5 kWh ('spring')"
    assert budget.used_text(held, Amounts(gpu_h=12.34, kwh=0.5)) == "12.3 of 1,500 GPU-h, 0.5 of 2.5 kWh"


@given(charged=_amounts, reserved=_amounts, wanted=_amounts, bound=st.floats(min_value=1e-3, max_value=1e6))
def test_what_is_let_through_fits(charged: Amounts, reserved: Amounts, wanted: Amounts, bound: float) -> None:
    """Whatever the figures: no refusal means that the sum is within the bound."""
    if not budget.refusal(Budget(gpu_h=bound), charged, reserved, wanted):
        assert charged.gpu_h + reserved.gpu_h + wanted.gpu_h <= bound * (1 + 1e-9)


@given(st.lists(_amounts, max_size=20))
def test_sums_do_not_depend_on_the_order(held: list[Amounts]) -> None:
    """Exact sums."""
    assert budget.total(held) == budget.total(reversed(held))
