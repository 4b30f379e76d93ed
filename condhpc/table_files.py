"""Tables as files: CSV for people and spreadsheets, JSON and Parquet for machines. From equal rows equal bytes."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, get_args

import msgspec

from condhpc import csv_text
from condhpc.csv_text import Columns
from condhpc.errors import InputError
from condhpc.tables import Table, write_bytes, write_csv

Format = Literal["csv", "json", "parquet"]
FORMATS: tuple[Format, ...] = get_args(Format)
WORD = "_word"
"""Ending of the Parquet column that holds the words (`n/a`, `never`) of a column of numbers."""


def write(table: Table, out_dir: Path, formats: Sequence[Format]) -> list[Path]:
    """The table in each format; a file that holds the same already is left alone."""
    if not isinstance(table.rows, Columns | list):
        table = table._replace(rows=list(table.rows))
    return [_WRITERS[name](table, out_dir / f"{table.name}.{name}") for name in formats]


def write_lines(table: Table, lines: Iterable[bytes | memoryview], out_dir: Path) -> Path:
    """The table as CSV of lines that were made before; its own rows are not looked at."""
    header = csv_text.encoded(csv_text.text(table.header, ()))
    return write_bytes(out_dir / f"{table.name}.csv", header + b"".join(lines))


def require(formats: Sequence[Format]) -> None:
    """Before any work: raises InputError where a format's package is missing."""
    if "parquet" in formats:
        try:
            import pyarrow as pa  # noqa: F401
        except ImportError as error:
            raise InputError(
                "--format parquet needs pyarrow, which is not installed here: `pip install condhpc[parquet]`"
            ) from error


def _csv(table: Table, path: Path) -> Path:
    return write_csv(path, table.header, table.rows)


def _json(table: Table, path: Path) -> Path:
    """One document: name, columns in order, and a row per object; numbers are numbers, gaps are null."""
    rows = [dict(zip(table.header, row, strict=True)) for row in table.rows]
    document = {"table": table.name, "columns": list(table.header), "rows": rows}
    try:
        data = msgspec.json.encode(document)
    except UnicodeEncodeError:  # text of a stranger that is none
        document["rows"] = [{name: _utf8(value) for name, value in row.items()} for row in rows]
        data = msgspec.json.encode(document)
    return write_bytes(path, data + b"\n")


def _parquet(table: Table, path: Path) -> Path:
    """Every column of one type: whole numbers, numbers or text; words among numbers stand in a column of their own."""
    import pyarrow as pa
    from pyarrow import parquet

    columns: dict[str, Any] = {}
    values = list(zip(*table.rows, strict=True)) or [()] * len(table.header)
    for name, column in zip(table.header, values, strict=True):
        numbers = [value for value in column if isinstance(value, int | float)]
        words = [value for value in column if isinstance(value, str)]
        if not numbers:
            columns[name] = pa.array(list(map(_utf8, column)), pa.string())
            continue
        kind = pa.int64() if all(isinstance(value, int) for value in numbers) else pa.float64()
        columns[name] = pa.array([None if isinstance(value, str) else value for value in column], kind)
        if words:
            columns[name + WORD] = pa.array([_utf8(v) if isinstance(v, str) else None for v in column], pa.string())
    held = io.BytesIO()
    parquet.write_table(pa.table(columns), held)
    return write_bytes(path, held.getvalue())


def _utf8(value: Any) -> Any:
    return value.encode("utf-8", errors="replace").decode() if isinstance(value, str) else value


_WRITERS: dict[Format, Callable[[Table, Path], Path]] = {"csv": _csv, "json": _json, "parquet": _parquet}
