"""Real processes for tests: forks that end without a trace in pytest, kills at chosen instants, bounded polls."""

from __future__ import annotations

import os
import signal
import sys
import time
import traceback
from collections.abc import Callable

PATIENCE_S = 30.0
_FILE_EVENTS = frozenset({"open", "os.link", "os.rename", "os.remove", "os.mkdir", "os.listdir", "os.scandir"})


def fork(function: Callable[[], object]) -> int:
    """Pid of a child that runs `function` and exits with the int that it returns, 0 for None, 99 after an error."""
    sys.stdout.flush()
    sys.stderr.flush()
    pid = os.fork()
    if pid == 0:
        code = 99
        try:
            found = function()
            code = found if isinstance(found, int) else 0
        except BaseException:  # a fork must not unwind into pytest
            traceback.print_exc()
        finally:
            sys.stderr.flush()
            os._exit(code)
    return pid


def reap(pid: int) -> int:
    """Exit status of an own child, negative for a signal; fails a test that would hang."""
    deadline = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline:
        done, status = os.waitpid(pid, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.002)
    os.kill(pid, signal.SIGKILL)
    os.waitpid(pid, 0)
    raise AssertionError(f"child {pid} did not end in {PATIENCE_S:.0f} s")


def kill(pid: int) -> int:
    """SIGKILL and reap an own child."""
    os.kill(pid, signal.SIGKILL)
    return reap(pid)


def until(condition: Callable[[], object], what: str) -> None:
    """Poll, bounded, until a condition holds."""
    deadline = time.monotonic() + PATIENCE_S
    while not condition():
        if time.monotonic() > deadline:
            raise AssertionError(f"waited {PATIENCE_S:.0f} s for: {what}")
        time.sleep(0.005)


def kill_me_at(instant: int, under: str) -> None:
    """In a child: SIGKILL this process just before its n-th operation on files below a folder; cannot be undone."""
    seen = 0

    def hook(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in _FILE_EVENTS and any(under in str(a) for a in arguments[:2]):
            seen += 1
            if seen == instant:
                os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(hook)


def gate() -> tuple[Callable[[], None], Callable[[], None]]:
    """(wait, open): forked children wait until the parent opens the gate."""
    read, write = os.pipe()

    def wait() -> None:
        os.close(write)
        os.read(read, 1)

    def open_() -> None:
        os.close(read)
        os.close(write)

    return wait, open_
