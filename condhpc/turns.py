"""Giving way to the main thread: whoever looks at a large run beside a screen must not keep it from its turn."""

from __future__ import annotations

import threading
import time

_EVERY_S = 0.002
_REST_S = 0.0001
_rested_s = 0.0


def give_way() -> None:
    """Call it often in loops: a thread that is not the main one rests a moment every 2 ms.

    CPython hands over to a thread that has waited a whole switch interval, counted anew whenever the other one comes
    back from a system call. Beside thousands of opened files, and with a core to spare, that is never: the screen stood
    still for up to 0.6 s.
    """
    global _rested_s  # noqa: PLW0603 - of all threads: one of them rested
    if time.perf_counter() - _rested_s > _EVERY_S:
        if threading.current_thread() is not threading.main_thread():
            time.sleep(_REST_S)
        _rested_s = time.perf_counter()
