"""Pictures that a process of its own draws."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from condhpc import arrays, half_blocks, set_pictures
from condhpc.arrays import CondensedSet
from condhpc.errors import CorruptArtefactError, StoreError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A set of two classes of three images, all of which differ."""
    images = np.random.default_rng(0).integers(0, 256, (6, 8, 8, 3), dtype=np.uint8)
    about = {"class_names": ["tench", "\x1b[31mchurch"]}
    held = tmp_path / "set.h5"
    arrays.write_condensed_set(held, CondensedSet(images, np.repeat(np.arange(2), 3), attributes=about))
    return held


def test_they_are_those_that_are_drawn_here(path: Path) -> None:
    """Line by line, for the width that was asked for; names have nothing that a terminal obeys."""
    found = set_pictures.read(path, 50)
    assert found == half_blocks.drawn(path, 50)
    assert found != half_blocks.drawn(path, 80)
    assert found.note == "pictures: 2 of 2 classes, at most 10 of each"
    assert [line.name for line in found.lines if line.name] == ["tench", "?[31mchurch"]


def test_who_asks_imports_no_arrays() -> None:
    """That is what the process is for."""
    code = "import sys; from condhpc import set_card, set_pictures; print({'numpy', 'h5py', 'PIL'} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True, timeout=120)
    assert done.stdout.strip() == "set()"


def test_a_damaged_file_is_told(path: Path) -> None:
    """By the words of whoever reads it."""
    path.write_bytes(b"x" * 100)
    with pytest.raises(CorruptArtefactError, match=f"{path}.*cannot be read"):
        set_pictures.read(path, 50)


def test_a_process_that_ends_badly_or_never_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its last words, or how long it was waited for."""
    with pytest.raises(StoreError, match=r"exit code 1: .*invalid literal"):
        set_pictures.read(path, "many")  # type: ignore[arg-type]
    monkeypatch.setattr(set_pictures, "_LONGEST_S", 0.0)
    with pytest.raises(StoreError, match="no pictures within 0 s"):
        set_pictures.read(path, 50)
