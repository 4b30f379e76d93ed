"""Files in folders and in packs."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_image_files import image_folder

from condhpc import image_files, packs, registry
from condhpc.errors import StageError
from condhpc.image_files import Entry


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder of images, and one hidden file."""
    home = image_folder(tmp_path / "images")
    (home / "train" / ".hidden").touch()
    return home


def pack_of(folder: Path, path: Path) -> Path:
    """A pack of it."""
    index = registry.load("datasets", "image_folder").index(folder)
    packs.write(path, index, [(folder / p).read_bytes() for split in index.splits.values() for p in split.paths])
    return path


def test_a_pack_lists_what_its_folder_lists(folder: Path, tmp_path: Path) -> None:
    """On every level, in any order; nothing where there is no such folder."""
    loose, packed = image_files.listing_of(folder), image_files.listing_of(pack_of(folder, tmp_path / "p.h5"))
    for below in ("", "train", "test", "train/a", "train/b", "test/a", "test/b", "val", "train/c"):
        assert sorted(packed(below)) == sorted(loose(below))
    assert sorted(entry.name for entry in loose("")) == ["test", "train"]
    assert loose("val") == []


def test_entries_say_what_they_are(folder: Path) -> None:
    """A file with its size, a folder, a link that leads nowhere; links are followed."""
    (folder / "lost").symlink_to(folder / "nowhere")
    (folder / "linked").symlink_to(folder / "train")
    (folder / "file").write_bytes(b"12345")
    found = {entry.name: entry for entry in image_files.listing_of(folder)("")}
    assert found["file"] == Entry("file", "file", 5)
    assert found["lost"].kind == "other"
    assert found["linked"].kind == found["train"].kind == "folder"


def test_a_file_of_another_size_is_refused(folder: Path, tmp_path: Path) -> None:
    """From a folder and from a pack; the way out is to index anew."""
    path = pack_of(folder, tmp_path / "p.h5")
    with (folder / "test" / "b" / "0.jpg").open("ab") as file:
        file.write(b"x")
    grown = registry.load("datasets", "image_folder").index(folder).splits["test"]
    with pytest.raises(StageError, match=r"p.h5: test/b/0.jpg: .* bytes, .* when it was indexed; .*condhpc data index"):
        image_files.files_of(grown, path).read(3)
    (folder / "test" / "b" / "0.jpg").write_bytes(b"x")
    with pytest.raises(StageError, match=r"images/test/b/0.jpg: 1 bytes, .* when it was indexed"):
        image_files.files_of(grown, folder).read(3)
