"""Reading many records."""

from __future__ import annotations

import gc
import json
from pathlib import Path

import pytest
from made_runs import DATASET, TRAINING, MadeRun

from condhpc import ledger
from condhpc.planned import Label
from condhpc.spec import RelabelSpec, TeacherLabels


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A run without tasks yet."""
    return MadeRun(tmp_path)


def test_records_come_back_by_key_and_missing_ones_are_left_out(made: MadeRun) -> None:
    """Values, cost and environment as they were recorded; a task without a record is no problem."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.record(a, {"images": 10}, attempt=3)
    found = ledger.read(made.layout, [("condense", a), ("condense", b)])
    assert list(found.entries) == [a]
    assert found.problems == []
    entry = found.entries[a]
    assert (entry.values, entry.attempt, entry.cost["wall_s"]) == ({"images": 10}, 3, 2.5)


@pytest.mark.parametrize("data", [b"", b'{"key": "', b"\xff\xfe", b'{"key": 1}', b"[]"])
def test_unreadable_record_is_named_and_the_others_are_read(made: MadeRun, data: bytes) -> None:
    """One bad file costs one line in the problems, whatever is wrong with its bytes."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.record(a)
    made.folder(b).record.write_bytes(data)
    found = ledger.read(made.layout, [("condense", b), ("condense", a)])
    assert list(found.entries) == [a]
    assert len(found.problems) == 1
    assert str(made.folder(b).record) in found.problems[0]


@pytest.mark.parametrize(
    ("place", "name", "value"),
    [
        ("environment", "restarts", "x"), ("environment", "restarts", None), ("environment", "restarts", -1),
        ("environment", "threads", 0), ("environment", "threads", 0.5), ("environment", "threads", []),
        ("values", "shards_gpu_s", "x"), ("values", "shards_cpu_s", None),
        ("", "attempt", 10**30), ("", "started", 1e300), ("", "ended", -1e300),
        ("values", "x", 10**30), ("values", "x", {"y": [1, -(10**30)]}), ("environment", "run", 10**30),
        ("values", "shards_gpu_s", 10**400), ("values", "shards_cpu_s", -1e308), ("cost", "gpu_s", 1e308),
        ("", "energy", [{"part": "gpu", "joules": 1e308, "grade": "A", "source": "s", "window_s": 1.0}]),
    ],
)  # fmt: skip
def test_what_is_not_of_its_kind_is_named(made: MadeRun, place: str, name: str, value: object) -> None:
    """What tables count with, where something else wrote the record: one line, and no table breaks of it."""
    key = made.condense()
    made.record(key, {"shards_gpu_s": 1.0}, environment={"restarts": 1, "threads": 2, "run": "r"})
    path = made.folder(key).record
    held = json.loads(path.read_bytes())
    assert list(ledger.read(made.layout, [("condense", key)]).entries) == [key]
    (held[place] if place else held)[name] = value
    path.write_text(json.dumps(held))
    found = ledger.read(made.layout, [("condense", key)])
    assert found.entries == {}
    assert f"{path}: not a readable record" in found.problems[0]


@pytest.mark.parametrize("size", ["many", None, -1, 10**18, 1.5])
def test_labels_without_a_size_in_bytes_are_named(made: MadeRun, size: object) -> None:
    """The costs of sets add sizes up."""
    labels = RelabelSpec(
        dataset=DATASET, teacher=TeacherLabels(form="softmax"), steps=1, batch=1, augment=TRAINING.augment, seed=0,
        precision="fp32",
    )  # fmt: skip
    key = made.add("relabel", labels, Label(dataset="digits"), {"set": made.condense()})
    made.record(key, {"label_bytes": 12})
    assert list(ledger.read(made.layout, [("relabel", key)]).entries) == [key]
    made.folder(key).record.unlink()
    made.record(key, {"label_bytes": size})
    found = ledger.read(made.layout, [("relabel", key)])
    assert found.entries == {}
    assert "label_bytes" in found.problems[0]


@pytest.mark.parametrize("levels", [20, 100_000])
def test_values_without_end_are_named(made: MadeRun, levels: int) -> None:
    """However deep a record is nested, by other code or by hand, the others are read."""
    key = made.condense()
    made.record(key, {"x": 1})
    path = made.folder(key).record
    path.write_bytes(path.read_bytes().replace(b'"x":1', b'"x":' + b"[" * levels + b"]" * levels))
    found = ledger.read(made.layout, [("condense", key)])
    assert found.entries == {}
    assert f"{path}: not a readable record" in found.problems[0]


def test_record_of_another_task_is_refused(made: MadeRun) -> None:
    """A record copied into the wrong folder is never counted."""
    a, b = made.condense(seed=0), made.condense(seed=1)
    made.record(a)
    made.folder(b).record.write_bytes(made.folder(a).record.read_bytes())
    found = ledger.read(made.layout, [("condense", b)])
    assert found.entries == {}
    assert a in found.problems[0]


def test_garbage_collection_is_as_it_was_afterwards(made: MadeRun) -> None:
    """It is only paused."""
    assert gc.isenabled()
    ledger.read(made.layout, [])
    assert gc.isenabled()
