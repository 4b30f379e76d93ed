"""How the ranks of one element find each other: places from Slurm, and rank 0's calls in an append-only file.

Rank 0 is the worker. It alone takes leases, writes records and decides; the others join the attempts that it calls
them to, and write nothing but the reason of a failure of their own.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import msgspec

from condhpc import files
from condhpc.errors import StoreError
from condhpc.layout import TaskFolder


class Place(NamedTuple):
    """Which of the processes that share a task this one is."""

    rank: int = 0
    ranks: int = 1
    local: int = 0
    """Number among the ranks of its node: its GPU."""


class Call(msgspec.Struct, frozen=True, omit_defaults=True):
    """What rank 0 says: join an attempt at a task, or, without a key, end."""

    key: str = ""
    attempt: int = 0


def place(ranks: int, environ: Mapping[str, str]) -> Place:
    """The place of this process in a Slurm step of `ranks` tasks; raises StoreError where Slurm started another number.

    Where one process does it all Slurm's variables are not looked at: a batch script has them, too.
    """
    if ranks == 1:
        return Place()
    found = [environ.get(name, "") for name in ("SLURM_PROCID", "SLURM_NTASKS", "SLURM_LOCALID")]
    if found[1] != str(ranks) or not all(text.isdigit() for text in found):
        raise StoreError(
            f"the payload asks for {ranks} ranks, but SLURM_PROCID, SLURM_NTASKS, SLURM_LOCALID are {found}: "
            "was this started by srun with as many tasks?"
        )
    return Place(int(found[0]), ranks, int(found[2]))


class Caller:
    """Rank 0's side: the one writer of the file of calls."""

    def __init__(self, path: Path, place: Place) -> None:
        self.place = place
        self._path = path

    def call(self, key: str, attempt: int) -> None:
        """Ask the others to join an attempt that has its lease and its inputs."""
        self._append(Call(key, attempt))

    def end(self) -> None:
        """Tell the others that nothing more comes."""
        self._append(Call())

    def _append(self, call: Call) -> None:
        self._path.parent.mkdir(parents=True, exist_ok=True)
        with self._path.open("ab", buffering=0) as file:
            file.write(msgspec.json.encode(call) + b"\n")


def calls(path: Path) -> list[Call]:
    """All calls so far, oldest first; none where the file is not there yet. A line still being written is left out."""
    try:
        lines = path.read_bytes().split(b"\n")[:-1]
    except FileNotFoundError:
        return []
    return [msgspec.json.decode(line, type=Call) for line in lines]


def tell_failure(folder: TaskFolder, attempt: int, rank: int, reason: str) -> None:
    """Leave word for rank 0 why this rank fails its attempt; whole at once, since rank 0 reads it when it is there."""
    files.replace(folder.failure(rank, attempt), f"rank {rank}: {reason}".encode(errors="replace"))


def told_failures(folder: TaskFolder, place: Place, attempt: int) -> list[str]:
    """What the other ranks said of their failures in an attempt."""
    paths = (folder.failure(rank, attempt) for rank in range(1, place.ranks))
    return [path.read_text(errors="replace") for path in paths if path.exists()]
