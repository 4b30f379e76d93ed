"""What is told of condensed sets, made or not, damaged or whole."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
import pytest
from made_runs import MadeRun

from condhpc import arrays, set_card
from condhpc.arrays import CondensedSet
from condhpc.energy import Energy
from condhpc.outlook import CellResult
from condhpc.store import Artefact


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A run with one planned set."""
    run = MadeRun(tmp_path)
    run.condense()
    return run.write()


def record_set(made: MadeRun, key: str, name: str = "set") -> Path:
    """Record a set of two classes of three images."""
    path = made.folder(key).path / f"{name}.0001.h5"
    images = np.zeros((6, 8, 8, 3), dtype=np.uint8)
    about = {"class_names": ["tench", "\x1b[31mchurch"]}
    arrays.write_condensed_set(path, CondensedSet(images, np.repeat(np.arange(2), 3), attributes=about))
    data = path.read_bytes()
    held = Artefact(file=path.name, bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
    used = Energy(part="cpu", joules=3.6e6, grade="C", source="rated", window_s=1.0)
    made.record(
        key,
        {"count": 6, "set_bytes": 1152, "loss": 0.123456789, "[red]evil": "a\nb"},
        artefacts={name: held},
        energy=(used,),
    )
    return path


def test_a_set_that_is_made_tells_all(made: MadeRun) -> None:
    """Where it comes from, sizes with units, cost with its energy's grade, and where its images are."""
    (line,) = made.lines
    path = record_set(made, line.key)
    card = set_card.read(made.layout, line.key, line.label)
    facts = dict(card.facts)
    assert card.title == "digits random ipc 1 set 0"
    assert facts["condenser"] == "random (coreset)"
    assert facts["dataset"] == "digits, 10 classes, index 000000000000"
    assert facts["budget"] == "1 per class, 8 px, fp32"
    assert facts["set_bytes"] == "1.1 KiB"
    assert facts["loss"] == "0.123457"
    assert facts["[red]evil"] == "a?b"
    assert facts["took"] == "wall 2 s, gpu 0 s, cpu 2 s, 1 kWh (grade C)"
    assert facts["file"] == str(path)
    assert (card.file, card.note) == (path, "")


def test_a_set_that_is_not_made_says_so(made: MadeRun) -> None:
    """What is planned is told, with and without a task in the store."""
    (line,) = made.lines
    bare = set_card.read(made.layout, line.key, line.label)
    assert bare.note.startswith("not made yet")
    made.folder(line.key)
    assert ("seed", "0") in set_card.read(made.layout, line.key, line.label).facts
    assert bare.file is None


def test_cells_of_the_set_are_told(made: MadeRun) -> None:
    """Accuracies by protocol and metrics of its dataset, condenser and ipc; not those of others."""
    (line,) = made.lines

    def cell(ipc: int) -> CellResult:
        return CellResult(
            dataset="digits",
            condenser="random",
            ipc=ipc,
            protocol="erm",
            student="convnet3",
            planned=2,
            n=2,
            pending=0,
            failed=0,
            mean_pct=50.0 + ipc,
            measures={"coverage": 0.25 * ipc},
        )

    facts = set_card.read(made.layout, line.key, line.label, [cell(1), cell(2)]).facts
    assert ("erm convnet3", "51.00 % top-1 (2)") in facts
    assert ("coverage", "0.25") in facts
    assert len([name for name, _ in facts if name == "erm convnet3"]) == 1


def test_damage_is_a_note(made: MadeRun) -> None:
    """A set that is gone, a record that cannot be read: words in the place of pictures."""
    (line,) = made.lines
    path = record_set(made, line.key)
    path.unlink()
    assert "the set is gone" in set_card.read(made.layout, line.key, line.label).note
    made.folder(line.key).record.write_bytes(b"{")
    assert "not a readable record" in set_card.read(made.layout, line.key, line.label).note


def test_a_shard_has_no_pictures_of_its_own(made: MadeRun) -> None:
    """Its images are no condensed set."""
    (line,) = made.lines
    record_set(made, line.key, "shard")
    card = set_card.read(made.layout, line.key, line.label)
    assert card.note.startswith("a part of a set")
    assert card.file is None


@pytest.mark.parametrize(
    ("count", "text"), [(0, "0 B"), (1023, "1023 B"), (1536, "1.5 KiB"), (3 << 20, "3.0 MiB"), (2 << 50, "2048.0 TiB")]
)
def test_sizes(count: int, text: str) -> None:
    """Binary units."""
    assert set_card.size_text(count) == text
