"""The root's lock: held from planning to the last sbatch of a submission, by one process at a time."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from condhpc.errors import StoreError
from condhpc.layout import Layout

_LOCK_PATIENCE_S = 30.0


@contextmanager
def root_lock(layout: Layout) -> Iterator[None]:
    """The root's lock; waits a little, then says who holds it."""
    layout.root.mkdir(parents=True, exist_ok=True)
    with layout.lock.open("a+") as file:
        deadline = time.monotonic() + _LOCK_PATIENCE_S
        while not _try_lock(file.fileno()):
            if time.monotonic() > deadline:
                file.seek(0)
                holder = file.read().strip() or "an unknown process"
                raise StoreError(f"{layout.lock}: held by {holder}; wait for it, or end it if it hangs")
            time.sleep(0.1)
        file.truncate(0)
        file.write(f"pid {os.getpid()} on {os.uname().nodename} since {datetime.now(UTC):%Y-%m-%d %H:%M:%SZ}")
        file.flush()
        yield


def _try_lock(handle: int) -> bool:
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
