"""Counters as hardware has them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from condhpc.counters import MAX_PACKAGE_W, Counter


def played(counter: Counter, *readings: tuple[float, int | None]) -> Counter:
    """The counter after these (instant, value)."""
    for at_s, value in readings:
        counter.note(at_s, value)
    return counter


def test_joules_are_the_difference_in_units() -> None:
    """Millijoules since the driver was loaded, of which those before the first reading are not ours."""
    found = played(Counter(1e-3), (0.0, 5_000_000), (5.0, 5_500_000), (20.0, 7_000_000))
    assert (found.joules, found.span_s, found.restarts) == (pytest.approx(2000.0), 20.0, 0)


@given(
    steps_uj=st.lists(st.integers(0, 400_000_000), min_size=1, max_size=50),
    start_uj=st.integers(0, 262_143_328_850),
)
def test_wraps_are_bridged(steps_uj: list[int], start_uj: int) -> None:
    """Whatever a counter of limited range shows, the sum is that of one without limits."""
    range_uj = 262_143_328_850
    true_uj, counter = start_uj, Counter(1e-6, range_uj)
    counter.note(0.0, start_uj)
    for number, step_uj in enumerate(steps_uj, start=1):
        true_uj += step_uj
        counter.note(float(number), true_uj % (range_uj + 1))
    assert counter.joules == pytest.approx((true_uj - start_uj) / 1e6)
    assert counter.wraps == true_uj // (range_uj + 1)
    assert (counter.restarts, counter.blind_s) == (0, 0.0)


def test_a_restart_keeps_what_was_counted() -> None:
    """A driver that was loaded anew counts from 0: the interval is left out, the sum goes on from there."""
    found = played(Counter(1e-3), (0.0, 900_000), (5.0, 1_900_000), (10.0, 40_000), (15.0, 540_000))
    assert (found.joules, found.span_s, found.restarts) == (pytest.approx(1500.0), 10.0, 1)


def test_a_restart_is_no_wrap() -> None:
    """A counter with a range that falls by more than hardware can have drawn was set back."""
    found = played(Counter(1e-6, 262_143_000_000), (0.0, 90_000_000), (5.0, 40_000_000), (10.0, 540_000_000))
    assert (found.joules, found.wraps, found.restarts) == (pytest.approx(500.0), 0, 1)


def test_a_silence_is_bridged() -> None:
    """A reading that fails costs nothing where the next one succeeds."""
    found = played(Counter(1e-3), (0.0, 0), (5.0, None), (10.0, 3_000_000))
    assert (found.joules, found.span_s) == (pytest.approx(3000.0), 10.0)


def test_clocks_that_stand_still_count_nothing() -> None:
    """Two readings at one instant, or in the wrong order, are no interval."""
    found = played(Counter(1e-3), (5.0, 1000), (5.0, 2000), (4.0, 3000))
    assert (found.joules, found.span_s) == (0.0, 0.0)


def test_a_long_silence_may_hide_a_wrap() -> None:
    """Longer than the hardware's largest power takes for one round, and the sum is a lower bound that says so."""
    range_uj = 65_532_610_987
    round_s = range_uj / 1e6 / MAX_PACKAGE_W
    assert played(Counter(1e-6, range_uj), (0.0, 0), (0.99 * round_s, 10)).blind_s == 0.0
    assert played(Counter(1e-6, range_uj), (0.0, 0), (1.01 * round_s, 10)).blind_s == pytest.approx(1.01 * round_s)
