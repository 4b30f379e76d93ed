"""One payload file per array: a header with byte offsets, then one line per element. Read by the worker."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from threading import Thread

import msgspec

from condhpc import keys
from condhpc.context import Site
from condhpc.errors import StoreError
from condhpc.files import put
from condhpc.spec import Task

FORMAT = 1


class Header(msgspec.Struct, frozen=True, kw_only=True):
    """What all elements of an array share."""

    format: int = FORMAT
    name: str
    """Unique name of the submission, also the Slurm job name."""
    site: Site
    peers: bool = False
    """Elements share one list of tasks and wait for each other's records (local back-end)."""
    created: float = 0.0
    """Time of the submission: failures before it are history and tried again."""
    ranks: int = 1
    """Processes of one srun that share each task."""
    concurrent: int = 1
    """Tasks of an element that run at a time."""
    time_min: int
    """Time limit of an element; 0: none."""
    margin_s: float = 60.0
    """No task is started with less than this left."""
    signal_s: int = 120
    """How long before the limit the stop signal comes."""
    requeue: bool = False
    """Whether a stopped element puts itself back into the queue."""
    max_requeues: int = 20
    offsets: tuple[int, ...] = ()
    """Start of each element's line after the header line, bytes; filled in by `write`."""


class Element(msgspec.Struct, frozen=True):
    """The pack of one array element."""

    tasks: tuple[msgspec.Raw, ...]
    """Preimages: their digests are the keys."""

    def keyed(self) -> list[tuple[str, bytes]]:
        """(key, preimage) of each task."""
        return [(keys.digest(bytes(raw)), bytes(raw)) for raw in self.tasks]


def write(path: Path, header: Header, packs: Sequence[Sequence[bytes]]) -> Thread:
    """Write a payload for `packs` of preimages, one pack per element; refuses an existing path.

    It can be read at once, and is on disk when the thread returned is joined.
    """
    lines = [b'{"tasks":[%b]}\n' % b",".join(pack) for pack in packs]  # an Element, whose tasks are encoded
    offsets, position = [], 0
    for line in lines:
        offsets.append(position)
        position += len(line)
    head = keys.encode(msgspec.structs.replace(header, offsets=tuple(offsets))) + b"\n"
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.exists():
        raise StoreError(f"{path}: a payload of this name exists already")
    return put(path, head + b"".join(lines))


def read(path: Path, element: int) -> tuple[Header, Element]:
    """Header and one element, without reading the others; raises StoreError."""
    try:
        with path.open("rb") as file:
            header = msgspec.json.decode(file.readline(), type=Header)
            if header.format != FORMAT:
                raise StoreError(f"{path}: payload format {header.format}, this condhpc reads {FORMAT}")
            if not 0 <= element < len(header.offsets):
                raise StoreError(f"{path}: has elements 0..{len(header.offsets) - 1}, asked for {element}")
            file.seek(header.offsets[element], 1)
            return header, msgspec.json.decode(file.readline(), type=Element)
    except (OSError, ValueError) as error:  # unreadable, malformed or not UTF-8
        raise StoreError(f"{path}: not a readable payload ({error})") from error


def tasks(element: Element) -> list[Task]:
    """The tasks of an element, decoded."""
    return [keys.parse_preimage(bytes(raw)) for raw in element.tasks]
