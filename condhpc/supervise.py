"""One attempt in a forked child: signals become flags, the child's death becomes a result."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import sys
import threading
import time
from collections.abc import Callable

from condhpc import attempt, lease
from condhpc.attempt import Result
from condhpc.context import Site
from condhpc.errors import CondhpcError
from condhpc.layout import TaskFolder
from condhpc.lease import Attempt, Outcome

_STOP_SIGNALS = (signal.SIGUSR2, signal.SIGTERM, signal.SIGINT)


class Flags:
    """What signals asked this process for. A wake-up pipe lets `wait` end at a signal or a child's death."""

    def __init__(self) -> None:
        self.stop = False
        self.requeue = False
        """USR2 (time limit near, preemption) asks to go on later; TERM and INT do not."""
        self.stopped_at = 0.0
        self._read, write = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        signal.set_wakeup_fd(write, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in _STOP_SIGNALS:
            signal.signal(number, self._note)

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
    preimage: bytes, folder: TaskFolder, site: Site, gone: Callable[[Attempt], bool], flags: Flags, grace_s: float
) -> Result:
    """Run one attempt in a child, relay a stop to it, kill it when it ignores that for `grace_s`."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        _child(preimage, site, gone)
    relayed = False
    while True:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return _result(pid, status, folder, stopping=flags.stop)
        if flags.stop and not relayed:
            os.kill(pid, signal.SIGUSR2)
            relayed = True
        if flags.stop and time.monotonic() - flags.stopped_at > grace_s:
            os.kill(pid, signal.SIGKILL)  # its last checkpoint stands
        flags.wait(1.0)


def _child(preimage: bytes, site: Site, gone: Callable[[Attempt], bool]) -> None:
    """In the child: never returns."""
    code = 1
    try:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        stop = threading.Event()
        for number in _STOP_SIGNALS:
            signal.signal(number, lambda *_: stop.set())
        code = attempt.exit_code(attempt.run(preimage, site, stop, gone))
    except CondhpcError as error:
        print(error, file=sys.stderr)
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _result(pid: int, status: int, folder: TaskFolder, *, stopping: bool) -> Result:
    """What a dead child's status means; a child that could not end its diary gets it ended here."""
    if os.WIFEXITED(status):
        return attempt.result_of(os.WEXITSTATUS(status))
    number = os.WTERMSIG(status)
    cause = "killed after it did not stop in time" if stopping else "out of memory, or killed by hand"
    reason = f"killed by signal {number} ({signal.Signals(number).name}): {cause if number == 9 else 'a crash in native code'}"
    result: Outcome = "stopped" if stopping else "failed"
    lease.end_for_dead(folder, pid, result, reason)
    print(f"{folder.path}: {reason}", file=sys.stderr, flush=True)
    return result
