"""Teachers' labels of one training in HDF5: written step by step, resumable, read a few rows at a time."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from condhpc.arrays import CHUNK_BYTES, LIBVER, SCHEMA, Attributes
from condhpc.errors import CorruptArtefactError

_COLUMNS = ("values", "classes", "rest")


@dataclass(frozen=True)
class LabelShape:
    """How many labels a file holds, and how much of each."""

    rows: int
    """Images in training order, each time it is fed."""
    classes: int
    kept: int
    """Entries kept of each label; all where it equals `classes`."""


class LabelWriter:
    """Cached labels in training order: one file, filled step by step, complete only when all rows are written."""

    def __init__(self, path: Path, shape: LabelShape, held: Path | None = None) -> None:
        """A new file, or the copy of a checkpoint of the same shape; one that cannot be read is as good as none."""
        self._path = path
        if held is not None:
            shutil.copyfile(held, path)
            try:
                self._file = h5py.File(path, "r+", libver=LIBVER)
                if _shape(self._file) == shape and int(self._file.attrs["step"]) >= 0:
                    return
                self._file.close()
            except (OSError, KeyError, TypeError):
                pass  # torn, or something else
            path.unlink()
        self._file = h5py.File(path, "x", libver=LIBVER)
        self._create(shape)

    @property
    def step(self) -> int:
        """Steps that the file held when it was last saved."""
        return int(self._file.attrs["step"])

    def write(self, row: int, columns: Sequence[NDArray[Any]]) -> None:
        """Labels of the images from `row` on: `values`, and where not all entries are kept `classes` and `rest`."""
        for name, column in zip(_COLUMNS, columns, strict=False):
            self._file[name][row : row + len(column)] = column

    def save(self, path: Path, step: int) -> None:
        """A copy to go on from after `step` steps."""
        self._file.attrs["step"] = step
        self._file.close()  # else the copy would be marked as open for writing
        shutil.copyfile(self._path, path)
        self._file = h5py.File(self._path, "r+", libver=LIBVER)

    def close(self, attributes: Attributes) -> None:
        """Everything is written."""
        for name, value in attributes.items():
            self._file.attrs[name] = value
        self._file.close()

    def _create(self, shape: LabelShape) -> None:
        self._file.attrs.update(
            {"schema": SCHEMA, "kind": "labels", "step": 0, "class_count": shape.classes, "kept": shape.kept}
        )
        columns: list[tuple[str, tuple[int, ...], type]] = [("values", (shape.rows, shape.kept), np.float16)]
        if shape.kept < shape.classes:
            columns += [("classes", (shape.rows, shape.kept), np.uint16), ("rest", (shape.rows,), np.float32)]
        for name, extent, dtype in columns:
            row_bytes = np.dtype(dtype).itemsize * int(np.prod(extent[1:]))
            chunk = (min(shape.rows, max(1, CHUNK_BYTES // row_bytes)), *extent[1:])
            self._file.create_dataset(name, extent, dtype, chunks=chunk, fletcher32=True)


def _shape(file: h5py.File) -> LabelShape:
    """What a file of labels says of itself; raises KeyError for another kind of file."""
    if (file.attrs["kind"], int(file.attrs["schema"])) != ("labels", SCHEMA):
        raise KeyError("kind")
    return LabelShape(len(file["values"]), int(file.attrs["class_count"]), int(file.attrs["kept"]))


class LabelReader:
    """Rows of cached labels, a few at a time."""

    def __init__(self, path: Path, shape: LabelShape) -> None:
        """Raises CorruptArtefactError unless the file holds labels of that shape."""
        self._path = path
        try:
            self._file = h5py.File(path, "r")
            found = _shape(self._file)
        except (OSError, KeyError) as error:
            raise CorruptArtefactError(f"{path}: not a readable file of labels ({error})") from error
        if found != shape:
            raise CorruptArtefactError(f"{path}: holds {found}, expected {shape}")
        self._columns = [self._file[name] for name in _COLUMNS if name in self._file]

    def read(self, row: int, count: int) -> list[NDArray[Any]]:
        """`values` (n, kept) float16, and where not all entries are kept `classes` uint16 and `rest` (n,) float32."""
        try:
            return [column[row : row + count] for column in self._columns]
        except OSError as error:
            raise CorruptArtefactError(f"{self._path}: rows {row}.. cannot be read ({error})") from error
