"""Snapshots of the code: complete or absent, shared by content, deaf to later edits."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest
from children import PATIENCE_S, fork, gate, kill_me_at, reap
from made_tasks import python

from condhpc import snapshot
from condhpc.errors import StoreError


@pytest.fixture
def checkout(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A checkout of two small packages in the place of our own."""
    folder = tmp_path / "checkout"
    for name in ("condhpc", "condhpc_jobs"):
        (folder / name / "methods" / "__pycache__").mkdir(parents=True)
        (folder / name / "__init__.py").write_text("SAID = 1\n")
        (folder / name / "methods" / "__init__.py").write_text("")
        (folder / name / "methods" / "__pycache__" / "x.pyc").write_bytes(b"stale")
        (folder / name / ".hidden").write_text("secret")
        (folder / name / "py.typed").touch()
    monkeypatch.setattr(snapshot, "_source", lambda name: folder / name)
    return folder


def _left(root: Path) -> list[str]:
    return sorted(path.name for path in (root / "code").glob("*"))


def test_the_packages_travel_whole(root: Path, checkout: Path) -> None:
    """Sources and data files are there with their bytes; caches and hidden files stay behind; files are read-only."""
    folder = snapshot.take(root)
    assert folder.parent == root / "code"
    travelled = {
        path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"
    }
    names = ("__init__.py", "methods/__init__.py", "py.typed")
    assert travelled == {f"{package}/{name}" for package in ("condhpc", "condhpc_jobs") for name in names}
    assert (folder / "condhpc" / "__init__.py").read_text() == "SAID = 1\n"
    assert b"stale" not in [path.read_bytes() for path in folder.rglob("*.pyc")]
    assert not any(path.stat().st_mode & stat.S_IWUSR for path in folder.rglob("*") if path.is_file())


def test_the_same_code_is_copied_once(root: Path, checkout: Path) -> None:
    """A second run of an unchanged checkout shares the first one's copy."""
    first = snapshot.take(root)
    (checkout / "condhpc" / "__pycache__").mkdir()
    (checkout / "condhpc" / "__pycache__" / "new.pyc").write_bytes(b"x")
    before = (first / "condhpc" / "__init__.py").stat()
    assert snapshot.take(root) == first
    assert (first / "condhpc" / "__init__.py").stat() == before
    assert _left(root) == [first.name]


@pytest.mark.parametrize("change", ["edit", "add", "rename"])
def test_an_edit_makes_a_new_copy_and_changes_no_old_one(root: Path, checkout: Path, change: str) -> None:
    """Jobs that wait go on with the code of their submission."""
    first = snapshot.take(root)
    source = checkout / "condhpc" / "__init__.py"
    if change == "edit":
        source.write_text("SAID = 2\n")
    elif change == "add":
        (checkout / "condhpc" / "more.py").touch()
    else:
        (checkout / "condhpc_jobs" / "py.typed").rename(checkout / "condhpc_jobs" / "data.txt")
    assert snapshot.take(root) != first
    assert (first / "condhpc" / "__init__.py").read_text() == "SAID = 1\n"


def test_jobs_import_the_copy(root: Path, checkout: Path, tmp_path: Path) -> None:
    """First on the path, the copy is what Python runs, and nothing is written into it."""
    folder = snapshot.take(root)
    before = sorted(folder.rglob("*"))
    (checkout / "condhpc" / "__init__.py").write_text("SAID = 2\n")
    words = ("-c", "import condhpc, condhpc_jobs.methods; print(condhpc.SAID, condhpc.__file__)")
    assert python(*words, stages=folder, log=tmp_path / "log").wait(PATIENCE_S) == 0
    assert (tmp_path / "log").read_text().split() == ["1", str(folder / "condhpc" / "__init__.py")]
    assert sorted(folder.rglob("*")) == before


def test_racing_submits_share_one_copy(root: Path, checkout: Path) -> None:
    """Four processes that take the first snapshot at once all get the same whole folder."""
    wait, open_ = gate()

    def take() -> int:
        wait()
        return 0 if (snapshot.take(root) / "condhpc_jobs" / "py.typed").exists() else 1

    children = [fork(take) for _ in range(4)]
    open_()
    assert [reap(pid) for pid in children] == [0] * 4
    assert len(_left(root)) == 1


@pytest.mark.parametrize("instant", [3, 9, 15, 25])
def test_a_killed_copy_is_not_used(root: Path, checkout: Path, instant: int) -> None:
    """Killed while copying, a submit leaves nothing under the digest's name; the next one makes it whole."""

    def take() -> None:
        kill_me_at(instant, str(root))
        snapshot.take(root)

    assert reap(fork(take)) < 0
    assert all(name.startswith(".") for name in _left(root))
    folder = snapshot.take(root)
    assert (folder / "condhpc_jobs" / "py.typed").exists()
    assert folder.name in _left(root)


def test_a_copy_that_fails_says_so_and_leaves_nothing(
    root: Path, checkout: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk is one clear error."""

    def full(folder: Path) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(snapshot, "_make_read_only", full)
    with pytest.raises(StoreError, match=r"could not be copied .*No space"):
        snapshot.take(root)
    assert _left(root) == []


def test_our_own_packages_are_found() -> None:
    """The real sources are where Python imports them from; a package that is not installed is named."""
    assert (snapshot._source("condhpc") / "snapshot.py").is_file()
    with pytest.raises(StoreError, match="package nothing_of_this_name is not installed"):
        snapshot._source("nothing_of_this_name")
