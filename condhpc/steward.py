"""The steward: goes on with a run after its user has logged out. `python -m condhpc.steward ROOT RUN` is its job.

Each start is short: it keeps to the budget, takes the accounting into the run, sends what is still to be sent, and
ends. The next start is sent first, so that a node that dies takes no run with it, and cancelled when nothing is left.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from condhpc import accounts, advancing, enforcing, retrying, snapshot, steward_job
from condhpc import profile as profiles
from condhpc.errors import CondhpcError, SchedulerError, StoreError
from condhpc.findings import Snapshot
from condhpc.layout import Layout, RunFolder
from condhpc.observe import Observer
from condhpc.outlooks import SLICE_S, Outlooks
from condhpc.profile import Profile
from condhpc.scheduler import Slurm
from condhpc.sending import Terms
from condhpc.shared_slurm import PATIENCE_S
from condhpc.spending import Known, Standing
from condhpc.task_state import MOVING

Say = Callable[[str], None]
_SETTLED = MOVING | {"recorded"}


def round_(run: RunFolder, layout: Layout, profile: Profile, slurm: Slurm | None, say: Say) -> bool:
    """Do once what has to be done for a run; whether there will be more to do. Nothing for a cancelled one."""
    if run.cancel.exists():
        return False
    if slurm is not None:
        for problem in accounts.refresh(run, layout, slurm):
            say(problem)
    at = enforcing.enforce(run, layout, slurm, say)
    shot = _look(run, layout, profile, slurm)
    moving = any(row.state in MOVING for row in shot.rows)
    if at is not None and at.is_used_up:
        return moving
    if all(row.state in _SETTLED for row in shot.rows):
        return moving
    try:
        terms = Terms(steward=False, asked=retrying.UNASKED)
        step = advancing.advance(run, layout, profile, accept_code=False, say=say, terms=terms)
    except (SchedulerError, StoreError) as error:  # these pass
        say(str(error))
        return True
    except CondhpcError as error:  # this needs a person
        say(str(error))
        return moving
    return moving or step.sent > 0


def _look(run: RunFolder, layout: Layout, profile: Profile, slurm: Slurm | None) -> Snapshot:
    return Observer(run, layout, slurm, stale_s=profile.lease_stale_s).snapshot()


def tend(run: RunFolder, layout: Layout, profile: Profile, slurm: Slurm, say: Say) -> None:
    """One start of the job: the next one first, then the round; none is next where nothing is left to do."""
    if not run.cancel.exists():
        try:
            if why := steward_job.ensure(run, layout, profile, snapshot.take(layout.root), slurm):
                say(f"no steward after this one: {why}")
        except CondhpcError as error:
            say(f"no steward after this one: {error}")
    if not round_(run, layout, profile, slurm, say):
        steward_job.stop(run, slurm)
        say(f"run {run.name}: nothing is left to do")


class Beside:
    """A source of snapshots for `watch` that acts now and then: the budget always, all else where no steward does."""

    def __init__(
        self,
        observer: Observer,
        run: RunFolder,
        profile: Profile,
        slurm: Slurm | None,
        every_s: float = 300.0,
        *,
        only_looks: bool = False,
    ) -> None:
        """With `only_looks` it never acts."""
        self._only_looks = only_looks
        self._observer = observer
        self._run = run
        self._profile = profile
        self._slurm = slurm
        self._every_s = every_s
        self._acted = float("-inf")
        self._said: list[str] = []
        self._bug: Exception | None = None
        self._thread = threading.Thread()
        """Acts: a queue that does not answer must not keep anybody from looking."""
        self._standing: Standing | None = None
        self._known = Known()
        self._outlooks = Outlooks(run, observer.layout, positions=observer.positions, slice_s=SLICE_S)

    def forget(self) -> None:
        """Look at everything anew."""
        self._observer.forget()

    def snapshot(self) -> Snapshot:
        """The run now; what was done about it, or why not, is among its problems."""
        due = time.monotonic() - self._acted >= self._every_s and not self._only_looks
        if due and not self._thread.is_alive():
            self._acted = time.monotonic()
            self._thread = threading.Thread(target=self._act_aside, name="beside", daemon=True)
            self._thread.start()
            self._thread.join(PATIENCE_S)
        if self._bug is not None:
            raise self._bug
        shot = self._observer.snapshot()
        shot.problems.extend(self._said)
        return self._outlooks.added(shot, self._standing)

    def _act_aside(self) -> None:
        said: list[str] = []
        try:
            self._act(said.append)
        except (CondhpcError, OSError) as error:  # these pass, or need a person: neither is a reason not to look
            said.append(str(error))
        except Exception as error:  # raised by whoever looks
            self._bug = error
        self._said = said

    def _act(self, say: Say) -> None:
        if self._run.path.stat().st_uid != os.getuid():
            return  # a colleague's
        layout = self._observer.layout
        if self._slurm is None or not steward_job.unavailable(layout, self._profile):
            self._standing = enforcing.enforce(self._run, layout, self._slurm, say, known=self._known)
        else:
            round_(self._run, layout, self._profile, self._slurm, say)


def main(argv: Sequence[str] | None = None) -> int:
    """Entry point of the job."""
    root, name = sys.argv[1:] if argv is None else argv
    # Each start inherits the path of the one before, and adds to it.
    parts = dict.fromkeys(os.environ.get("PYTHONPATH", "").split(os.pathsep))
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, parts))
    layout = Layout(Path(root))
    run = layout.run(name)

    def say(text: str) -> None:
        print(text, file=sys.stderr, flush=True)

    try:
        tend(run, layout, profiles.of_run(run.profile), Slurm(), say)
    except CondhpcError as error:
        say(f"condhpc.steward: {error}")
        return error.exit_code
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
