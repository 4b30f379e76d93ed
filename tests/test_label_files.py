"""Files of cached labels: they go on from checkpoints, and hold what they promise or are refused."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from condhpc import arrays
from condhpc.arrays import ArrayFile
from condhpc.errors import CorruptArtefactError
from condhpc.label_files import LabelReader, LabelShape, LabelWriter

SHAPE = LabelShape(rows=10, classes=6, kept=4)


def _labels(path: Path, held: Path | None = None) -> LabelWriter:
    return LabelWriter(path, SHAPE, held)


def _columns(count: int, first: int = 0) -> list[NDArray[Any]]:
    values = np.arange(first * 4, (first + count) * 4, dtype=np.float16).reshape(count, 4)
    return [values, (values.astype(int) % 6).astype(np.uint16), np.full(count, 0.5, dtype=np.float32)]


def test_labels_go_on_from_a_checkpoint(tmp_path: Path) -> None:
    """A copy saved on the way holds all rows so far and its step; the file that goes on from it ends the same."""
    writer = _labels(tmp_path / "a.h5")
    writer.write(0, _columns(6))
    writer.save(tmp_path / "checkpoint", 3)
    writer.write(6, _columns(4, 6))
    writer.close({"form": "softmax"})
    again = _labels(tmp_path / "b.h5", tmp_path / "checkpoint")
    assert again.step == 3
    again.write(6, _columns(4, 6))
    again.close({"form": "softmax"})
    for name in ("a.h5", "b.h5"):
        found = LabelReader(tmp_path / name, SHAPE).read(0, 10)
        assert [c.tobytes() for c in found] == [c.tobytes() for c in _columns(10)]


def test_a_broken_checkpoint_of_labels_is_as_good_as_none(tmp_path: Path) -> None:
    """It only saves time."""
    (tmp_path / "checkpoint").write_bytes(b"not HDF5")
    assert _labels(tmp_path / "a.h5", tmp_path / "checkpoint").step == 0
    arrays.write(tmp_path / "other", "model", ArrayFile({"values": np.zeros((10, 4), np.float16)}))
    assert _labels(tmp_path / "b.h5", tmp_path / "other").step == 0
    longer = LabelWriter(tmp_path / "c.h5", LabelShape(rows=11, classes=6, kept=4))
    longer.save(tmp_path / "longer", 3)
    assert _labels(tmp_path / "d.h5", tmp_path / "longer").step == 0


def test_labels_of_another_shape_are_refused(tmp_path: Path) -> None:
    """Rows of another training would be read as labels of wrong images."""
    writer = _labels(tmp_path / "a.h5")
    writer.close({})
    with pytest.raises(CorruptArtefactError, match=r"rows=10, .*expected .*rows=11, "):
        LabelReader(tmp_path / "a.h5", LabelShape(rows=11, classes=6, kept=4))
    (tmp_path / "b.h5").write_bytes(b"torn")
    with pytest.raises(CorruptArtefactError, match="not a readable file of labels"):
        LabelReader(tmp_path / "b.h5", SHAPE)
