"""Tables as files."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from condhpc import table_files
from condhpc.csv_text import Columns
from condhpc.tables import Table

ROWS = [("a", 1, 0.5, "n/a"), ("b\udcff", None, 2.0, 3), (None, 3, None, 1.5)]
TABLE = Table("t", ("name", "n", "x", "mixed"), ROWS)


def test_json_keeps_types_and_gaps(tmp_path: Path) -> None:
    """One document, a row per object; text that is none does not end it."""
    (path,) = table_files.write(TABLE, tmp_path, ("json",))
    found = json.loads(path.read_text())
    assert (found["table"], found["columns"]) == ("t", ["name", "n", "x", "mixed"])
    assert found["rows"][0] == {"name": "a", "n": 1, "x": 0.5, "mixed": "n/a"}
    assert found["rows"][1] == {"name": "b?", "n": None, "x": 2.0, "mixed": 3}
    assert found["rows"][2]["name"] is None


def test_parquet_has_one_type_per_column(tmp_path: Path) -> None:
    """Words among numbers stand beside them; an empty table has all its columns."""
    parquet = pytest.importorskip("pyarrow.parquet")
    (path,) = table_files.write(TABLE, tmp_path, ("parquet",))
    found = parquet.read_table(path)
    assert {field.name: str(field.type) for field in found.schema} == {
        "name": "string", "n": "int64", "x": "double", "mixed": "double", "mixed_word": "string",
    }  # fmt: skip
    assert found.column("mixed").to_pylist() == [None, 3.0, 1.5]
    assert found.column("mixed_word").to_pylist() == ["n/a", None, None]
    assert found.column("n").to_pylist() == [1, None, 3]
    (path,) = table_files.write(Table("e", ("a", "b"), []), tmp_path, ("parquet",))
    assert parquet.read_table(path).column_names == ["a", "b"]


def test_every_format_has_the_same_rows_whatever_gives_them(tmp_path: Path) -> None:
    """From a list, a generator that can be read once, and columns."""
    formats = table_files.FORMATS if pytest.importorskip("pyarrow") else ()
    found = []
    for i, rows in enumerate((ROWS, iter(ROWS), Columns(list(zip(*ROWS, strict=True))))):
        paths = table_files.write(TABLE._replace(rows=rows), tmp_path / str(i), formats)
        found.append([path.read_bytes() for path in paths])
    assert found[0] == found[1] == found[2]
    assert [path.suffix for path in paths] == [".csv", ".json", ".parquet"]
