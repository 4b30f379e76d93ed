"""Arrays under the root: computed once, and again where the file cannot be trusted."""

import sys
import types
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from condhpc.kept import Kept, _file_digest
from condhpc.layout import Layout

ARRAY = np.linspace(0.0, 1.0, 12).reshape(3, 4)


class Work:
    """Counts how often it is done."""

    def __init__(self, array: np.ndarray = ARRAY) -> None:
        self.array, self.done = array, 0

    def __call__(self) -> np.ndarray:
        """The array."""
        self.done += 1
        return self.array


def test_computed_once_for_all(tmp_path: Path) -> None:
    """Another measure of the same embedding finds it; another name, or another embedding, does not."""
    work = Work()
    for _ in range(2):
        assert Kept(Layout(tmp_path), {"embedding": "k1"})("radii k=5", work).tolist() == ARRAY.tolist()
    assert work.done == 1
    Kept(Layout(tmp_path), {"embedding": "k1"})("radii k=6", work)
    Kept(Layout(tmp_path), {"embedding": "k2"})("radii k=5", work)
    assert work.done == 3


def test_a_changed_plugin_does_not_read_what_it_kept_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does one read what another keeps under the same name; a partial is what it calls."""
    kept = Kept(Layout(tmp_path), {"embedding": "k"})
    for number, text in enumerate(["a = 1", "a = 2"]):
        for name in ("first", "second"):
            module = types.ModuleType(name)
            module.__file__ = str(tmp_path / f"{name}.py")
            (tmp_path / f"{name}.py").write_text(text)
            monkeypatch.setitem(sys.modules, name, module)
            function = types.FunctionType((lambda shift=0.0: ARRAY + shift).__code__, {"ARRAY": ARRAY}, argdefs=(0.0,))
            function.__module__ = name
            shift = number + (name == "second") / 2
            assert kept("radii", partial(function, shift))[0, 0] == shift
        _file_digest.cache_clear()


@pytest.mark.parametrize("harm", ["cut", "empty", "flip", "other"])
def test_a_file_that_cannot_be_trusted_is_computed_again(tmp_path: Path, harm: str) -> None:
    """Torn by a full disk, flipped by a bad one, or no such file at all: the array is the right one."""
    kept, work = Kept(Layout(tmp_path), {"embedding": "k"}), Work()
    kept("radii", work)
    (path,) = (tmp_path / "cache").iterdir()
    data = bytearray(path.read_bytes())
    data[150] ^= 1
    path.write_bytes({"cut": data[:-40], "empty": b"", "flip": bytes(data), "other": b"x" * 300}[harm])
    assert kept("radii", work).tolist() == ARRAY.tolist()
    assert work.done == 2
    assert [found.name for found in (tmp_path / "cache").iterdir()] == [path.name]
    kept("radii", work)
    assert work.done == 2


def test_plain_numpy_reads_it(tmp_path: Path) -> None:
    """The digest at the end does not keep people from looking at a file."""
    Kept(Layout(tmp_path), {})("radii", Work())
    (path,) = (tmp_path / "cache").iterdir()
    assert np.load(path).tolist() == ARRAY.tolist()
