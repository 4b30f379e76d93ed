"""Pictures of a condensed set as lines of text, drawn by a process of its own that ends.

Arrays and images take 40 MB of whoever imports them: a screen that is left open for days does not.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from pathlib import Path

import msgspec

from condhpc.errors import CorruptArtefactError, StoreError

CLASSES = 20
IMAGES = 10
LABEL_CHARS = 14
"""Of names beside the images."""
LONGEST_S = 60.0
"""After which neither side waits any longer: a file system may hang."""
_KILLED_S = 1.0


class PictureLine(msgspec.Struct, frozen=True, gc=False):
    """One line of text: a class's name or its place, then two rows of pixels."""

    name: str
    upper: bytes
    """Red, green and blue of the upper half of each character; none in the line between two classes."""
    lower: bytes
    held: bytes
    """By column, 1 where it belongs to an image; gaps keep the background of the terminal."""
    shades: str
    """The line without colours: one character for the mean brightness of both halves."""


class Pictures(msgspec.Struct, frozen=True):
    """Those of the first classes."""

    lines: list[PictureLine] = []
    note: str = ""
    """How many of how many."""
    problem: str = ""
    """Why there are none."""


class Drawing:
    """A process that draws a set as large as fits into so many columns; who no longer waits ends it."""

    def __init__(self, path: Path, columns: int) -> None:
        self._path, self._columns = path, columns
        self._child: subprocess.Popen[bytes] | None = None
        self._ended = False

    def end(self) -> None:
        """From any thread, at any time, and without waiting."""
        self._ended = True  # before the look at the child: `_begun` does both the other way round
        if self._child is not None:
            self._child.kill()

    def read(self) -> Pictures:
        """Raises StoreError for a file that cannot be read, or not in time, and where it was ended."""
        if self._ended:
            raise StoreError(f"{self._path}: its pictures are not wanted any more")
        try:
            found = msgspec.msgpack.decode(self._output(), type=Pictures)
        except msgspec.MsgspecError as error:
            raise StoreError(f"{self._path}: drawing gave no pictures: {error}") from error
        if found.problem:
            raise CorruptArtefactError(found.problem)
        return found

    def _begun(self) -> subprocess.Popen[bytes]:
        source = str(Path(__file__).parents[1])
        found_at = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
        self._child = child = subprocess.Popen(
            [sys.executable, "-m", "condhpc.half_blocks", str(self._path), str(self._columns)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": found_at, "PYTHONSAFEPATH": "1"},
        )
        if self._ended:
            child.kill()
        return child

    def _output(self) -> bytes:
        child = self._begun()
        try:
            out, said = child.communicate(timeout=LONGEST_S)
        except subprocess.TimeoutExpired as error:
            child.kill()
            with contextlib.suppress(subprocess.TimeoutExpired):  # the kernel may hold it, as long as the disk hangs
                child.communicate(timeout=_KILLED_S)
            raise StoreError(f"{self._path}: no pictures within {LONGEST_S:g} s; the file system may hang") from error
        if child.returncode:
            words = said.decode(errors="replace").strip().splitlines()
            raise StoreError(f"{self._path}: drawing ended with exit code {child.returncode}: {words[-1:]}")
        return out
