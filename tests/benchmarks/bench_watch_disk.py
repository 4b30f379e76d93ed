"""`condhpc watch` on 100,000 recorded tasks that are on disk: memory and stalls with all that the program does.

Procedure: the run of `bench_outlook.py`, with one submission of packs of ten and what its elements said. A process of
its own watches it on a pseudo-terminal, 160 x 50: observer, outlooks and all views, as `condhpc watch` has them. It is
left alone until no note says that more is being read, then every view is brought to the front, until the pictures of
the first set are there. Resident memory after both. A stall is the time between two beats of a task of the event loop
that asks to be woken every 5 ms: the smaller one of wall time and of the CPU time of all threads, since neither other
programs nor a thread that waits count.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import pty
import struct
import sys
import termios
import time
from pathlib import Path

import msgspec
import pytest
from benchmarks import bench_outlook
from benchmarks.bench_outlook import PACK, Made
from benchmarks.bench_watch import RSS_MB, STALL_MS, read_for, resident_mb
from benchmarks.watcher import ON_SCREEN_S, Result

from condhpc import runs
from condhpc.layout import TaskFolder
from condhpc.runs import Intent, Reply
from condhpc.set_pictures import CLASSES, IMAGES
from condhpc.tui.views import VIEWS

pytestmark = pytest.mark.bench

SETS = bench_outlook.SETS
LONGEST_S = 600.0
RUN = """
import sys
sys.path[:0] = {paths}
from pathlib import Path
from benchmarks.watcher import watch
watch(Path({root!r}), Path({result!r}))
"""


def make(root: Path) -> None:
    """The run on disk, sent in packs of which every element has said that its tasks are recorded."""
    made = Made(root)
    keys = [row.key for row in made.rows]
    packs = tuple(tuple(keys[at : at + PACK]) for at in range(0, len(keys), PACK))
    runs.append(made.run, Intent(name="sub", backend="slurm", elements=packs, time=900.0))
    runs.append(made.run, Reply(name="sub", job="60", time=900.0))
    made.run.done.mkdir()
    for element, pack in enumerate(packs):
        said = ({"key": key, "result": "recorded", "time": 1010.0 + at} for at, key in enumerate(pack))
        lines = b"".join(msgspec.json.encode(one) + b"\n" for one in said)
        (made.run.done / f"sub.{element}.jsonl").write_bytes(lines)

    _paint(made.layout.task("condense", keys[0]))


def _paint(folder: TaskFolder) -> None:
    """A recorded set has images."""
    import numpy as np  # and arrays: not in the process that is measured

    from condhpc import arrays
    from condhpc.arrays import CondensedSet

    path = folder.path / "set.0001.h5"
    images = np.random.default_rng(0).integers(0, 256, (CLASSES * IMAGES, 32, 32, 3), dtype=np.uint8)
    arrays.write_condensed_set(path, CondensedSet(images, np.repeat(np.arange(CLASSES), IMAGES)))
    data = path.read_bytes()
    record = msgspec.json.decode(folder.record.read_bytes())
    held = {"file": path.name, "bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    folder.record.write_bytes(msgspec.json.encode({**record, "artefacts": {"set": held}}))


def measure(root: Path, result: Path) -> Result:
    """Watch the run, turn all views, quit."""
    tests = Path(__file__).parents[1]
    paths = [str(tests), str(tests.parent)]
    pid, terminal = pty.fork()
    if pid == 0:
        environ = {**os.environ, "TERM": "xterm-256color", "LANG": "C.UTF-8"}
        code = RUN.format(paths=paths, root=str(root), result=str(result))
        os.execve(sys.executable, [sys.executable, "-c", code], environ)
    try:
        fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", 50, 160, 0, 0))
        until = time.monotonic() + LONGEST_S
        while not result.exists():
            assert time.monotonic() < until, "it never read all"
            read_for(terminal, 0.2)
        read_mb = resident_mb(pid)
        for number in range(len(VIEWS)):
            os.write(terminal, str(number + 1).encode())
            read_for(terminal, ON_SCREEN_S)
        while not msgspec.json.decode(result.read_bytes(), type=Result).picture_lines:
            assert time.monotonic() < until, "it never drew pictures"
            read_for(terminal, 0.2)
        views_mb = resident_mb(pid)
        os.write(terminal, b"q")
        read_for(terminal, 5.0)
    finally:
        os.close(terminal)
        os.waitpid(pid, 0)
    found = msgspec.json.decode(result.read_bytes(), type=Result)
    found.read_mb, found.views_mb = read_mb, views_mb
    return found


def report(found: Result) -> str:
    """One line."""
    return (
        f"watching {50 * SETS:,} recorded tasks on disk: all read after {found.read_s:.0f} s, {found.read_mb:.0f} MB "
        f"then, {found.views_mb:.0f} MB after all views (target {RSS_MB:.0f}); longest stall while reading "
        f"{found.reading_stall_ms:.0f} ms, while turning views {found.views_stall_ms:.0f} ms (target {STALL_MS:.0f}; "
        f"by the wall clock {found.wall_stall_ms:.0f} ms); longer than 20, 50, 100 ms: "
        + ", ".join(str(count) for count in found.stalls.values())
    )


def test_records_on_disk(tmp_path: Path) -> None:
    """Memory below the target; stalls below it while nothing else runs on the machine."""
    make(tmp_path / "root")
    found = measure(tmp_path / "root", tmp_path / "result.json")
    print("\n" + report(found))
    assert found.views_mb < RSS_MB
    assert found.reading_stall_ms < STALL_MS / 0.7
