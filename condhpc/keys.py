"""From a task to its key, and digests of files. The one place where bytes are hashed."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import msgspec

from condhpc.errors import StageError
from condhpc.spec import SPEC_TYPES, Stage, Task

FORMAT = 2
"""Version of the preimage's layout; a change makes every key new."""

_encoder = msgspec.json.Encoder(order="sorted")
_chunk_bytes = 1 << 20


class Preimage(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """The exact content that a key digests, as `task.json` holds it."""

    format: int
    inputs: dict[str, str]
    spec: msgspec.Raw
    stage: Stage
    version: tuple[int, int]


_preimage_decoder = msgspec.json.Decoder(Preimage)


def encode(value: object) -> bytes:
    """Canonical JSON: sorted keys, no spaces, shortest floats."""
    return _encoder.encode(value)


def preimage(task: Task) -> bytes:
    """Canonical encoding of a task; its digest is the key."""
    return preimage_of(task.stage, encode(task.spec), task.inputs, task.version)


def preimage_of(stage: Stage, spec: bytes, inputs: dict[str, str], version: tuple[int, int]) -> bytes:
    """As `preimage`, from an already encoded spec (tasks that share a spec encode it once)."""
    return _encoder.encode(Preimage(FORMAT, inputs, msgspec.Raw(spec), stage, version))


def digest(data: bytes) -> str:
    """128-bit BLAKE2b, 32 hex digits."""
    return hashlib.blake2b(data, digest_size=16).hexdigest()


def key(task: Task) -> str:
    """The task's name in the store: 32 hex digits."""
    return digest(preimage(task))


def parse_preimage(data: bytes) -> Task:
    """The task behind a preimage.

    Raises msgspec.ValidationError for another format, stage or field than this version of condhpc knows.
    """
    raw = _preimage_decoder.decode(data)
    if raw.format != FORMAT:
        message = f"task format {raw.format}, this condhpc reads {FORMAT}"
        raise msgspec.ValidationError(message)
    spec = msgspec.json.decode(raw.spec, type=SPEC_TYPES[raw.stage])
    return Task(stage=raw.stage, spec=spec, inputs=raw.inputs, version=raw.version)


def sha256_of(path: Path) -> str:
    """SHA-256 of a file's bytes, or of a folder: of one line `<SHA-256>  <relative path>` per file, sorted by path.

    Hidden files do not count, links are followed. Raises OSError for what cannot be read, a link to nothing too.
    """
    if not path.is_dir():
        return sha256_file(path)
    found = sorted((p.relative_to(path).as_posix(), p) for p in _visible_files(path))
    lines = [f"{sha256_file(p)}  {name}\n" for name, p in found]
    return sha256_bytes("".join(lines).encode(errors="surrogateescape"))


def _visible_files(folder: Path) -> Iterator[Path]:
    """Whatever a reader of the folder could open; `rglob` would pass over linked and unreadable folders in silence."""

    def refuse(error: OSError) -> None:
        raise error

    for home, folders, names in os.walk(folder, onerror=refuse, followlinks=True):
        folders[:] = [name for name in folders if not name.startswith(".")]
        paths = (Path(home, name) for name in names if not name.startswith("."))
        yield from (path for path in paths if path.is_file() or path.is_symlink())


def sha256_bytes(data: bytes) -> str:
    """SHA-256 of bytes in memory, 64 hex digits."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's bytes, 64 hex digits."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_chunk_bytes):
            state.update(chunk)
    return state.hexdigest()


def require_sha256(what: str, path: Path, sha256: str, advice: str) -> None:
    """Raise StageError unless the file or folder can be read and has that digest (as by `sha256_of`).

    `what` names it in the message, `advice` says what to do about another one.
    """
    try:
        found = sha256_of(path)
    except OSError as error:
        raise StageError(f"{what}: {path} cannot be read ({error.strerror or error})") from error
    if found != sha256:
        raise StageError(f"{what}: {path} has SHA-256 {found}, the task names {sha256}; {advice}")
