"""What a pseudo-terminal is sent, above all at the end: it must be as it was found."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import sys
import termios
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from made_owners import close, give_away, needs_root
from made_runs import MadeRun

from condhpc import profile as profiles
from condhpc.files import publish
from condhpc.profile import Profile

TESTS = Path(__file__).parents[1]
SCRIPT = """
import sys, time
sys.path[:0] = {paths}
from made_shots import Source, row, shot
from condhpc.tui.app import Watch
from condhpc.tui.ascii_driver import AsciiDriver
from condhpc.tui.view import Setting
seen = shot(row("a" * 32, "failed", "\u00e9 \\x1b]0;title\\x07 \u25b8"))
source = Source({first})
app = Watch(source, 0.05, Setting(clock=time.time), driver_class=AsciiDriver if {ascii_only} else None)
app.run()
sys.exit(app.return_code or 0)
"""
ENTERED, LEFT, CURSOR, NO_MOUSE = b"\x1b[?1049h", b"\x1b[?1049l", b"\x1b[?25h", b"\x1b[?1000l"


class Pseudo:
    """A process on a pseudo-terminal of 80 x 24."""

    def __init__(self, *words: str, **environ: str) -> None:
        self.said = b""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            base = {name: value for name, value in os.environ.items() if name not in {"LC_ALL", "LC_CTYPE", "NO_COLOR"}}
            os.execve(sys.executable, [sys.executable, *words], {**base, "TERM": "xterm-256color", **environ})
        fcntl.ioctl(self.fd, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))

    def read_until(self, wanted: bytes, timeout_s: float = 30.0) -> None:
        """Read until this was said."""
        deadline = time.monotonic() + timeout_s
        while wanted not in self.said:
            assert time.monotonic() < deadline, f"{wanted!r} never came; {self.said[-500:]!r}"
            if not self._read(0.1):
                break
        assert wanted in self.said, f"it ended without {wanted!r}: {self.said[-800:]!r}"

    def _read(self, timeout_s: float) -> bool:
        if not select.select([self.fd], [], [], timeout_s)[0]:
            return True
        try:
            part = os.read(self.fd, 1 << 16)
        except OSError:  # its side is closed
            return False
        self.said += part
        return bool(part)

    def end(self) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + 30.0
        while self._read(0.1):
            assert time.monotonic() < deadline, "it does not end"
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


@pytest.fixture
def started() -> Iterator[list[Pseudo]]:
    """What a test starts; nothing of it is left."""
    made: list[Pseudo] = []
    yield made
    for pseudo in made:
        os.close(pseudo.fd)


def start(started: list[Pseudo], *, first: str = "seen", ascii_only: bool = False, **environ: str) -> Pseudo:
    """The app, with this as what the source says first."""
    paths = [str(TESTS), str(TESTS.parent)]
    started.append(Pseudo("-c", SCRIPT.format(paths=paths, first=first, ascii_only=ascii_only), **environ))
    return started[0]


def assert_restored(said: bytes) -> None:
    """The alternate screen is left, the cursor shown and the mouse given back, in the end."""
    for off, on in ((LEFT, ENTERED), (CURSOR, b"\x1b[?25l"), (NO_MOUSE, b"\x1b[?1000h")):
        assert said.rfind(off) > said.rfind(on) > -1, off


def assert_leaves(pseudo: Pseudo, number: signal.Signals | None, code: int) -> None:
    """By `q` (None) or by a signal, with that exit code and the terminal as it was."""
    if number is None:
        os.write(pseudo.fd, b"q")
    else:
        os.kill(pseudo.pid, number)
    assert pseudo.end() == code
    assert_restored(pseudo.said)


@pytest.mark.parametrize(("number", "code"), [(None, 0), (signal.SIGTERM, 143), (signal.SIGHUP, 129)])
def test_the_terminal_is_restored(started: list[Pseudo], number: signal.Signals | None, code: int) -> None:
    """After `q` and after signals, with the code that shells expect."""
    pseudo = start(started)
    pseudo.read_until(b"1 Overview")
    assert_leaves(pseudo, number, code)


def test_the_terminal_is_restored_after_a_bug(started: list[Pseudo]) -> None:
    """Its traceback stands on the screen that was there before."""
    pseudo = start(started, first='ZeroDivisionError("a bug")')
    assert pseudo.end() == 1
    assert_restored(pseudo.said)
    assert b"a bug" in pseudo.said[pseudo.said.rfind(LEFT) :]


def test_no_text_of_a_run_is_a_command(started: list[Pseudo]) -> None:
    """An escape sequence in a reason of failure, here one that sets the window's title, is not passed on."""
    pseudo = start(started)
    pseudo.read_until(b"1 Overview")
    os.write(pseudo.fd, b"2x")
    pseudo.read_until(b"?]0;title?")
    os.write(pseudo.fd, b"q")
    assert pseudo.end() == 0
    assert b"\x1b]0;title" not in pseudo.said


def test_terminals_without_utf8_get_ascii(started: list[Pseudo]) -> None:
    """Whatever is painted, borders and scroll bars among it."""
    pseudo = start(started, ascii_only=True, NO_COLOR="1")
    pseudo.read_until(b"1 Overview")
    os.write(pseudo.fd, b"2x?")
    pseudo.read_until(b"Group by")
    os.write(pseudo.fd, b"qq")
    assert pseudo.end() == 0
    assert pseudo.said.isascii()


def empty(started: list[Pseudo], root: Path) -> Pseudo:
    """The command on a root without runs, once it says so."""
    started.append(Pseudo("-m", "condhpc", "--root", str(root), "watch", PYTHONPATH=str(TESTS.parent)))
    started[0].read_until(b"no runs yet under")
    return started[0]


@pytest.mark.usefixtures("no_own_profile")
def test_an_empty_root_opens_and_shows_its_first_run(started: list[Pseudo], root: Path) -> None:
    """The whole command: words, then the run as soon as there is one, and the terminal as it was."""
    pseudo = empty(started, root)
    made = MadeRun(root)
    made.condense()
    publish(made.run.profile, profiles.encode(profiles.resolve(None, str(root), dict(os.environ))))
    made.write()
    pseudo.read_until(made.run.name.encode())
    pseudo.read_until(b"1 Overview")
    os.write(pseudo.fd, b"q")
    assert pseudo.end() == 0
    assert_restored(pseudo.said)


@pytest.mark.usefixtures("no_own_profile")
@pytest.mark.parametrize(("number", "code"), [(None, 0), (signal.SIGTERM, 143)])
def test_who_does_not_wait_leaves_a_clean_terminal(
    started: list[Pseudo], root: Path, number: signal.Signals | None, code: int
) -> None:
    """By key and by signal; nothing was made."""
    pseudo = empty(started, root)
    assert_leaves(pseudo, number, code)
    assert not root.exists()


# -- a run of another user -----------------------------------------------------------------------------------------

BY_SOMEBODY_ELSE = """
import sys
sys.path[:0] = {paths}
from made_owners import give_up_powers
from condhpc import cli
give_up_powers()
cli.main(["--root", {root!r}, "watch", "--read-only"])
"""


@pytest.fixture
def theirs(root: Path) -> MadeRun:
    """A set and two evaluations, one of them in a folder that is closed; hints of it are closed, too."""
    made = MadeRun(root)
    of = made.condense()
    keys = [of, made.evaluate(of, 0), made.evaluate(of, 1)]
    made.write()
    made.run.profile.write_bytes(profiles.encode(Profile(name="x", backend="slurm", root=root)))
    name = made.submit(*([key] for key in keys), sent=1.0)
    for index, key in enumerate(keys):
        made.record(key, {"top1_pct": 41.5} if index else {})
        made.hint(name, index, key, "recorded")
    give_away(root)
    close(made.run.done / f"{name}.2.jsonl", made.folder(keys[2]).path)
    return made


@pytest.fixture
def watch(theirs: MadeRun) -> Iterator[Pseudo]:
    """The command, as somebody else."""
    paths = [str(TESTS), str(TESTS.parent)]
    pseudo = Pseudo("-c", BY_SOMEBODY_ELSE.format(paths=paths, root=str(theirs.layout.root)))
    yield pseudo
    os.close(pseudo.fd)


@needs_root
@pytest.mark.usefixtures("no_own_profile")
def test_it_is_watched(watch: Pseudo, theirs: MadeRun) -> None:
    """Its results are shown, what is closed is told, `q` ends it, and nothing was written to the run."""
    before = {path: path.stat().st_mtime_ns for path in theirs.layout.root.rglob("*")}
    watch.read_until(b"Permission denied")
    os.write(watch.fd, b"4")
    watch.read_until(b"41.50")
    os.write(watch.fd, b"q")
    assert watch.end() == 0
    assert b"Traceback" not in watch.said
    assert {path: path.stat().st_mtime_ns for path in theirs.layout.root.rglob("*")} == before
