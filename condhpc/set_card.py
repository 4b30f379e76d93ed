"""What a condensed set is, in lines: where it comes from, how large it is, what it measured and took."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

from condhpc import energy_sums, set_files, store
from condhpc.errors import CondhpcError
from condhpc.layout import Layout
from condhpc.log_view import label_text
from condhpc.outlook import CellResult
from condhpc.planned import Label
from condhpc.spec import CondenseSpec
from condhpc.store import Record
from condhpc.tables import duration, printable

_VALUE_CHARS = 2_000
_SIZES = ("B", "KiB", "MiB", "GiB", "TiB")


class SetCard(msgspec.Struct, frozen=True):
    """A set for people."""

    title: str
    facts: list[tuple[str, str]]
    """Name and value, both without control characters."""
    file: Path | None = None
    """Where its images are; None where there are none yet."""
    note: str = ""
    """What is not shown and why."""


def read(layout: Layout, key: str, label: Label, cells: Iterable[CellResult] = ()) -> SetCard:
    """Everything that the store says of a set; never raises for what is amiss."""
    title = label_text(label)
    facts = [("key", key), *measured(label, cells)]
    folder = layout.task("condense", key)
    try:
        task = store.read_task(folder) if folder.task.exists() else None
        facts += _made_by(task.spec, task.inputs) if task is not None and isinstance(task.spec, CondenseSpec) else []
        record = store.read_record(folder)
        if record is None:
            return _harmless(title, facts, note="not made yet: pictures come with its record")
        facts += _recorded(record)
        path = set_files.find(layout, key, None) if "set" in record.artefacts else None
    except (CondhpcError, OSError) as error:
        return _harmless(title, facts, note=str(error))
    if path is None:
        return _harmless(title, facts, note="a part of a set: its pictures are those of the whole set")
    return _harmless(title, [*facts, ("file", str(path))], path)


def _harmless(title: str, facts: Sequence[tuple[str, str]], file: Path | None = None, note: str = "") -> SetCard:
    clean = [(printable(name), printable(value[:_VALUE_CHARS])) for name, value in facts]
    return SetCard(printable(title), clean, file, printable(note[:_VALUE_CHARS]))


def _made_by(spec: CondenseSpec, inputs: dict[str, str]) -> list[tuple[str, str]]:
    params = ", ".join(f"{name} {value}" for name, value in spec.params.items())
    facts = [
        ("condenser", f"{spec.condenser} ({spec.kind})" + (f": {params}" if params else "")),
        ("dataset", f"{spec.dataset.name}, {spec.dataset.classes} classes, index {spec.dataset.index[:12]}"),
        ("budget", f"{spec.ipc} per class, {spec.resolution} px, {spec.precision}"),
        ("seed", "none: it draws nothing" if spec.seed is None else str(spec.seed)),
    ]
    return facts + [(f"from {role}", key) for role, key in sorted(inputs.items())]


def _recorded(record: Record) -> list[tuple[str, str]]:
    artefacts = [
        (f"artefact {name}", f"{size_text(held.bytes)}, sha256 {held.sha256[:16]}")
        for name, held in sorted(record.artefacts.items())
    ]
    told = [(name, _value_text(name, value)) for name, value in record.values.items()]
    used = energy_sums.of_task(record.energy, gpus=record.cost.get("gpu_s", 0.0) > 0)
    cost = [f"{name.removesuffix('_s')} {duration(record.cost[name])}" for name in ("wall_s", "gpu_s", "cpu_s")
            if name in record.cost]  # fmt: skip
    cost += [f"{used.kwh:.4g} kWh (grade {used.grade})"] if used.kwh is not None else []
    where = [str(record.environment[name]) for name in ("host", "device", "gpu") if record.environment.get(name)]
    tries = f"attempt {record.attempt}" + (f", after {len(record.attempts)} others" if record.attempts else "")
    return [*artefacts, *told, ("took", ", ".join(cost)), ("made on", " ".join(where)), ("tries", tries)]


def measured(label: Label, cells: Iterable[CellResult]) -> list[tuple[str, str]]:
    """Metrics and accuracies of the cells of this set's dataset, condenser and ipc."""
    wanted = (label.dataset, label.condenser, label.ipc)
    own = [cell for cell in cells if (cell.dataset, cell.condenser, cell.ipc) == wanted]
    metrics = {name: f"{value:.4g}" for cell in own for name, value in cell.measures.items()}
    accuracies = [
        (f"{cell.protocol} {cell.student}", f"{cell.mean_pct:.2f} % top-1 ({cell.n})")
        for cell in own
        if cell.mean_pct is not None
    ]
    return [*accuracies, *sorted(metrics.items())]


def _value_text(name: str, value: Any) -> str:
    if name.endswith("bytes") and isinstance(value, int):
        return size_text(value)
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def size_text(count: float) -> str:
    """`512 B`, `3.1 MiB`."""
    for unit in _SIZES[:-1]:
        if count < 1024:
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1024
    return f"{count:.1f} {_SIZES[-1]}"
