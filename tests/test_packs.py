"""Packs: what is written is read, and damage is noticed."""

from __future__ import annotations

import threading
from pathlib import Path

import h5py
import msgspec
import numpy as np
import pytest

from condhpc import arrays, packs
from condhpc.arrays import ArrayFile
from condhpc.errors import CorruptArtefactError
from condhpc.file_index import Index, SplitIndex
from condhpc.packs import Pack

CONTENTS = [bytes([i]) * (100 + 37 * i) for i in range(12)]


def split(name: str, contents: list[bytes]) -> SplitIndex:
    """Files `<name>/<i>`."""
    count = len(contents)
    paths = tuple(f"{name}/{i:02}.jpg" for i in range(count))
    return SplitIndex(paths=paths, labels=(0,) * count, sizes=tuple(map(len, contents)))


INDEX = Index(class_names=("a",), splits={"train": split("train", CONTENTS[:8]), "eval": split("eval", CONTENTS[8:])})


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A pack of twelve files in two splits."""
    packs.write(tmp_path / "images.h5", INDEX, CONTENTS)
    return tmp_path / "images.h5"


def test_every_file_comes_back(path: Path) -> None:
    """Bytes by split and position, and the index with its digest."""
    pack = Pack(path)
    assert pack.index == INDEX
    assert pack.index_digest == INDEX.digest()
    assert [pack.read(i) for i in pack.entries(INDEX.splits["train"])] == CONTENTS[:8]
    assert [pack.read(i) for i in pack.entries(INDEX.splits["eval"])] == CONTENTS[8:]


def test_a_split_that_was_cut_differently_is_found_by_path(path: Path) -> None:
    """A dataset of some classes, or of files of both splits, reads from the pack of the whole."""
    other = SplitIndex(paths=("train/05.jpg", "eval/01.jpg"), labels=(0, 0), sizes=(1, 1))
    pack = Pack(path)
    assert [pack.read(i) for i in pack.entries(other)] == [CONTENTS[5], CONTENTS[9]]
    stranger = msgspec.structs.replace(other, paths=("train/05.jpg", "train/99.jpg"))
    with pytest.raises(KeyError, match=r"train/99\.jpg"):
        pack.entries(stranger)


def test_the_format_is_plain_hdf5(path: Path) -> None:
    """Anybody's HDF5 reads it: one stretch of bytes, and offsets into it."""
    with h5py.File(path) as file:
        assert file["bytes"].chunks is None
        start, end = file["offsets"][3:5]
        assert file["bytes"][start:end].tobytes() == CONTENTS[3]


@pytest.mark.parametrize(
    ("contents", "message"),
    [
        ([*CONTENTS[:5], b"?", *CONTENTS[6:]], "file 5 is not the one"),
        (CONTENTS[:-1], "11 files were given, the index lists 12"),
        ([*CONTENTS, b"?"], "file 12 is not the one"),
    ],
)
def test_files_must_be_those_of_the_index(tmp_path: Path, contents: list[bytes], message: str) -> None:
    """One of another size, one too few or too many."""
    with pytest.raises(CorruptArtefactError, match=message):
        packs.write(tmp_path / "p.h5", INDEX, contents)


def test_an_existing_file_is_not_written_over(path: Path) -> None:
    """Writing is for new files."""
    before = path.read_bytes()
    with pytest.raises(FileExistsError):
        packs.write(path, INDEX, CONTENTS)
    assert path.read_bytes() == before


def test_large_packs_are_written_in_parts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The buffer's size changes nothing."""
    monkeypatch.setattr(packs, "_WRITE_BYTES", 300)
    packs.write(tmp_path / "p.h5", INDEX, CONTENTS)
    pack = Pack(tmp_path / "p.h5")
    assert [pack.read(i) for i in range(12)] == CONTENTS


def test_what_was_written_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk that loses bytes is noticed while the files are still there."""
    honest = packs._write_bytes

    def lossy(target: h5py.Dataset, *rest: object) -> None:
        honest(target, *rest)  # type: ignore[arg-type]
        target[700] = target[700] ^ 1

    monkeypatch.setattr(packs, "_write_bytes", lossy)
    with pytest.raises(CorruptArtefactError, match="changed since it was packed"):
        packs.write(tmp_path / "p.h5", INDEX, CONTENTS)


def test_a_flipped_bit_is_noticed(path: Path) -> None:
    """In the file it is in, and in no other."""
    data = bytearray(path.read_bytes())
    data[data.index(CONTENTS[6]) + 10] ^= 4
    path.write_bytes(data)
    pack = Pack(path)
    with pytest.raises(CorruptArtefactError, match="changed since it was packed"):
        pack.read(6)
    assert [pack.read(i) for i in (5, 7)] == [CONTENTS[5], CONTENTS[7]]


@pytest.mark.parametrize("keep", [0, 10, 0.3, 0.9, -1])
def test_a_cut_pack_is_refused(path: Path, keep: float) -> None:
    """Whatever is left of a broken copy."""
    data = path.read_bytes()
    path.write_bytes(data[: int(keep * len(data)) if isinstance(keep, float) else keep])
    with pytest.raises(CorruptArtefactError, match=str(path)):
        Pack(path)


def test_a_damaged_index_is_refused(path: Path) -> None:
    """A label map with a changed digit still parses; its digest tells."""
    data = path.read_bytes()
    path.write_bytes(data.replace(b"train/05.jpg", b"train/55.jpg"))
    with pytest.raises(CorruptArtefactError, match="its index is damaged"):
        _ = Pack(path).index


def test_other_hdf5_files_are_no_packs(tmp_path: Path) -> None:
    """A condensed set in the place of a pack is named for what it is."""
    arrays.write(tmp_path / "set.h5", "condensed_set", ArrayFile({"images": np.zeros(3)}))
    with pytest.raises(CorruptArtefactError, match="holds condensed_set schema 1, expected image_pack"):
        Pack(tmp_path / "set.h5")


def test_a_pack_changed_after_opening_is_noticed(path: Path) -> None:
    """Reading past the end of a file that was cut gives an error, not zeros."""
    pack = Pack(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size // 2)
    with pytest.raises(CorruptArtefactError, match="changed"):
        pack.read(11)


def test_threads_share_a_pack(path: Path) -> None:
    """No read moves another's place in the file."""
    pack, wrong = Pack(path), []

    def read() -> None:
        wrong.extend(i for _ in range(200) for i in range(12) if pack.read(i) != CONTENTS[i])

    threads = [threading.Thread(target=read) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []
