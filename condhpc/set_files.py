"""Files of condensed sets by what people call them: a path, (the beginning of) a key, or a cell of a run."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from condhpc import runs, store
from condhpc.errors import CorruptArtefactError, InputError
from condhpc.layout import Layout
from condhpc.planned import Label
from condhpc.runs import PlanLine

_KEY = re.compile(r"[0-9a-f]{4,32}")
_SHOWN = 10
_FORMS = "a file, (the beginning of) the key of a recorded set, or a run's cell such as cifar10/rded/10"


def find(layout: Layout, named: str, run: str | None) -> Path:
    """The file of a set; its size is compared with its record, its bytes are not read.

    A cell is dataset/condenser/ipc, perhaps with /set seed, of `run` (None: the newest); without a seed the first one
    that is recorded counts. Raises InputError, CorruptArtefactError.
    """
    if Path(named).is_file():
        return Path(named)
    if _KEY.fullmatch(named):
        return _by_key(layout, named)
    if named.count("/") in {2, 3}:
        return _by_cell(layout, named, run)
    raise InputError(f"{named}: no such set, expected {_FORMS}")


def _by_key(layout: Layout, beginning: str) -> Path:
    folder = layout.task("condense", beginning).path.parent
    keys = sorted(path.name for path in folder.glob(f"{beginning}*"))
    found = [path for path in (_file(layout, key) for key in keys) if path is not None]
    if len(found) != 1:
        many = f"is the beginning of {len(found)} keys, give more of it" if found else "is no recorded set's key"
        raise InputError(f"{beginning} {many}, under {layout.root}")
    return found[0]


def _by_cell(layout: Layout, cell: str, run: str | None) -> Path:
    folder = runs.find(layout, run)
    sets = [line for line in runs.plan(folder) if line.stage == "condense" and line.label.shard is None]
    matching = [line for line in sets if cell in _names(line.label)]
    if not matching:
        known = list(dict.fromkeys(next(_names(line.label)) for line in sets))
        more = f", and {len(known) - _SHOWN} more" if len(known) > _SHOWN else ""
        raise InputError(f"{cell}: run {folder.name} has no such set, only {', '.join(known[:_SHOWN])}{more}")
    return _first_recorded(layout, cell, matching)


def _first_recorded(layout: Layout, cell: str, lines: list[PlanLine]) -> Path:
    for line in lines:
        if (path := _file(layout, line.key)) is not None:
            return path
    raise InputError(f"{cell}: not recorded yet (task {lines[0].key[:12]}); `condhpc status` says how far it is")


def _names(label: Label) -> Iterator[str]:
    """What a set of a run is called: without and with its seed."""
    name = f"{label.dataset}/{label.condenser}/{label.ipc}"
    yield name
    if label.set_seed is not None:
        yield f"{name}/{label.set_seed}"


def _file(layout: Layout, key: str) -> Path | None:
    """The set that a task recorded; None for a shard and where there is no record."""
    folder = layout.task("condense", key)
    record = store.read_record(folder)
    if record is None or "set" not in record.artefacts:
        return None
    if "set" in store.missing_artefacts(folder, record):
        raise CorruptArtefactError(f"{folder.path}: the set is gone or has another size; `condhpc retry` makes it anew")
    return folder.path / record.artefacts["set"].file
