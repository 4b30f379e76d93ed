"""Time limits from the plan: the upper estimate of an array's largest pack, with a margin. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from math import ceil

MARGIN = 1.5
"""Of what the largest pack takes at the most by the plan."""
START_S = 120.0
"""An element's start: Python with torch from a busy file system."""
LEAST_MIN = 10
_STEP_MIN = 5


def needed_min(packs: Iterable[Sequence[float | None]], lanes: int, reserved_s: float) -> int | None:
    """Minutes for the largest of these packs of upper estimates, rounded up to five; None where one is not known.

    `reserved_s` is the time before the limit in which nothing is begun any more.
    """
    walls_s = [_pack_s(pack, lanes) for pack in packs]
    known = [wall_s for wall_s in walls_s if wall_s is not None]
    if not known or len(known) < len(walls_s):
        return None
    minutes = (START_S + MARGIN * max(known) + reserved_s) / 60
    return max(LEAST_MIN, ceil(minutes / _STEP_MIN) * _STEP_MIN)


def _pack_s(pack: Sequence[float | None], lanes: int) -> float | None:
    """Of tasks that share an element, `lanes` at a time."""
    known = [wall_s for wall_s in pack if wall_s is not None]
    if not known or len(known) < len(pack):
        return None
    return max(*known, sum(known) / min(lanes, len(known)))


def limit_min(profile_min: int | None, needed: int | None, most_min: int | None, *, from_plan: bool) -> int | None:
    """What an array asks for: the profile's limit, and the plan's where there is none, or where it asks for that.

    Never above what the partition grants (`most_min`). None leaves it to the partition's default.
    """
    if profile_min is None:
        chosen = needed
    else:
        chosen = min(profile_min, needed) if from_plan and needed is not None else profile_min
    if chosen is None or most_min is None:
        return chosen
    # A profile's limit above the partition's is left as it is: `plan` warns of it, and sbatch has the last word.
    return chosen if chosen == profile_min else min(chosen, most_min)
