"""Files are complete or absent, whoever races and whenever a writer dies."""

from __future__ import annotations

import os
import signal
from functools import partial
from pathlib import Path

import pytest
from children import fork, gate, kill_me_at, reap

from condhpc import files


def _left(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_publish_never_overwrites(tmp_path: Path) -> None:
    """The second publication of a name changes nothing and says so; no temporary file stays."""
    path = tmp_path / "record.json"
    assert files.publish(path, b"one")
    assert not files.publish(path, b"two")
    assert path.read_bytes() == b"one"
    assert _left(tmp_path) == ["record.json"]


def test_publish_has_one_winner_among_racing_processes(tmp_path: Path) -> None:
    """Of eight processes that publish one name at once exactly one succeeds, and the file is its."""
    path = tmp_path / "record.json"
    wait, open_ = gate()

    def contend(number: int) -> int:
        wait()
        return 10 + number if files.publish(path, str(number).encode()) else 0

    children = [fork(partial(contend, number)) for number in range(8)]
    open_()
    winners = [code - 10 for code in map(reap, children) if code]
    assert winners == [int(path.read_bytes())]
    assert _left(tmp_path) == ["record.json"]


@pytest.mark.parametrize("instant", range(1, 6))
def test_killed_publisher_leaves_all_or_nothing(tmp_path: Path, instant: int) -> None:
    """SIGKILL before any file operation of a publication leaves no final file or the whole; the next one works."""
    path = tmp_path / "record.json"

    def publish() -> None:
        kill_me_at(instant, str(tmp_path))
        files.publish(path, b"x" * 100_000)

    assert reap(fork(publish)) in {0, -signal.SIGKILL}
    existed = path.exists()
    assert files.publish(path, b"next") is not existed
    assert path.read_bytes() == (b"x" * 100_000 if existed else b"next")


def test_killed_writer_leaves_no_final_file(tmp_path: Path) -> None:
    """A writer killed in the middle leaves a temporary file only, and does not stand in the way of the next."""
    path = tmp_path / "images.0001.h5"

    def write() -> None:
        with files.under_construction(path) as temp:
            temp.write_bytes(b"half")
            os.kill(os.getpid(), signal.SIGKILL)

    assert reap(fork(write)) == -signal.SIGKILL
    assert not path.exists()
    assert [name.endswith(".tmp") for name in _left(tmp_path)] == [True]
    with files.under_construction(path) as temp:
        temp.write_bytes(b"whole")
    assert path.read_bytes() == b"whole"


def test_failed_construction_is_removed(tmp_path: Path) -> None:
    """An error while writing removes the temporary file and leaves the older version alone."""
    path = tmp_path / "checkpoint.0001"
    path.write_bytes(b"older")

    def write() -> None:
        with files.under_construction(path) as temp:
            temp.write_bytes(b"new")
            raise ValueError("no more")

    with pytest.raises(ValueError, match="no more"):
        write()
    assert path.read_bytes() == b"older"
    assert _left(tmp_path) == ["checkpoint.0001"]


def test_replace_swaps_whole_files(tmp_path: Path) -> None:
    """A replacement has the new bytes and leaves nothing else."""
    path = tmp_path / "cache.json"
    files.replace(path, b"one")
    files.replace(path, b"two")
    assert path.read_bytes() == b"two"
    assert _left(tmp_path) == ["cache.json"]


@pytest.mark.parametrize("write", [files.publish, files.replace])
def test_full_disk_leaves_no_temporary_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, write: object) -> None:
    """When the disk is full the error comes through and the half-written file goes."""

    def full(handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write(tmp_path / "record.json", b"data")  # type: ignore[operator]
    assert _left(tmp_path) == []


def test_link_new_recognises_its_own_link(tmp_path: Path) -> None:
    """A link that was made though its reply was lost (NFS) counts as ours; somebody else's file does not."""
    temp, path = tmp_path / ".a.tmp", tmp_path / "a"
    temp.write_bytes(b"ours")
    os.link(temp, path)
    assert files.link_new(temp, path)
    other = tmp_path / ".b.tmp"
    other.write_bytes(b"theirs")
    assert not files.link_new(other, path)


def test_link_new_gives_way_where_its_file_was_tidied_up(tmp_path: Path) -> None:
    """A temporary file that the winner's clean-up removed is a lost race; a folder that is gone is an error."""
    assert not files.link_new(tmp_path / ".gone.tmp", tmp_path / "a")
    with pytest.raises(FileNotFoundError):
        files.link_new(tmp_path / "no" / ".gone.tmp", tmp_path / "no" / "a")


def test_temporary_names_never_return(tmp_path: Path) -> None:
    """A process with the pid of a killed one (usual in containers) does not meet its temporary files."""
    names = {files.temporary(tmp_path / "a") for _ in range(100)}
    assert len(names) == 100
    assert {(name.parent, name.name[:3], name.suffix) for name in names} == {(tmp_path, ".a.", ".tmp")}


@pytest.mark.parametrize("count", [0, 1, (1 << 16) - 1, 1 << 16, (1 << 16) + 1, 3 << 16])
def test_small_files_are_read_whole(tmp_path: Path, count: int) -> None:
    """Also where they are as long as a block, or longer; one that is not there raises as `open` does."""
    data = os.urandom(count)
    (tmp_path / "a").write_bytes(data)
    assert files.small(str(tmp_path / "a")) == data
    with pytest.raises(FileNotFoundError):
        files.small(str(tmp_path / "b"))
