"""The world of a stage: safe points, checkpoints, artefacts, inputs that are verified."""

from __future__ import annotations

import threading
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from made_tasks import analyze, condense, folder_of, site

from condhpc import attempt, keys, lease, store
from condhpc.context import Context, Progress, input_stage
from condhpc.errors import CorruptArtefactError, InputMissingError, LeaseLostError, StageError, Stopped, StoreError
from condhpc.layout import TaskFolder
from condhpc.spec import Task

Make = Callable[..., Context]


@pytest.fixture
def make(root: Path, stages: Path) -> Make:
    """Make a context with a lease of its own; `stop` and the fields of the site may be given."""

    def context(task: Task, stop: threading.Event | None = None, **fields: Any) -> Context:
        folder = folder_of(root, task)
        store.write_task(folder, keys.preimage(task))
        held = lease.acquire(folder, lease.myself(), lambda _: True)
        assert held is not None
        return Context(task, keys.key(task), site(root, **fields), held, stop or threading.Event())

    return context


def _record(root: Path, task: Task) -> None:
    assert attempt.run(keys.preimage(task), site(root), threading.Event()) == "recorded"


def _save(text: str, path: Path) -> None:
    path.write_text(text)


def test_roles_come_in_the_order_of_their_numbers(make: Make) -> None:
    """A committee's members are numbered, and 10 comes after 9."""
    task = analyze({f"committee.{i}": "0" for i in (10, 9, 0)} | {"committees.1": "0", "set": "0", "committee.x": "0"})
    context = make(task)
    assert context.roles("committee") == ["committee.0", "committee.9", "committee.10"]
    assert context.roles("set") == ["set"]
    assert context.roles("none") == []


def test_roles_name_their_stages() -> None:
    """A set is condensed, a plug-in's needs say what the rest is, and what no plug-in asks for is a teacher."""
    assert [input_stage(analyze({}), r) for r in ("set", "embedding", "encoder", "committee.1")] == [
        "condense", "embed", "teacher", "teacher",
    ]  # fmt: skip


def test_safe_point_notes_progress_and_writes_nothing(make: Make) -> None:
    """A tick that is due for nothing costs no file."""
    context = make(condense())
    before = sorted(context.folder.path.iterdir())
    context.tick(2, 10, partial(_save, "2"), loss=0.25)
    assert context.progress.now[:3] == (2, 10, {"loss": 0.25})
    assert sorted(context.folder.path.iterdir()) == before
    assert context.checkpoint() is None


def test_what_is_left_follows_from_the_pace() -> None:
    """From the first safe point on: what came before a resume, and getting started, are not of this pace."""
    now = [100.0]
    progress = Progress(lambda: now[0])
    now[0] = 500.0
    progress.note(2000, 4000, {})
    assert progress.now.told(progress.clock()) == {}
    now[0] = 510.0
    progress.note(2500, 4000, {"loss": 0.5})
    assert progress.now.told(progress.clock()) == {"eta_s": 30.0, "loss": 0.5}
    now[0] = 520.0
    assert progress.now.told(progress.clock())["eta_s"] == 60.0  # nothing moved meanwhile


def test_work_that_counts_anew_has_a_pace_of_its_own() -> None:
    """A stage that trains, then tests, then writes."""
    now = [0.0]
    progress = Progress(lambda: now[0])
    progress.note(1, 10, {})
    now[0] = 9.0
    progress.note(10, 10, {})
    assert progress.now.told(progress.clock()) == {"eta_s": 0.0}
    progress.note(1, 3, {})
    assert progress.now.told(progress.clock()) == {}
    now[0] = 11.0
    progress.note(2, 3, {})
    assert progress.now.told(progress.clock()) == {"eta_s": 2.0}


def test_what_a_stage_says_of_its_end_counts() -> None:
    """It knows more than the pace: a method that does less and less."""
    progress = Progress(lambda: 0.0)
    progress.note(1, 10, {})
    progress.note(2, 10, {"eta_s": 7.0})
    assert progress.now.told(progress.clock()) == {"eta_s": 7.0}


def test_checkpoints_follow_the_clock(make: Make) -> None:
    """With `checkpoint_s` over, a tick saves; the next one waits again."""
    context = make(condense(), checkpoint_s=0.0)
    context.tick(1, 10, partial(_save, "1"))
    found = context.checkpoint()
    assert found is not None
    assert (found.name, found.read_text()) == ("checkpoint.0001", "1")
    context.tick(2, 10, partial(_save, "2"))
    assert found.read_text() == "2"
    patient = make(condense(1), checkpoint_s=3600.0)
    patient.tick(1, 10, partial(_save, "1"))
    assert patient.checkpoint() is None


def test_a_stop_saves_first(make: Make) -> None:
    """Asked to stop, a tick checkpoints and ends the stage; one that cannot save ends it all the same."""
    stop = threading.Event()
    context = make(condense(), stop)
    context.tick(1, 10, partial(_save, "1"))
    stop.set()
    with pytest.raises(Stopped, match="step 2 of 10"):
        context.tick(2, 10, partial(_save, "2"))
    found = context.checkpoint()
    assert found is not None
    assert found.read_text() == "2"
    with pytest.raises(Stopped):
        context.tick(3, 10)


def test_a_lost_lease_ends_the_stage_without_a_checkpoint(make: Make) -> None:
    """What was taken over writes nothing more, also when it is asked to stop at the same time."""
    stop = threading.Event()
    context = make(condense(), stop)
    context.lost.set()
    stop.set()
    with pytest.raises(LeaseLostError, match="taken over"):
        context.tick(1, 10, partial(_save, "1"))
    assert context.checkpoint() is None


def test_the_newest_checkpoint_of_any_attempt_is_found(make: Make) -> None:
    """A third attempt goes on from the second's checkpoint, or from the first's where the second left none."""
    first = make(condense(), checkpoint_s=0.0)
    first.tick(1, 10, partial(_save, "1"))
    second = make(condense(), checkpoint_s=0.0)
    third = make(condense())
    found = third.checkpoint()
    assert found is not None
    assert found.name == "checkpoint.0001"
    second.tick(4, 10, partial(_save, "4"))
    found = third.checkpoint()
    assert found is not None
    assert (found.name, found.read_text()) == ("checkpoint.0002", "4")


def test_a_failing_save_keeps_the_older_checkpoint(make: Make) -> None:
    """An error in the middle of saving leaves the checkpoint before it whole."""
    context = make(condense(), checkpoint_s=0.0)
    context.tick(1, 10, partial(_save, "1"))

    def broken(path: Path) -> None:
        path.write_text("ha")
        raise OSError(28, "No space left on device")

    with pytest.raises(OSError, match="No space"):
        context.tick(2, 10, broken)
    found = context.checkpoint()
    assert found is not None
    assert found.read_text() == "1"
    assert not list(context.folder.path.glob(".*"))


def test_artefacts_carry_attempt_size_and_digest(make: Make) -> None:
    """What the record will vouch for is what is on disk; a name is published once."""
    context = make(condense())
    context.artefact("images", "txt", partial(_save, "pixels"))
    held = context.published["images"]
    path = context.folder.path / "images.0001.txt"
    assert (held.file, held.bytes, held.sha256) == (path.name, 6, keys.sha256_file(path))
    with pytest.raises(StoreError, match="published twice"):
        context.artefact("images", "txt", partial(_save, "other"))
    assert path.read_text() == "pixels"


def test_a_failing_artefact_leaves_nothing(make: Make) -> None:
    """An error while writing publishes nothing."""
    context = make(condense())

    def broken(path: Path) -> None:
        path.write_text("ha")
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        context.artefact("images", "txt", broken)
    assert context.published == {}
    assert sorted(path.name for path in context.folder.path.iterdir()) == ["lease.0001", "task.json"]


def test_inputs_are_verified_at_every_use(root: Path, make: Make) -> None:
    """An input is its record and an artefact with the recorded bytes; altered ones are refused."""
    source = condense()
    context = make(analyze({"set": keys.key(source)}))
    with pytest.raises(InputMissingError, match=f"input condense {keys.key(source)} has no usable record"):
        context.require_inputs()
    _record(root, source)
    context.require_inputs()
    assert context.record("set").task == source
    assert context.record("set").values["steps"] == 3
    path = context.input("set", "images")
    assert path.read_text() == "images of attempt 1"
    with pytest.raises(CorruptArtefactError, match="has no artefact 'soft'"):
        context.input("set", "soft")
    path.write_text("images of attempt 2")
    with pytest.raises(CorruptArtefactError, match="bytes changed"):
        context.input("set", "images")
    with pytest.raises(StageError, match=r"no input 'teacher', only \['set'\]"):
        context.input("teacher", "weights")


def test_a_purged_input_is_missing(root: Path, make: Make) -> None:
    """A record without its artefact is no usable input."""
    source = condense()
    _record(root, source)
    (folder_of(root, source).path / "images.0001.txt").unlink()
    with pytest.raises(InputMissingError):
        make(analyze({"set": keys.key(source)})).require_inputs()


def test_a_late_input_is_waited_for(root: Path, make: Make, monkeypatch: pytest.MonkeyPatch) -> None:
    """An input that a network file system shows late is found by looking again, not by the first look."""
    source = condense()
    context = make(analyze({"set": keys.key(source)}), patience_s=60.0)
    looks: list[Path] = []
    real = store.read_record

    def late(folder: TaskFolder) -> store.Record | None:
        looks.append(folder.path)
        return real(folder) if len(looks) > 2 else None

    _record(root, source)
    monkeypatch.setattr(store, "read_record", late)
    monkeypatch.setattr(store, "_RETRY_S", 0.01)
    assert context.record("set").task == source
    assert len(looks) == 3


def test_a_stop_ends_the_wait_for_an_input(make: Make) -> None:
    """Near its time limit a task does not wait for an input that is late."""
    context = make(analyze({"set": keys.key(condense())}), patience_s=60.0)
    context.stop.set()
    with pytest.raises(Stopped, match="waiting for input condense"):
        context.record("set")


def test_paths_come_from_the_site(root: Path, make: Make) -> None:
    """Datasets and weights are found where the profile has them; an index where `submit` left it."""
    context = make(condense(), data={"d": "/data/d"}, weights={"net": "/w/net.pt"})
    assert context.data_folder("d") == Path("/data/d")
    assert context.data_folder("digits") is None
    assert context.weights_file("net") == Path("/w/net.pt")
    with pytest.raises(StageError, match=r"add `other = \"…\"` under \[weights\]"):
        context.weights_file("other")
    assert context.index_bytes("0f") is None
    context.layout.index("0f").parent.mkdir(parents=True)
    context.layout.index("0f").write_bytes(b"{}")
    assert context.index_bytes("0f") == b"{}"
