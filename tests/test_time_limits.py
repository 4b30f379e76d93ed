"""Time limits of arrays from upper estimates."""

from __future__ import annotations

import pytest

from condhpc.time_limits import LEAST_MIN, MARGIN, START_S, limit_min, needed_min


def test_the_largest_pack_decides() -> None:
    """Its tasks one after the other, times the margin, after the start and before the reserve, in steps of five."""
    found = needed_min([[3600.0, 3600.0], [60.0]], lanes=1, reserved_s=180.0)
    exact = (START_S + MARGIN * 7200 + 180) / 60
    assert found == 185
    assert exact <= found < exact + 5


def test_lanes_share_the_time() -> None:
    """But no pack ends before its longest task, and one task has one lane."""
    assert needed_min([[3600.0] * 4], lanes=4, reserved_s=0.0) == needed_min([[3600.0]], lanes=4, reserved_s=0.0)
    assert needed_min([[3600.0] * 4], lanes=2, reserved_s=0.0) == needed_min([[7200.0]], lanes=1, reserved_s=0.0)


def test_short_work_has_a_least_limit() -> None:
    """A busy file system alone may take minutes."""
    assert needed_min([[1.0]], lanes=1, reserved_s=60.0) == LEAST_MIN


@pytest.mark.parametrize("packs", [[[60.0, None]], [[60.0], [None]], [], [[]]])
def test_one_unknown_task_leaves_it_to_the_partition(packs: list[list[float | None]]) -> None:
    """A guess would kill what it does not know."""
    assert needed_min(packs, lanes=1, reserved_s=0.0) is None


@pytest.mark.parametrize(
    ("profile", "needed", "most", "from_plan", "limit"),
    [
        (None, 30, None, False, 30),
        (None, 30, 20, False, 20),
        (None, None, 20, False, None),
        (60, 30, None, False, 60),
        (60, 30, None, True, 30),
        (60, 90, None, True, 60),
        (60, None, None, True, 60),
        (60, 30, 20, False, 60),
    ],
)
def test_the_profile_is_an_upper_bound(
    profile: int | None, needed: int | None, most: int | None, *, from_plan: bool, limit: int | None
) -> None:
    """Only where it asks for that, or has no limit, the plan decides; never more than the partition grants."""
    assert limit_min(profile, needed, most, from_plan=from_plan) == limit
