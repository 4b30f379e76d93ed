"""The steward of a run as a job: one at a time, each start claimed before it is sent, so that it cannot multiply."""

from __future__ import annotations

import os
import re
import shutil
import time
from pathlib import Path
from typing import Any

import msgspec

from condhpc import files, launch
from condhpc.errors import SchedulerError
from condhpc.layout import Layout, RunFolder
from condhpc.profile import Profile, steward_resources
from condhpc.scheduler import Slurm
from condhpc.slurm_text import QueueRow

_REFUSED = re.compile(r"permission denied|not permitted|not allowed|cannot run it", re.IGNORECASE)
"""What sbatch says where this host may not submit at all, unlike a limit that is full for now."""
_CLAIM = re.compile(r"(\d{4,})\.json")


class Claim(msgspec.Struct, frozen=True, kw_only=True):
    """Written before a start is sent; whoever created it sends that start, and nobody else ever."""

    start: int
    host: str
    time: float


def name_of(run: RunFolder) -> str:
    """Job name of a run's stewards: one name, so that Slurm runs one at a time."""
    return f"condhpc-{re.sub('[^A-Za-z0-9._-]', '_', run.name)[:200]}-steward"


def others(run: RunFolder, slurm: Slurm) -> list[QueueRow]:
    """Stewards of a run in the queue, without the one that asks."""
    me = os.environ.get("SLURM_JOB_ID", "")
    return [row for row in slurm.queue(names=[name_of(run)]) if row.state_class.in_queue and row.job_id != me]


def ensure(run: RunFolder, layout: Layout, profile: Profile, code: Path, slurm: Slurm) -> str:
    """See to it that a steward waits; in words why none does, empty where one does. Raises SchedulerError.

    At most one squeue and one sbatch.
    """
    if why := unavailable(layout, profile):
        return why
    if others(run, slurm):
        return ""
    start = _latest(run) + 1
    if start > profile.steward.max_starts:
        return f"started {start - 1} times already (`max_starts` of the profile's [steward])"
    if not _claim(run, start):
        return ""  # somebody else sends this very start now
    delay_s = max(1, round(60.0 * profile.steward.interval_min))
    job = launch.Job(name=name_of(run), payload=run.path, logs=run.logs / "steward", count=1, dependency="singleton")
    words = ("-m", "condhpc.steward", str(layout.root), run.name)
    try:
        launch.alone(job, words, profile, steward_resources(profile), code, delay_s)
    except SchedulerError as error:
        _note_refusal(layout, error)
        raise
    return ""


def in_words(layout: Layout, profile: Profile) -> str:
    """Who acts after the user has logged out: one line for `plan` and `doctor`."""
    if why := unavailable(layout, profile):
        return f"none: {why}; `condhpc watch`, or `condhpc steward` in a crontab, goes on with runs"
    where = steward_resources(profile).partition or "the default partition"
    return f"a job of one core goes on with a run every {profile.steward.interval_min:g} min, in {where}"


def unavailable(layout: Layout, profile: Profile) -> str:
    """Why no steward can be: switched off, or nodes of this cluster cannot submit; empty where one can."""
    if not profile.steward.enabled:
        return "the profile switches it off"
    try:
        found: dict[str, Any] = msgspec.json.decode(layout.no_steward.read_bytes())
    except (FileNotFoundError, ValueError):
        return ""
    return f"{found.get('host', 'a node')} could not submit: {found.get('reason', '')} ({layout.no_steward})"


def stop(run: RunFolder, slurm: Slurm) -> None:
    """Cancel all of a run's stewards but the one that asks."""
    slurm.cancel([row.job_id for row in others(run, slurm)])


def _note_refusal(layout: Layout, error: SchedulerError) -> None:
    """A node that may not submit will not learn it: leave word, so that `submit` says who must act instead."""
    inside = bool(os.environ.get("SLURM_JOB_ID"))
    if inside and (shutil.which("sbatch") is None or _REFUSED.search(str(error))):
        word = {"host": os.uname().nodename, "reason": str(error), "time": time.time()}
        files.publish(layout.no_steward, msgspec.json.encode(word))


def _latest(run: RunFolder) -> int:
    """The latest start that was claimed; 0 before the first."""
    folder = run.steward(1).parent
    if not folder.is_dir():
        return 0
    return max((int(found[1]) for path in folder.iterdir() if (found := _CLAIM.fullmatch(path.name))), default=0)


def _claim(run: RunFolder, start: int) -> bool:
    path = run.steward(start)
    path.parent.mkdir(parents=True, exist_ok=True)
    claim = Claim(start=start, host=os.uname().nodename, time=time.time())
    return files.publish(path, msgspec.json.encode(claim))
