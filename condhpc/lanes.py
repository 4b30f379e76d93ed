"""Several tasks of an element at a time: forks of its worker that share its list of tasks. Leases keep them apart."""

from __future__ import annotations

import os
import signal
import sys
import traceback
from collections.abc import Callable

from condhpc.supervise import Flags

TO_BE_CONTINUED = 75
_WORST_FIRST = (TO_BE_CONTINUED, 1, 3)
"""Exit statuses of workers: what is left to do decides, then a failure, then a missing input."""


def run(count: int, lane: Callable[[int], int], flags: Flags) -> int:
    """Fork `count` lanes, relay a stop to them, and return their worst exit status when all have ended.

    A stop that is relayed twice does no harm, and Slurm may have told a lane before.
    """
    pids = {_fork(lane, number, flags) for number in range(count)}
    codes: set[int] = set()
    relayed = False
    while pids:
        for pid in list(pids):
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                pids.remove(pid)
                codes.add(os.WEXITSTATUS(status) if os.WIFEXITED(status) else 1)
        if flags.stop and not relayed:
            for pid in pids:
                os.kill(pid, signal.SIGTERM)
            relayed = True
        if pids:
            flags.wait(1.0)
    return worst(codes)


def worst(codes: set[int]) -> int:
    """One exit status for many; 0 only where all are, and a strange one is a failure."""
    strange = codes - {0, *_WORST_FIRST}
    return next((code for code in _WORST_FIRST if code in codes | ({1} if strange else set())), 0)


def _fork(lane: Callable[[int], int], number: int, flags: Flags) -> int:
    """Pid of a lane; in the lane itself this never returns."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        flags.renew()
        code = lane(number)
    except BaseException:  # nothing may unwind into the parent's frames; the log has to tell
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
