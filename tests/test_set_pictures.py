"""Pictures that a process of its own draws."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

from condhpc import arrays, half_blocks, set_pictures
from condhpc.arrays import CondensedSet
from condhpc.errors import CorruptArtefactError, StoreError
from condhpc.set_pictures import Drawing


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
    found = Drawing(path, 50).read()
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
        Drawing(path, 50).read()


def test_a_process_that_ends_badly_or_never_is_told(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its last words, or how long it was waited for."""
    with pytest.raises(StoreError, match=r"exit code 1: .*invalid literal"):
        Drawing(path, "many").read()  # type: ignore[arg-type]
    monkeypatch.setattr(set_pictures, "LONGEST_S", 0.0)
    with pytest.raises(StoreError, match="no pictures within 0 s"):
        Drawing(path, 50).read()


@pytest.fixture
def never(tmp_path: Path) -> Path:
    """A pipe without a writer: whoever opens it waits."""
    held = tmp_path / "never.h5"
    os.mkfifo(held)
    return held


def test_who_no_longer_waits_ends_the_process(never: Path) -> None:
    """Before it began, too: then there is none."""
    drawing = Drawing(never, 50)
    said: list[str] = []

    def read() -> None:
        with pytest.raises(StoreError) as caught:
            drawing.read()
        said.append(str(caught.value))

    thread = threading.Thread(target=read)
    thread.start()
    deadline_s = time.monotonic() + 10.0
    while drawing._child is None:
        assert time.monotonic() < deadline_s
    drawing.end()
    thread.join(10.0)
    assert "exit code -9" in said[0]
    drawing.end()
    read()
    assert "not wanted any more" in said[1]


def test_a_process_that_nobody_waits_for_ends_by_itself(never: Path) -> None:
    """Where the program was killed: after the time that it would have waited."""
    code = (
        "from condhpc import set_pictures; set_pictures.LONGEST_S = 0.5; from condhpc import half_blocks as h; h.main()"
    )
    done = subprocess.run([sys.executable, "-c", code, str(never), "50"], check=False, timeout=60)
    assert done.returncode == -signal.SIGALRM
