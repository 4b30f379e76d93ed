"""Records, and artefacts that are verified before use."""

from __future__ import annotations

import contextlib
import os
import threading
import time
from pathlib import Path
from typing import Any

import msgspec

from condhpc import keys
from condhpc.energy import Amount, Energy
from condhpc.errors import CorruptArtefactError, InputMissingError, Stopped, StoreError
from condhpc.files import publish
from condhpc.layout import Layout, TaskFolder
from condhpc.lease import Attempt, latest_number
from condhpc.spec import Stage, Task

SCHEMA = 1
_RETRY_S = 2.0
_RETRY = "`condhpc retry` sets it aside and computes the task again"


class Artefact(msgspec.Struct, frozen=True):
    """A file that a record vouches for."""

    file: str
    """Name in the task's folder."""
    bytes: int
    sha256: str


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What a finished task leaves. Unknown fields of a newer schema are ignored by a reader."""

    schema: int = SCHEMA
    key: str
    stage: Stage
    attempt: int
    artefacts: dict[str, Artefact]
    values: dict[str, Any]
    """The stage's results, units in names."""
    cost: dict[str, Amount]
    energy: tuple[Energy, ...] = ()
    environment: dict[str, Any]
    """Code digest, versions, device, host: recorded, not hashed."""
    attempts: tuple[Attempt, ...] = ()
    """Attempts that ended without a record, oldest first."""
    started: float
    ended: float


class Recorded(msgspec.Struct, frozen=True):
    """A task with its record, as a consumer sees it."""

    folder: Path
    task: Task
    record: Record

    @property
    def values(self) -> dict[str, Any]:
        """Results of the stage."""
        return self.record.values

    @property
    def artefacts(self) -> dict[str, Artefact]:
        """Files by name."""
        return self.record.artefacts


_record_decoder = msgspec.json.Decoder(Record)


def write_task(folder: TaskFolder, preimage: bytes) -> None:
    """Write `task.json`, or compare with what is there; raises StoreError where they differ."""
    folder.path.mkdir(parents=True, exist_ok=True)
    if publish(folder.task, preimage):
        return
    found = folder.task.read_bytes()
    if found != preimage:
        raise StoreError(
            f"{folder.task}: holds another task than key {folder.path.name} digests; the file was changed by hand "
            f"or the disk is at fault. Move {folder.path} away and submit again"
        )


def read_task(folder: TaskFolder) -> Task:
    """The task behind a folder; raises StoreError for a missing or foreign `task.json`."""
    try:
        data = folder.task.read_bytes()
        task = keys.parse_preimage(data)
    except (OSError, ValueError) as error:
        raise StoreError(f"{folder.task}: not a readable task ({error})") from error
    if keys.digest(data) != folder.path.name:
        raise StoreError(
            f"{folder.task}: its digest is {keys.digest(data)}, not the folder's name; it was changed by hand"
        )
    return task


def read_record(folder: TaskFolder) -> Record | None:
    """The record, or None where there is none; raises CorruptArtefactError for an unreadable or foreign one."""
    try:
        data = folder.record.read_bytes()
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        record = _record_decoder.decode(data)
    except (ValueError, RecursionError) as error:  # msgspec's errors, and bytes that are not UTF-8
        raise CorruptArtefactError(f"{folder.record}: not a readable record ({error}); {_RETRY}") from error
    if record.key != folder.path.name:
        raise CorruptArtefactError(f"{folder.record}: is the record of another task, {record.key}; {_RETRY}")
    return record


def is_recorded(folder: TaskFolder) -> bool:
    """Whether a usable record exists: readable, and every artefact there with its size (scratch is purged)."""
    record = read_record(folder)
    return record is not None and not missing_artefacts(folder, record)


def missing_artefacts(folder: TaskFolder, record: Record) -> list[str]:
    """Names of artefacts that are gone or have another size."""
    return [name for name, held in record.artefacts.items() if _size(folder.path / held.file) != held.bytes]


def set_aside(folder: TaskFolder, record: Record) -> None:
    """Rename a record whose artefacts are gone or altered, so that its task counts as new again."""
    with contextlib.suppress(FileNotFoundError):
        folder.record.rename(folder.path / f"record.{record.attempt:04d}.aside.json")


def set_aside_if_corrupt(folder: TaskFolder) -> str:
    """Set a record aside when it, or an artefact's bytes, cannot be trusted; says why, empty where all is well."""
    try:
        record = read_record(folder)
    except CorruptArtefactError as error:
        with contextlib.suppress(FileNotFoundError):
            folder.record.rename(folder.path / f"record.{latest_number(folder) + 1:04d}.aside.json")
        return str(error)
    if record is None:
        return ""
    try:
        for name in record.artefacts:
            verified(folder, record, name)
    except CorruptArtefactError as error:
        set_aside(folder, record)
        return str(error)
    return ""


def _size(path: Path) -> int | None:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return None


def verified(folder: TaskFolder, record: Record, name: str) -> Path:
    """Path of an artefact whose bytes match its record's SHA-256; raises CorruptArtefactError."""
    held = record.artefacts.get(name)
    if held is None:
        raise CorruptArtefactError(f"{folder.record}: has no artefact '{name}', only {sorted(record.artefacts)}")
    path = folder.path / held.file
    found_bytes = _size(path)
    if found_bytes != held.bytes:
        found = "missing" if found_bytes is None else f"{found_bytes} bytes"
        raise CorruptArtefactError(
            f"{path}: {found}, its record says {held.bytes} bytes; {_REMEDY.format(folder.path)}"
        )
    if keys.sha256_file(path) != held.sha256:
        raise CorruptArtefactError(f"{path}: its bytes changed since it was recorded; {_REMEDY.format(folder.path)}")
    return path


_REMEDY = "it will not be used. `condhpc retry` checks {} and computes it again"


def require_recorded(
    layout: Layout, stage: Stage, key: str, patience_s: float, stop: threading.Event | None = None
) -> Recorded:
    """An input with its record; waits for a file system that shows it late (NFS caches negative look-ups).

    Raises InputMissingError when it is still not there after `patience_s`, Stopped when `stop` is set meanwhile.
    """
    folder = layout.task(stage, key)
    deadline = time.monotonic() + patience_s
    while (found := _recorded(folder)) is None:
        left_s = deadline - time.monotonic()
        if left_s <= 0:
            raise InputMissingError(f"input {stage} {key} has no usable record")
        if (stop or threading.Event()).wait(min(_RETRY_S, max(0.01, left_s))):
            raise Stopped(f"stopped while waiting for input {stage} {key}")
    return found


def _recorded(folder: TaskFolder) -> Recorded | None:
    _reopen(folder.path)
    record = read_record(folder)
    if record is None or missing_artefacts(folder, record):
        return None
    return Recorded(folder.path, read_task(folder), record)


def _reopen(path: Path) -> None:
    """Opening a folder makes an NFS client look again; it may remember of the two above, too, that they were empty."""
    for folder in (path.parent.parent, path.parent, path):
        try:
            os.close(os.open(folder, os.O_RDONLY | os.O_DIRECTORY))
        except FileNotFoundError:
            return
