"""Payload files: elements by offset, keys by content, damage reported."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from made_tasks import analyze, condense, site

from condhpc import keys, payload
from condhpc.errors import StoreError
from condhpc.payload import Header

TASKS = [[condense(0), condense(1, name="Grün")], [analyze({"set": "00"})], []]


def _write(path: Path) -> Header:
    header = Header(name="p", site=site(Path("/r"), data={"d": "/data"}), time_min=10, max_requeues=3)
    payload.write(path, header, [[keys.preimage(task) for task in pack] for pack in TASKS])
    return header


def test_each_element_comes_back_with_its_keys(tmp_path: Path) -> None:
    """Header, tasks and keys of every element are what was written."""
    path = tmp_path / "payloads" / "p.jsonl"
    header = _write(path)
    for number, pack in enumerate(TASKS):
        found, element = payload.read(path, number)
        assert msgspec.structs.replace(found, offsets=()) == header
        assert payload.tasks(element) == pack
        assert element.keyed() == [(keys.key(task), keys.preimage(task)) for task in pack]


def test_an_existing_payload_is_never_overwritten(tmp_path: Path) -> None:
    """A name is unique; meeting it twice is an error and changes nothing."""
    _write(tmp_path / "p")
    before = (tmp_path / "p").read_bytes()
    with pytest.raises(StoreError, match="exists already"):
        _write(tmp_path / "p")
    assert (tmp_path / "p").read_bytes() == before


@pytest.mark.parametrize("element", [-1, 3, 10_000])
def test_element_out_of_range_is_refused(tmp_path: Path, element: int) -> None:
    """An index that the array does not have is named with those it has."""
    _write(tmp_path / "p")
    with pytest.raises(StoreError, match=r"elements 0\.\.2, asked for"):
        payload.read(tmp_path / "p", element)


def test_one_elements_damage_is_not_anothers(tmp_path: Path) -> None:
    """An element is read without the others, so that each reads little of a large file."""
    path = tmp_path / "p"
    _write(path)
    header, _ = payload.read(path, 0)
    data = bytearray(path.read_bytes())
    start = data.index(b"\n") + 1 + header.offsets[0]
    data[start : start + 10] = b"\xff" * 10
    path.write_bytes(data)
    assert len(payload.tasks(payload.read(path, 1)[1])) == 1
    with pytest.raises(StoreError, match="not a readable payload"):
        payload.read(path, 0)


@pytest.mark.parametrize("keep", [0, 1, 50, 200, -5])
def test_truncated_payload_is_refused(tmp_path: Path, keep: int) -> None:
    """A payload that was cut off never gives a shorter pack."""
    path = tmp_path / "p"
    _write(path)
    data = path.read_bytes()
    with_last = data.rstrip(b"\n").rpartition(b"\n")[0]  # without the empty last element
    path.write_bytes(with_last[:keep])
    with pytest.raises(StoreError, match="not a readable payload"):
        payload.read(path, 1)


def test_missing_or_newer_payload_is_refused(tmp_path: Path) -> None:
    """No file, and a format that this version does not read, are reported as such."""
    with pytest.raises(StoreError, match="not a readable payload"):
        payload.read(tmp_path / "none", 0)
    payload.write(tmp_path / "p", Header(format=2, name="p", site=site(tmp_path), time_min=1), [[]])
    with pytest.raises(StoreError, match="payload format 2, this condhpc reads 1"):
        payload.read(tmp_path / "p", 0)
