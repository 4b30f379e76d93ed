"""Condensed sets by what people call them."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from made_runs import MadeRun

from condhpc import keys, set_files
from condhpc.errors import CorruptArtefactError, InputError
from condhpc.planned import Label
from condhpc.spec import Groups
from condhpc.store import Artefact


@pytest.fixture
def made(root: Path) -> MadeRun:
    """Two seeds of one set, of which the second is recorded, and a set of another condenser."""
    found = MadeRun(root)
    found.condense(seed=0)
    recorded(found, found.condense(seed=1))
    recorded(found, found.condense("herding", seed=None, ipc=5))
    return found.write()


def recorded(made: MadeRun, key: str, data: bytes = b"set") -> Path:
    """A record with a set of these bytes."""
    path = made.folder(key).path / "set.0001.h5"
    path.write_bytes(data)
    made.record(key, artefacts={"set": Artefact(path.name, len(data), keys.sha256_file(path))})
    return path


def test_a_file_is_itself(made: MadeRun, tmp_path: Path) -> None:
    """Wherever it is."""
    path = tmp_path / "mine.h5"
    path.touch()
    assert set_files.find(made.layout, str(path), None) == path


def test_the_beginning_of_a_key_is_enough(made: MadeRun) -> None:
    """At least four digits of it; one without a record is no set."""
    first, second, _ = (line.key for line in made.lines)
    expected = made.layout.task("condense", second).path / "set.0001.h5"
    assert set_files.find(made.layout, second, None) == set_files.find(made.layout, second[:8], None) == expected
    with pytest.raises(InputError, match="is no recorded set's key, under"):
        set_files.find(made.layout, first, None)
    with pytest.raises(InputError, match="no such set, expected a file, "):
        set_files.find(made.layout, second[:3], None)


def test_a_beginning_that_several_keys_share_is_refused(made: MadeRun) -> None:
    """Rather than one of them by chance."""
    key = made.lines[1].key
    twin = key[:-1] + ("0" if key[-1] != "0" else "1")
    folder = made.layout.task("condense", twin)
    folder.path.mkdir(parents=True)
    data = made.folder(key).record.read_bytes().replace(key.encode(), twin.encode())
    folder.record.write_bytes(data)
    (folder.path / "set.0001.h5").write_bytes(b"set")
    with pytest.raises(InputError, match="is the beginning of 2 keys, give more of it"):
        set_files.find(made.layout, key[:12], None)
    assert set_files.find(made.layout, twin, None).parent == folder.path


def test_a_cell_of_a_run_is_its_first_recorded_set(made: MadeRun) -> None:
    """Unless a seed is named; sets without a seed have none to name."""
    second, herding = (made.layout.task("condense", line.key).path / "set.0001.h5" for line in made.lines[1:])
    assert set_files.find(made.layout, "digits/random/1", None) == second
    assert set_files.find(made.layout, "digits/random/1/1", made.run.name) == second
    assert set_files.find(made.layout, "digits/herding/5", None) == herding
    with pytest.raises(InputError, match="digits/random/1/0: not recorded yet"):
        set_files.find(made.layout, "digits/random/1/0", None)
    with pytest.raises(InputError, match=r"has no such set, only digits/random/1, digits/herding/5$"):
        set_files.find(made.layout, "digits/herding/5/0", None)


def test_a_shard_is_no_set(root: Path) -> None:
    """It has no file that could be shown, and its cell means the whole set."""
    made = MadeRun(root)
    whole = made.condense("rded")
    shard = msgspec.structs.replace(made.tasks[whole].spec, groups=Groups(first=0, count=1))
    label = Label(dataset="digits", condenser="rded", ipc=1, set_seed=0, shard="1/2")
    key = made.add("condense", shard, label)
    made.record(key)
    made.write()
    with pytest.raises(InputError, match=f"not recorded yet .task {whole[:12]}"):
        set_files.find(made.layout, "digits/rded/1", None)
    with pytest.raises(InputError, match="no recorded set"):
        set_files.find(made.layout, key, None)


def test_a_set_that_was_purged_is_said_so(made: MadeRun) -> None:
    """The record is still there."""
    key = made.lines[1].key
    recorded_file = made.layout.task("condense", key).path / "set.0001.h5"
    recorded_file.unlink()
    with pytest.raises(CorruptArtefactError, match="`condhpc retry` makes it anew"):
        set_files.find(made.layout, key, None)
