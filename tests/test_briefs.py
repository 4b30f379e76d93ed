"""Packed briefs: what goes in comes out, whatever stood at its place before."""

from __future__ import annotations

from typing import get_args

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from condhpc.briefs import EMPTY, Brief, Briefs, Tried, lost_h
from condhpc.energy import Grade
from condhpc.tries import End

_NUMBERS = st.one_of(st.just(0.0), st.floats(0.0, 1e9))
_TRIED = st.builds(
    Tried,
    run=st.sampled_from(["one-20260101T000000Z", "two-20260101T000000Z"]),
    element=st.sampled_from(["", "608_0", "608_1"]),
    restarts=st.integers(0, 2),
    start_s=_NUMBERS,
    end_s=st.none() | _NUMBERS,
    outcome=st.sampled_from(get_args(End)),
    productive=st.booleans(),
    gpu_type=st.sampled_from(["", "A100"]),
    gpu_s=_NUMBERS,
    cpu_s=_NUMBERS,
    joules=st.none() | _NUMBERS,
    grade=st.sampled_from(get_args(Grade)),
)
_BRIEF = st.builds(
    Brief,
    tried=st.lists(_TRIED, max_size=3).map(tuple),
    value=st.none() | st.floats(-1e9, 1e9),
    shards_gpu_s=_NUMBERS,
    shards_cpu_s=_NUMBERS,
    is_recorded=st.booleans(),
)
COUNT = 4


@given(st.lists(st.tuples(st.integers(0, COUNT - 1), _BRIEF), max_size=12))
@settings(deadline=None)
def test_what_goes_in_comes_out(changes: list[tuple[int, Brief]]) -> None:
    """As of a list of briefs: none, one or several attempts, with and without each number, over one another."""
    packed, plain = Briefs(COUNT), [EMPTY] * COUNT
    for at, brief in changes:
        packed[at] = plain[at] = brief
        assert [packed[place] for place in range(COUNT)] == plain
        assert [packed.value(place) for place in range(COUNT)] == [held.value for held in plain]
        assert [packed.is_empty(place) for place in range(COUNT)] == [held == EMPTY for held in plain]


ONE = Tried(
    run="r", element="608_0", restarts=0, start_s=10.0, end_s=20.0, outcome="recorded", productive=True,
    gpu_type="A100", gpu_s=10.0, cpu_s=40.0, joules=5.0, grade="A",
)  # fmt: skip


@pytest.mark.parametrize("missing", ["end_s", "joules"])
def test_none_is_not_zero(missing: str) -> None:
    """A number that nobody knows stays unknown beside one that is 0, at places that have all else in common."""
    packed = Briefs(2)
    for at, value in enumerate((None, 0.0)):
        packed[at] = Brief((msgspec.structs.replace(ONE, **{missing: value}),))
    assert [getattr(packed[at].tried[0], missing) for at in range(2)] == [None, 0.0]
    packed[0], packed[1] = Brief((ONE,), value=None), Brief((ONE,), value=0.0)
    assert [packed.value(at) for at in range(2)] == [None, 0.0]


def test_lost_hours_are_those_of_attempts_that_led_to_nothing() -> None:
    """Unknown where no such attempt was counted; never those of the one that was recorded."""
    failed = msgspec.structs.replace(ONE, productive=False, outcome="failed", gpu_s=1800.0, cpu_s=7200.0)
    uncounted = msgspec.structs.replace(failed, gpu_s=0.0, cpu_s=0.0)
    assert lost_h(Brief((failed, failed, ONE))) == (1.0, 4.0)
    assert lost_h(Brief((uncounted, ONE))) == (None, None)
    assert lost_h(EMPTY) == (None, None)
