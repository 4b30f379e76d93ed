"""Records kept by run."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_runs import MadeRun

from condhpc import lease, ledger, ledger_cache
from condhpc.energy import Energy
from condhpc.ledger import Entry

ENERGY = (Energy("gpu", 12.5, "A", "counter", 3.0), Energy("cpu", None, "none", "nobody", 3.0))


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A run of three sets, all recorded, the first after an attempt that failed."""
    found = MadeRun(tmp_path)
    keys = [found.condense(seed=i) for i in range(3)]
    found.write()
    earlier = lease.Attempt(number=1, owner=lease.myself(), pulse=None, end=lease.End(outcome="failed", time=1.0))
    found.record(keys[0], {"count": 1}, attempt=2, attempts=(earlier,), energy=ENERGY)
    for key in keys[1:]:
        found.record(key, {"count": 2, "correct_bits": "AAAA"}, energy=ENERGY[:1])
    return found


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Keys of records that were opened since."""
    keys: list[str] = []
    plain = ledger.read

    def watched(layout: Any, tasks: Any) -> ledger.Ledger:
        wanted = list(tasks)
        keys.extend(key for _, key in wanted)
        return plain(layout, wanted)

    monkeypatch.setattr(ledger, "read", watched)
    return keys


def read(made: MadeRun, **how: bool) -> ledger_cache.Read:
    """The records of the whole plan."""
    return ledger_cache.read(made.run, made.layout, [(line.stage, line.key) for line in made.lines], **how)


def test_kept_entries_are_those_of_the_records(made: MadeRun) -> None:
    """Field by field, in the order of the plan, without what is long."""
    first, again = read(made).ledger.entries, read(made).ledger.entries
    plain = ledger.read(made.layout, [(line.stage, line.key) for line in made.lines]).entries
    slim: dict[str, Entry] = {}
    for key, entry in plain.items():
        values = {name: value for name, value in entry.values.items() if name != "correct_bits"}
        slim[key] = msgspec.structs.replace(entry, values=values)
    assert first == again == slim
    assert list(again) == [line.key for line in made.lines]
    assert [len(entry.attempts) for entry in again.values()] == [1, 0, 0]


def test_only_what_looks_new_is_opened(made: MadeRun, opened: list[str]) -> None:
    """A replaced record and a new one; a deleted one is gone at once."""
    one, two, three = (line.key for line in made.lines)
    read(made)
    assert opened == [one, two, three]
    opened.clear()
    made.folder(two).record.unlink()
    made.record(two, {"count": 77})
    made.folder(three).record.unlink()
    found = read(made).ledger.entries
    assert opened == [two]
    assert {key: entry.values["count"] for key, entry in found.items()} == {one: 1, two: 77}
    opened.clear()
    assert list(read(made).ledger.entries) == [one, two]
    assert opened == []
    read(made, anew=True)
    assert opened == [one, two]


@pytest.mark.parametrize("data", [b"", b"\x90", b"\x94\x00\x90\x90\x90", b"not msgpack"])
def test_a_file_that_is_none_is_made_again(made: MadeRun, data: bytes) -> None:
    """Torn, of another version or of other code."""
    made.run.ledger.write_bytes(data)
    assert len(read(made).ledger.entries) == 3
    assert made.run.ledger.read_bytes() != data


def test_unreadable_records_are_told_each_time(made: MadeRun) -> None:
    """They are never kept, so that nobody forgets them."""
    torn = made.lines[1].key
    made.folder(torn).record.write_text("{")
    for _ in range(2):
        found = read(made).ledger
        assert torn not in found.entries
        assert [torn in problem for problem in found.problems] == [True]


def test_entries_are_found_where_records_before_them_came_or_went(made: MadeRun, opened: list[str]) -> None:
    """Kept entries are then no longer at the places that their tasks have in the plan."""
    keys = [line.key for line in made.lines]
    made.folder(keys[0]).record.rename(made.folder(keys[0]).path / "away")
    assert list(read(made).ledger.entries) == keys[1:]
    opened.clear()
    assert list(read(made).ledger.entries) == keys[1:]
    assert opened == []
    (made.folder(keys[0]).path / "away").rename(made.folder(keys[0]).record)
    assert {key: entry.key for key, entry in read(made).ledger.entries.items()} == {key: key for key in keys}
    assert opened == keys[:1]


def test_a_stage_without_a_folder_has_no_records(made: MadeRun) -> None:
    """As before its first task ran; a file in its place is no folder."""
    tasks = [("evaluate", "e" * 32), (made.lines[0].stage, made.lines[0].key), ("teacher", "f" * 32)]
    Path(made.layout.stage("teacher")).write_bytes(b"")
    looks = ledger_cache.look(made.layout, tasks)
    absent = [ledger_cache.ABSENT] * 2
    assert [list(looks[:2]), list(looks[4:])] == [absent, absent]
    assert looks[3] == made.folder(made.lines[0].key).record.stat().st_size
