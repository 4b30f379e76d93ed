"""What the ranks other than 0 of an element run: they wait for calls, and join attempts in a forked child.

No decision is taken here. Signals reach every rank of an element, and rank 0 alone acts upon them.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import signal
import sys
import time
import traceback
from pathlib import Path

from condhpc import attempt, joining, keys
from condhpc.errors import CondhpcError, RankLostError, Stopped
from condhpc.joining import Call, Place
from condhpc.layout import Layout
from condhpc.payload import Element, Header
from condhpc.supervise import STOP_SIGNALS, Flags, death

_IDLE_POLL_S = 0.5
_BUSY_POLL_S = 10.0
"""While a child computes, rank 0 is listened to now and then only: it may have given the attempt up."""
_CHILD_POLL_S = 1.0
_PR_SET_PDEATHSIG = 1
"""Linux's number of that request to prctl(2)."""


def _die_with(parent: int) -> None:
    """Let the kernel kill this process when its parent ends: an orphan would go on computing with rank 0.

    Then Slurm, which saw one rank of the step end, could not end the step before its own time.
    """
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before the kernel was told
        os._exit(1)


class Follower:
    """One rank of an element, until rank 0 says that nothing more comes."""

    def __init__(self, header: Header, element: Element, calls: Path, place: Place) -> None:
        self._header = header
        self._preimages = dict(element.keyed())
        self._calls = calls
        self._place = place
        self._flags = Flags()
        self._heard = 0

    def main(self) -> int:
        """Exit status: 0 where rank 0 said the end, 75 where it fell silent after a stop signal."""
        importlib.import_module("condhpc_jobs.preload")
        while not self._is_left_alone():
            call = self._listen()
            if call is None:
                self._flags.wait(_IDLE_POLL_S)
            elif call.key:
                self._join(call)
            else:
                return 0
        return 75

    def _listen(self) -> Call | None:
        """The newest call not heard before: older ones are over."""
        said = joining.calls(self._calls)
        if len(said) == self._heard:
            return None
        self._heard = len(said)
        return said[-1]

    def _is_left_alone(self) -> bool:
        """Whether rank 0 did not end within the time between the stop signal and the limit."""
        return self._flags.stop and time.monotonic() - self._flags.stopped_at > self._header.signal_s

    def _join(self, call: Call) -> None:
        """Compute this rank's share in a child; kill it where rank 0 goes on without it."""
        sys.stdout.flush()
        sys.stderr.flush()
        parent = os.getpid()
        pid = os.fork()
        if pid == 0:
            _die_with(parent)
            self._child(call)
        look_at = time.monotonic() + _BUSY_POLL_S
        killed = False
        while True:
            done, status = os.waitpid(pid, os.WNOHANG)
            if done:
                break
            if time.monotonic() >= look_at or self._flags.stop:
                look_at = time.monotonic() + _BUSY_POLL_S
                if not killed and (self._is_left_alone() or len(joining.calls(self._calls)) > self._heard):
                    os.kill(pid, signal.SIGKILL)
                    killed = True
            self._flags.wait(_CHILD_POLL_S)
        if os.WIFSIGNALED(status) and not killed:
            self._tell(call, death(os.WTERMSIG(status), killed=False))

    def _child(self, call: Call) -> None:
        """In the child: never returns."""
        code = 1
        try:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for number in STOP_SIGNALS:
                signal.signal(number, signal.SIG_IGN)  # rank 0 hears them, too, and all agree on a step to end at
            attempt.join(self._preimages[call.key], self._header.site, self._place, call.attempt)
            code = 0
        except (Stopped, RankLostError) as error:
            print(f"rank {self._place.rank}: {error}", file=sys.stderr)
            code = 0
        except CondhpcError as error:
            self._tell(call, f"{type(error).__name__}: {error}")
        except BaseException:  # nothing may unwind into the parent's frames; rank 0 has to hear
            self._tell(call, traceback.format_exc())
        finally:
            with contextlib.suppress(OSError, ValueError):  # a log on a full disk, or closed
                sys.stdout.flush()
                sys.stderr.flush()
            os._exit(code)

    def _tell(self, call: Call, reason: str) -> None:
        """Leave word for rank 0 and in the log."""
        print(f"rank {self._place.rank}: {reason}", file=sys.stderr, flush=True)
        stage = keys.parse_preimage(self._preimages[call.key]).stage
        folder = Layout(Path(self._header.site.root)).task(stage, call.key)
        joining.tell_failure(folder, call.attempt, self._place.rank, reason)
