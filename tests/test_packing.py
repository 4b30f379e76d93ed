"""From folders to packs."""

from __future__ import annotations

import multiprocessing
from pathlib import Path

import numpy as np
import pytest
from made_image_files import image_folder, imagenette2

from condhpc import packing, registry
from condhpc.datasets.base import Dataset, Index
from condhpc.errors import InputError, StageError

LOADER: Dataset = registry.load("datasets", "image_folder")
DIGITS: Dataset = registry.load("datasets", "digits")


def packed(folder: Path | None, out: Path, plugin: Dataset = LOADER) -> Index:
    """Pack all that the plug-in finds."""
    index = plugin.index(folder)
    side = plugin.INFO.resolution if plugin is DIGITS and plugin.INFO is not None else 16
    splits = {name: plugin.split(index, folder, name, side) for name in index.splits}
    packing.pack(index, splits, out, 3, lambda _done: None)
    return index


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two splits of two classes with three JPEGs each."""
    return image_folder(tmp_path / "images")


def test_a_pack_gives_what_the_folder_gives(folder: Path, tmp_path: Path) -> None:
    """The same index, so the same keys; the same labels; the same pixels, squared and raw."""
    index = packed(folder, tmp_path / "p.h5")
    again = LOADER.index(tmp_path / "p.h5")
    assert again == index
    assert again.digest() == index.digest()
    for name in ("train", "test"):
        loose, inside = (LOADER.split(index, home, name, 16) for home in (folder, tmp_path / "p.h5"))
        np.testing.assert_array_equal(inside.labels_N, loose.labels_N)
        np.testing.assert_array_equal(inside.read(np.arange(6)), loose.read(np.arange(6)))
        for i in range(6):
            np.testing.assert_array_equal(inside.raw(i), loose.raw(i))


def test_a_pack_serves_both_imagenettes(tmp_path: Path) -> None:
    """A pack is the folder in one file: each preset makes its own split of it."""
    folder = imagenette2(tmp_path / "imagenette2")
    clean, fastai = (registry.load("datasets", name) for name in ("imagenette", "imagenette_fastai"))
    packed(folder, tmp_path / "p.h5", clean)
    for plugin in (clean, fastai):
        index = plugin.index(folder)
        assert plugin.index(tmp_path / "p.h5") == index
        loose, inside = (plugin.split(index, home, "val", 16) for home in (folder, tmp_path / "p.h5"))
        np.testing.assert_array_equal(inside.read(np.arange(20)), loose.read(np.arange(20)))


def test_a_pack_says_what_it_lacks(folder: Path, tmp_path: Path) -> None:
    """A split that was not packed is missing from the pack as it would be from a folder."""
    packed(folder, tmp_path / "p.h5")
    with pytest.raises(InputError, match="no such folder, expected one with the split 'val'"):
        LOADER.index(tmp_path / "p.h5", ("train", "val"))
    wanted = LOADER.index(image_folder(tmp_path / "more", each=4))
    with pytest.raises(StageError, match=r"p.h5: train/a/3.jpg is not in this pack"):
        LOADER.split(wanted, tmp_path / "p.h5", "train", 16)


def test_other_files_are_no_packs(tmp_path: Path) -> None:
    """A tar in the place of a folder is an input error with its name."""
    (tmp_path / "images.tar").write_bytes(b"x" * 2000)
    with pytest.raises(InputError, match=r"images.tar: not a readable pack"):
        LOADER.index(tmp_path / "images.tar")


def test_a_damaged_image_is_named_with_both_paths(folder: Path, tmp_path: Path) -> None:
    """The pack's path and the path in it; whether its bytes changed in the pack or were bad before."""
    (folder / "test" / "a" / "1.jpg").write_bytes(b"no image at all")
    index = packed(folder, tmp_path / "p.h5")
    split = LOADER.split(index, tmp_path / "p.h5", "test", 16)
    with pytest.raises(StageError, match=r"p.h5: test/a/1.jpg: not a readable image"):
        split.raw(1)
    data = bytearray((tmp_path / "p.h5").read_bytes())
    content = (folder / "test" / "a" / "2.jpg").read_bytes()
    data[data.index(content) + 50] ^= 1
    (tmp_path / "p.h5").write_bytes(data)
    with pytest.raises(StageError, match=r"p.h5: test/a/2.jpg: .*its bytes changed since it was packed"):
        LOADER.split(index, tmp_path / "p.h5", "test", 16).raw(2)


def test_a_lost_file_leaves_no_pack(folder: Path, tmp_path: Path) -> None:
    """What cannot be packed whole leaves nothing behind, under no name."""
    index = LOADER.index(folder)
    splits = {name: LOADER.split(index, folder, name, 16) for name in index.splits}
    (folder / "train" / "b" / "2.jpg").unlink()
    (tmp_path / "out").mkdir()
    with pytest.raises(StageError, match=r"train/b/2.jpg: cannot be read"):
        packing.pack(index, splits, tmp_path / "out" / "p.h5", 2, lambda _done: None)
    assert list((tmp_path / "out").iterdir()) == []


def test_an_interrupted_pack_leaves_nothing(folder: Path, tmp_path: Path) -> None:
    """Ctrl-C in the middle."""

    def interrupt(done: int) -> None:
        if done == 4:
            raise KeyboardInterrupt

    index = LOADER.index(folder)
    splits = {name: LOADER.split(index, folder, name, 16) for name in index.splits}
    (tmp_path / "out").mkdir()
    with pytest.raises(KeyboardInterrupt):
        packing.pack(index, splits, tmp_path / "out" / "p.h5", 2, interrupt)
    assert list((tmp_path / "out").iterdir()) == []


def test_places_that_cannot_take_a_pack(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An existing file, a folder that is not there, a disk that is too small: said before an hour of reading."""
    (tmp_path / "old.h5").write_bytes(b"precious")
    with pytest.raises(InputError, match="exists already"):
        packed(folder, tmp_path / "old.h5")
    assert (tmp_path / "old.h5").read_bytes() == b"precious"
    with pytest.raises(InputError, match="no such folder"):
        packed(folder, tmp_path / "none" / "p.h5")
    monkeypatch.setattr("shutil.disk_usage", lambda _path: type("Usage", (), {"free": 10})())
    with pytest.raises(InputError, match="are free"):
        packed(folder, tmp_path / "p.h5")


def test_data_without_files_cannot_be_packed(tmp_path: Path) -> None:
    """The digits are one file of a package."""
    with pytest.raises(StageError, match="only datasets of image files can be packed"):
        packed(None, tmp_path / "p.h5", DIGITS)


def _sums(split: object, start: int) -> list[int]:
    return [int(split.raw(i).sum()) for i in range(start, 6)]  # type: ignore[attr-defined]


def test_forked_children_share_a_pack(folder: Path, tmp_path: Path) -> None:
    """A split that was opened before the fork reads the same in each child."""
    index = packed(folder, tmp_path / "p.h5")
    split = LOADER.split(index, tmp_path / "p.h5", "train", 16)
    expected = _sums(split, 0)
    queue = multiprocessing.get_context("fork").SimpleQueue()
    children = [
        multiprocessing.get_context("fork").Process(target=lambda: queue.put(_sums(split, 0))) for _ in range(3)
    ]
    for child in children:
        child.start()
    assert [queue.get() for _ in children] == [expected] * 3
    for child in children:
        child.join()


def test_watched_is_what_a_change_shows_in(folder: Path, tmp_path: Path) -> None:
    """The folders that hold the files, or the pack itself."""
    found = LOADER.watched(folder)
    assert set(found) == {folder, *(folder / s for s in ("train", "test")), *folder.glob("*/*")}
    packed(folder, tmp_path / "p.h5")
    assert LOADER.watched(tmp_path / "p.h5") == [tmp_path / "p.h5"]
