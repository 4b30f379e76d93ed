"""Another user's files, and commands of somebody who is not their owner, as the kernel sees it.

Files are given to another uid, and commands run in a fork of root's process without capabilities: for these files it is
anybody, while interpreter, packages and pytest's folders, which may be closed to all but root, stay its own.
"""

from __future__ import annotations

import ctypes
import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from children import fork, reap
from click.testing import CliRunner

from condhpc import cli

NOBODY = 65534
_VERSION = 0x20080522
needs_root = pytest.mark.skipif(os.getuid() != 0, reason="only root can give files to another user")


def give_away(base: Path) -> None:
    """All below a folder belongs to another user, and everybody may read it."""
    for folder, _, names in os.walk(base):
        for path in (Path(folder), *(Path(folder, name) for name in names)):
            os.chown(path, NOBODY, NOBODY)
            path.chmod(0o755 if path.is_dir() else 0o644)


def close(*paths: Path) -> None:
    """Only the owner may read or enter these."""
    for path in paths:
        path.chmod(0o700 if path.is_dir() else 0o600)


def give_up_powers() -> None:
    """From now on this process is judged by owner and mode like any other."""
    header = (ctypes.c_uint32 * 2)(_VERSION, 0)
    nothing = (ctypes.c_uint32 * 6)()
    if ctypes.CDLL(None, use_errno=True).capset(header, nothing):
        raise OSError(ctypes.get_errno(), "capset")


def as_anybody(function: Callable[[], Any], answer: Path) -> Any:
    """What a function returns in a process without powers, through JSON."""
    with answer.open("w", encoding="utf-8") as file:

        def child() -> None:
            give_up_powers()
            json.dump(function(), file)
            file.flush()

        assert reap(fork(child)) == 0
    return json.loads(answer.read_text(encoding="utf-8"))


class Said(NamedTuple):
    """How a command ended."""

    code: int
    out: str
    err: str


def call(root: Path, *arguments: str) -> Said:
    """A command of somebody else on a root; the current folder is the caller's."""

    def run() -> Said:
        found = CliRunner().invoke(cli.main, ["--root", str(root), *arguments], catch_exceptions=False)
        return Said(found.exit_code, found.stdout, found.stderr)

    return Said(*as_anybody(run, Path("answer.json")))
