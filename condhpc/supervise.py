"""One attempt in a forked child: signals become flags, the child's death becomes a result."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
import traceback
from collections.abc import Callable

from condhpc import attempt, lease, store
from condhpc.attempt import Result
from condhpc.context import Site
from condhpc.errors import CondhpcError
from condhpc.joining import Caller
from condhpc.layout import TaskFolder
from condhpc.lease import Attempt, Outcome

STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)
_CACHED_STATUS = 77
"""A child found its task recorded: only its parent sees this status, so that each record is told of once."""


class Flags:
    """What signals asked this process for. A wake-up pipe lets `wait` end at a signal or a child's death."""

    def __init__(self) -> None:
        self.stop = False
        self.requeue = False
        """USR2 (time limit near, preemption) asks to go on later; TERM and INT do not."""
        self.stopped_at = 0.0
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in STOP_SIGNALS:
            signal.signal(number, self._note)
        self.renew()

    def renew(self) -> None:
        """Take a wake-up pipe of one's own: a fork would read its parent's."""
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)

    def _note(self, number: int, _frame: object) -> None:
        if not self.stop:
            self.stop, self.stopped_at = True, time.monotonic()
            self.requeue = number == signal.SIGUSR2

    def wait(self, timeout_s: float) -> None:
        """Sleep until a signal, a child's death or the time-out."""
        select.select([self._read], [], [], timeout_s)
        with contextlib.suppress(BlockingIOError):
            os.read(self._read, 4096)


def run_child(
    preimage: bytes,
    folder: TaskFolder,
    site: Site,
    gone: Callable[[Attempt], bool],
    flags: Flags,
    grace_s: float,
    caller: Caller | None = None,
) -> Result:
    """Run one attempt in a child, relay a stop to it, kill it when it ignores that for `grace_s`."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(lambda stop: attempt.run(preimage, site, stop, gone, caller), flags)
    relayed = killed = False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return _result(pid, status, folder, killed=killed)
        if flags.stop and not relayed:
            os.kill(pid, signal.SIGUSR2)
            relayed = True
        if flags.stop and time.monotonic() - flags.stopped_at > grace_s:
            os.kill(pid, signal.SIGKILL)  # its last checkpoint stands
            killed = True
        flags.wait(1.0)


def _child(run: Callable[[threading.Event], Result], flags: Flags) -> None:
    """In the child: never returns."""
    code = attempt.exit_code("failed")
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        stop = threading.Event()
        for number in STOP_SIGNALS:
            signal.signal(number, lambda *_: stop.set())
        if flags.stop:  # our copy: a signal came between the fork and these handlers
            stop.set()
        result = run(stop)
        code = _CACHED_STATUS if result == "cached" else attempt.exit_code(result)
    except CondhpcError as error:
        print(error, file=sys.stderr)
    except BaseException:  # nothing may unwind into the parent's frames; the log has to tell
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError, ValueError):  # a log on a full disk, or closed
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


def _result(pid: int, status: int, folder: TaskFolder, *, killed: bool) -> Result:
    """What a dead child left: a record decides, then its exit status. Its diary is ended here where it could not."""
    if _is_recorded(folder):
        by_another = os.WIFEXITED(status) and os.WEXITSTATUS(status) in {_CACHED_STATUS, attempt.exit_code("busy")}
        return "cached" if by_another else "recorded"
    if os.WIFEXITED(status):
        code = os.WEXITSTATUS(status)
        result = attempt.result_of(code)
        if result == "recorded":
            result = "failed"
        if result == "failed":
            lease.end_for_dead(folder, pid, "failed", f"exited with status {code} and left no record; see the log")
        return result
    number = os.WTERMSIG(status)
    reason = death(number, killed=killed)
    outcome: Outcome = "stopped" if killed else "failed"
    lease.end_for_dead(folder, pid, outcome, reason)
    print(f"{folder.path}: {reason}", file=sys.stderr, flush=True)
    return outcome


def death(number: int, *, killed: bool) -> str:
    """A death by signal in words; `killed` where it was our own doing."""
    cause = "out of memory, or killed by hand" if number == signal.SIGKILL else "a crash in native code"
    because = "it did not stop in time" if killed else cause
    return f"killed by signal {number} ({signal.strsignal(number)}): {because}"


def _is_recorded(folder: TaskFolder) -> bool:
    try:
        return store.is_recorded(folder)
    except CondhpcError:
        return False
