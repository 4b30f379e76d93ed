"""Pictures of a condensed set as lines of text, drawn by a process of its own that ends.

Arrays and images take 40 MB of whoever imports them: a screen that is left open for days does not.
"""

from __future__ import annotations

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
_LONGEST_S = 60.0


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


def read(path: Path, columns: int) -> Pictures:
    """As large as fits into so many columns; raises StoreError for a file that cannot be read, or not in time."""
    source = str(Path(__file__).parents[1])
    found_at = os.pathsep.join(filter(None, (source, os.environ.get("PYTHONPATH"))))
    try:
        done = subprocess.run(
            [sys.executable, "-m", "condhpc.half_blocks", str(path), str(columns)],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": found_at, "PYTHONSAFEPATH": "1"},
            timeout=_LONGEST_S,
        )
        found = msgspec.msgpack.decode(done.stdout, type=Pictures)
    except subprocess.TimeoutExpired as error:
        raise StoreError(f"{path}: no pictures within {_LONGEST_S:g} s; the file system may hang") from error
    except subprocess.CalledProcessError as error:
        said = error.stderr.decode(errors="replace").strip().splitlines()
        raise StoreError(f"{path}: drawing ended with exit code {error.returncode}: {said[-1:]}") from error
    except msgspec.MsgspecError as error:
        raise StoreError(f"{path}: drawing gave no pictures: {error}") from error
    if found.problem:
        raise CorruptArtefactError(found.problem)
    return found
