"""Logs of elements and diaries of attempts, for people: found, cut to their end, followed, made harmless."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path

from condhpc import lease, runs, store
from condhpc.errors import CorruptArtefactError, InputError
from condhpc.findings import Snapshot
from condhpc.layout import Layout, RunFolder
from condhpc.lease import Attempt
from condhpc.planned import Label
from condhpc.run_view import RunView
from condhpc.runs import PlanLine
from condhpc.tables import printable
from condhpc.task_state import BAD

_TAIL_BYTES = 1 << 20
_CHUNK_BYTES = 1 << 16


def label_text(label: Label) -> str:
    """A label in one line: `digits random ipc 10 erm resnet18 set 0 student 1`."""
    parts = [label.dataset, label.condenser]
    parts += [f"ipc {label.ipc}"] if label.ipc is not None else []
    parts += [label.protocol, label.student, label.metric, label.role]
    parts += [f"set {label.set_seed}"] if label.set_seed is not None else []
    parts += [f"student {label.student_seed}"] if label.student_seed is not None else []
    parts += [f"shard {label.shard}"] if label.shard is not None else []
    return " ".join(part for part in parts if part)


def find_task(run: RunFolder, prefix: str) -> PlanLine:
    """The task of a run whose key begins so; raises InputError for none or several."""
    found = [line for line in runs.plan(run) if line.key.startswith(prefix.lower())]
    if len(found) == 1:
        return found[0]
    if not found:
        raise InputError(
            f"--task {prefix}: no task of run {run.name} has a key that begins so; `condhpc status --json` lists them"
        )
    keys = ", ".join(line.key[: len(prefix) + 6] for line in found[:5])
    raise InputError(f"--task {prefix}: {len(found)} tasks have keys that begin so ({keys}…); give more digits")


def task_logs(run: RunFolder, key: str) -> list[Path]:
    """Log files that hold a task's output; of a local pool those of the workers that tried it."""
    view = RunView(run)
    view.refresh()
    place = view.places.get(key)
    if place is None:
        return []
    found = runs.log_files(run, place.name, place.index)
    mentions = [path for path in found if len(found) > 1 and key.encode() in path.read_bytes()]
    return mentions or found


def bad_tasks(shot: Snapshot) -> list[PlanLine]:
    """Tasks of a run that something went wrong for."""
    bad = [row for row in shot.rows if row.state in BAD]
    return [PlanLine(key=row.key, stage=row.stage, label=row.label) for row in bad]


def task_lines(run: RunFolder, layout: Layout, line: PlanLine, count: int) -> Iterator[str]:
    """A task's diaries and the ends of its logs."""
    yield f"== {line.stage} {line.key} {printable(label_text(line.label))}"
    yield from diary_lines(layout, line)
    yield from log_lines(task_logs(run, line.key), count)


def log_lines(paths: Iterable[Path], count: int) -> Iterator[str]:
    """The ends of logs, each under its path."""
    for path in paths:
        yield f"-- {path}"
        try:
            yield from tail(path, count)
        except PermissionError as error:
            yield f"cannot be read ({error.strerror}); ask its owner"


def newest_logs(run: RunFolder) -> list[Path]:
    """All logs of a run, the one written last first; raises PermissionError where their folder is closed."""
    if run.logs.is_dir():
        os.scandir(run.logs).close()  # a glob finds nothing in one that is closed
    found = [path for path in run.logs.glob("*/*") if path.is_file() and path.suffix in {".log", ".out", ".err"}]
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def diary_lines(layout: Layout, line: PlanLine) -> Iterator[str]:
    """What each attempt at a task said, reasons in full."""
    folder = layout.task(line.stage, line.key)
    try:
        record = store.read_record(folder)
    except CorruptArtefactError as error:
        yield str(error)
        record = None
    for attempt in record.attempts if record is not None else lease.attempts(folder):
        yield _attempt_text(attempt)
        if attempt.end is not None:
            yield from (f"    {printable(text)}" for text in attempt.end.reason.splitlines())
    if record is not None:
        yield f"attempt {record.attempt}: recorded {_when(record.ended)} after {record.cost.get('wall_s', 0.0):.1f} s"


def _attempt_text(attempt: Attempt) -> str:
    owner = attempt.owner
    where = f"{owner.host} job {owner.job}" if owner.job else f"{owner.host} pid {owner.pid}"
    if attempt.end is not None:
        return f"attempt {attempt.number}: {attempt.end.outcome} {_when(attempt.end.time)} on {where}"
    step = f", step {attempt.pulse.step} of {attempt.pulse.total}" if attempt.pulse is not None else ""
    return f"attempt {attempt.number}: no end noted, began {_when(owner.started)} on {where}{step}"


def _when(epoch_s: float) -> str:
    return datetime.fromtimestamp(epoch_s, UTC).strftime("%Y-%m-%d %H:%M:%SZ")


def tail(path: Path, count: int) -> list[str]:
    """The last lines of a log, without what a terminal would obey."""
    with path.open("rb") as file:
        size = file.seek(0, os.SEEK_END)
        file.seek(max(0, size - _TAIL_BYTES))
        data = file.read()
    lines = _lines(data)
    return lines[len(lines) - count :] if count < len(lines) else lines


def _lines(data: bytes) -> list[str]:
    return [_clean(line) for line in data.decode("utf-8", errors="replace").split("\n") if line]


def _clean(line: str) -> str:
    """Of a progress bar that draws over itself only the last state."""
    return printable(line.rstrip("\r").rpartition("\r")[2].replace("\t", "    "))


def follow(
    paths: Iterable[Path],
    emit: Callable[[str], None],
    *,
    poll_s: float = 1.0,
    sleep: Callable[[float], None] = time.sleep,
) -> None:
    """Emit complete lines as they are appended, until interrupted. Sizes are polled: NFS tells nobody of changes."""
    known = list(paths)
    offsets = {path: _size(path) for path in known}
    while True:
        for path in known:
            start, size = offsets[path], _size(path)
            while start < size:
                with path.open("rb") as file:
                    file.seek(start)
                    data = file.read(_CHUNK_BYTES)
                end = data.rfind(b"\n") + 1
                if end == 0 and len(data) < _CHUNK_BYTES:
                    break  # an unfinished line
                for line in _lines(data[: end or len(data)]):
                    emit(line)
                start += end or len(data)
            offsets[path] = start if size >= offsets[path] else size
        sleep(poll_s)


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0
