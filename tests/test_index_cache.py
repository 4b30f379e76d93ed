"""Indexes that are kept, and when they are listed again."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
from made_image_files import image_folder, settle, smooth

from condhpc import registry
from condhpc.datasets.image_folder import ImageFolder
from condhpc.errors import InputError
from condhpc.index_cache import IndexCache
from condhpc.layout import Layout

LOADER: ImageFolder = registry.load("datasets", "image_folder")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder in which nothing has changed for a while."""
    return settle(image_folder(tmp_path / "images"))


@pytest.fixture
def layout(tmp_path: Path) -> Layout:
    """An empty root."""
    return Layout(tmp_path / "root")


@pytest.fixture
def listings(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Folders that were really listed, as it happens."""
    done: list[Path] = []
    honest = ImageFolder.index

    def index(self: ImageFolder, folder: Path, splits: Sequence[str] = ()) -> Any:
        done.append(folder)
        return honest(self, folder, splits)

    monkeypatch.setattr(ImageFolder, "index", index)
    return done


def kept(layout: Layout, folder: Path, splits: Sequence[str] = ()) -> None:
    """List and keep."""
    cache = IndexCache(layout)
    cache.index("image_folder", folder, splits)
    assert cache.keep() == 1


def test_an_unchanged_folder_is_listed_once(layout: Layout, folder: Path, listings: list[Path]) -> None:
    """The second time the same index comes from the root."""
    kept(layout, folder)
    cache = IndexCache(layout)
    found = cache.index("image_folder", folder, ())
    assert listings == [folder]
    assert cache.keep() == 0
    assert found == LOADER.index(folder)


def test_looking_writes_nothing(layout: Layout, folder: Path) -> None:
    """Without `keep` there is not even a root: `plan` writes nothing."""
    IndexCache(layout).index("image_folder", folder, ())
    assert not layout.root.exists()


def _add(folder: Path) -> None:
    smooth(9, 9).save(folder / "test" / "a" / "new.jpg")


def _remove(folder: Path) -> None:
    (folder / "train" / "b" / "1.jpg").unlink()


def _rename(folder: Path) -> None:
    (folder / "train" / "b" / "1.jpg").rename(folder / "train" / "b" / "9.jpg")


def _replace(folder: Path) -> None:
    smooth(40, 40).save(folder / "new.jpg")
    (folder / "new.jpg").rename(folder / "train" / "a" / "0.jpg")


def _swap_folder(folder: Path) -> None:
    """Another folder under the old name, with the old one's time: the inode tells."""
    old, held = folder / "train" / "a", (folder / "train" / "a").stat()
    split = (folder / "train").stat()
    old.rename(folder.parent / "aside")
    old.mkdir()
    smooth(9, 9).save(old / "0.jpg")
    os.utime(old, ns=(held.st_atime_ns, held.st_mtime_ns))
    os.utime(folder / "train", ns=(split.st_atime_ns, split.st_mtime_ns))


@pytest.mark.parametrize("change", [_add, _remove, _rename, _replace, _swap_folder])
def test_a_change_of_files_is_noticed(layout: Layout, folder: Path, change: Callable[[Path], None]) -> None:
    """A file or folder that comes, goes, is renamed or replaced: the index is what the folder has now."""
    kept(layout, folder)
    before = LOADER.index(folder)
    change(folder)
    found = IndexCache(layout).index("image_folder", folder, ())
    assert found == LOADER.index(folder)
    assert found != before


def test_what_is_not_noticed_can_be_listed_anew(layout: Layout, folder: Path) -> None:
    """A file written over in place changes no folder: the known limit, and the way out."""
    kept(layout, folder)
    with (folder / "train" / "b" / "1.jpg").open("ab") as file:
        file.write(b"more")
    stale = IndexCache(layout).index("image_folder", folder, ())
    cache = IndexCache(layout)
    fresh = cache.listed_anew("image_folder", folder, ())
    assert fresh != stale
    cache.keep()
    assert IndexCache(layout).index("image_folder", folder, ()) == fresh


def test_a_new_class_is_noticed(layout: Layout, folder: Path) -> None:
    """A folder that appears beside the others changes the split's."""
    kept(layout, folder)
    for split in ("train", "test"):
        (folder / split / "c").mkdir()
        smooth(9, 9).save(folder / split / "c" / "0.jpg")
    assert IndexCache(layout).index("image_folder", folder, ()).class_names == ("a", "b", "c")


def test_a_folder_that_goes_is_an_error_as_ever(layout: Layout, folder: Path) -> None:
    """What is kept does not hide that files are gone."""
    kept(layout, folder)
    (folder / "test").rename(folder / "gone")
    with pytest.raises(InputError, match="test: no such folder"):
        IndexCache(layout).index("image_folder", folder, ())


def test_a_folder_that_just_changed_is_not_kept(layout: Layout, folder: Path) -> None:
    """It could change again within one tick of its clock, and look the same."""
    now_ns = time.time_ns()
    os.utime(folder / "train" / "a", ns=(now_ns, now_ns))
    cache = IndexCache(layout)
    cache.index("image_folder", folder, ())
    assert cache.keep() == 0
    assert not layout.root.exists()


def test_questions_are_kept_apart(layout: Layout, folder: Path, listings: list[Path], tmp_path: Path) -> None:
    """Other splits, another folder and another loader are other listings."""
    kept(layout, folder)
    other = settle(image_folder(tmp_path / "other"))
    IndexCache(layout).index("image_folder", folder, ("test", "train"))
    IndexCache(layout).index("image_folder", other, ())
    with pytest.raises(InputError):
        IndexCache(layout).index("cifar10", folder, ())
    assert listings == [folder, folder, other, folder]


def test_another_class_list_is_another_question(
    layout: Layout, folder: Path, monkeypatch: pytest.MonkeyPatch, listings: list[Path]
) -> None:
    """A preset whose label order was corrected does not get the old labels."""
    kept(layout, folder)
    monkeypatch.setattr(LOADER, "_class_names", ("b", "a"))
    assert IndexCache(layout).index("image_folder", folder, ()).class_names == ("b", "a")
    assert listings == [folder, folder]


@pytest.mark.parametrize("damage", ["index gone", "index torn", "note torn"])
def test_damage_under_the_root_means_to_list_again(
    layout: Layout, folder: Path, damage: str, listings: list[Path]
) -> None:
    """And keeping mends it."""
    kept(layout, folder)
    digest = LOADER.index(folder).digest()
    (note,) = (layout.root / "indexes" / "listed").iterdir()
    path = note if damage == "note torn" else layout.index(digest)
    if damage == "index gone":
        path.unlink()
    else:
        path.write_bytes(path.read_bytes()[:-9])
    listings.clear()
    cache = IndexCache(layout)
    assert cache.index("image_folder", folder, ()).digest() == digest
    assert cache.keep() == 1
    IndexCache(layout).index("image_folder", folder, ())
    assert listings == [folder]


def test_the_last_index_shows_what_is_missing(layout: Layout, folder: Path) -> None:
    """`last` trusts what was kept over what is there; without anything kept it lists."""
    cache = IndexCache(layout)
    assert cache.last("image_folder", folder, ()) == LOADER.index(folder)
    kept(layout, folder)
    before = LOADER.index(folder)
    (folder / "train" / "b" / "1.jpg").unlink()
    assert cache.last("image_folder", folder, ()) == before


def test_packaged_data_is_not_kept(layout: Layout) -> None:
    """The digits have no folder to watch."""
    cache = IndexCache(layout)
    for ask in (cache.index, cache.last, cache.listed_anew):
        assert len(ask("digits", None, ()).class_names) == 10
    assert cache.keep() == 0
