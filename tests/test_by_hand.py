"""A task by hand: the lease, the record and the exit status are the worker's."""

from __future__ import annotations

import shutil
import signal
import threading
from pathlib import Path

import fake_stages
import made_stages
import pytest
from children import PATIENCE_S, fork, kill, until
from made_tasks import analyze, condense, folder_of, python, site

from condhpc import attempt, by_hand, keys, lease, store
from condhpc.layout import TaskFolder
from condhpc.spec import NetworkSpec, Task, WeightsSpec

pytestmark = pytest.mark.usefixtures("own_signals", "alone")


@pytest.fixture
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, stages: Path) -> None:
    """No profile of the person who runs the tests."""
    for name in ("CONDHPC_PROFILE", "CONDHPC_ROOT", "XDG_CONFIG_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("HOME", str(tmp_path))


def _prepared(root: Path, task: Task) -> TaskFolder:
    folder = folder_of(root, task)
    store.write_task(folder, keys.preimage(task))
    return folder


def test_it_records_as_the_worker_does(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Same key, same values, same artefacts, same files; a second time it says that it was recorded."""
    folder = _prepared(root, condense())
    assert by_hand.main("condense", [str(folder.path)]) == 0
    assert attempt.run(keys.preimage(condense(1)), site(root), threading.Event()) == "recorded"
    mine, theirs = store.read_record(folder), store.read_record(folder_of(root, condense(1)))
    assert mine is not None
    assert theirs is not None
    assert (mine.values, mine.artefacts, mine.attempt) == (theirs.values, theirs.artefacts, theirs.attempt)
    assert mine.environment.keys() == theirs.environment.keys()
    assert mine.environment["run"] == ""
    assert len(list(folder.path.iterdir())) == 3
    capsys.readouterr()
    assert by_hand.main("condense", [str(folder.path)]) == 0
    assert "recorded already" in capsys.readouterr().err
    assert len(fake_stages.trace(root, keys.key(condense()))) == 4


def test_a_module_of_a_stage_is_a_program(root: Path, stages: Path, tmp_path: Path) -> None:
    """`python -m condhpc_jobs.condense <task-dir>` runs it, and TERM lets it checkpoint."""
    task = condense(steps=4, at=1, do="wait", gate="open")
    folder = _prepared(root, task)
    words = ("-m", "condhpc_jobs.condense", str(folder.path))
    process = python(*words, stages=stages, log=tmp_path / "log")
    until(lambda: any(line.endswith("step 1") for line in fake_stages.trace(root, keys.key(task))), "step 1")
    process.send_signal(signal.SIGTERM)
    assert process.wait(PATIENCE_S) == 75
    assert folder.checkpoint(1).read_text() == "1"
    (root / "open").touch()
    assert python(*words, stages=stages, log=tmp_path / "log").wait(PATIENCE_S) == 0
    assert store.is_recorded(folder)


def test_it_waits_for_nobody(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Where another attempt lives it says so and exits 76, without touching anything."""
    task = condense(do="wait", gate="never")
    pid = fork(lambda: attempt.run(keys.preimage(task), site(root), threading.Event()) == "recorded")
    until(lambda: len(fake_stages.trace(root, keys.key(task))) == 2, "the other attempt")
    assert by_hand.main("condense", [str(folder_of(root, task).path)]) == 76
    assert "another attempt holds the lease" in capsys.readouterr().err
    kill(pid)
    assert [path.name for path in sorted(folder_of(root, task).path.iterdir())] == ["lease.0001", "task.json"]


def test_weights_that_torch_has_downloaded_are_found(
    root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By hand as by `submit`: what the profile does not name is looked for in $TORCH_HOME."""
    folder = tmp_path / "torch" / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "r18.pth").touch()
    monkeypatch.setenv("TORCH_HOME", str(tmp_path / "torch"))
    task = made_stages.teacher(weights=WeightsSpec(name="r18.pth", sha256="0" * 64))
    assert by_hand._site(root, task).weights == {"r18.pth": str(folder / "r18.pth")}
    network = NetworkSpec(
        library="torchvision", arch="resnet18", weights="r18.pth", sha256="0" * 64, resolution=64, mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )  # fmt: skip
    embed = made_stages.embed(network=network)
    assert by_hand._site(root, embed).weights == {"r18.pth": str(folder / "r18.pth")}
    assert by_hand._site(root, condense()).weights == {}


@pytest.mark.parametrize(("task", "code"), [(condense(do="fail"), 1), (condense(inputs={"set": "0" * 32}), 3)])
def test_failures_have_the_workers_statuses(root: Path, task: Task, code: int) -> None:
    """1 for a failure, 3 for a missing input, each with its diary."""
    folder = _prepared(root, task)
    assert by_hand.main("condense", [str(folder.path)]) == code
    found = lease.read_attempt(folder, 1)
    assert found is not None
    assert found.end is not None


def test_the_wrong_stage_is_named(root: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A task of another stage comes with the command that would run it."""
    folder = _prepared(root, analyze({"set": "0" * 32}))
    assert by_hand.main("condense", [str(folder.path)]) == 2
    assert f"its stage is analyze; run `python -m condhpc_jobs.analyze {folder.path}`" in capsys.readouterr().err
    assert not folder.lease(1).exists()


@pytest.mark.parametrize("arguments", [[], ["a", "b"], ["--help"]])
def test_usage_is_told(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    """Anything but one folder gets the usage line."""
    assert by_hand.main("condense", arguments) == 2
    assert "usage: python -m condhpc_jobs.condense <task-dir>" in capsys.readouterr().err


def test_what_is_no_task_folder_is_refused(root: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing there, an altered task, a folder that was copied out of its store: refused, and nothing written."""
    assert by_hand.main("condense", [str(tmp_path / "none")]) == 3
    assert "task.json: not a readable task" in capsys.readouterr().err
    folder = _prepared(root, condense())
    moved = tmp_path / "elsewhere" / folder.path.name
    shutil.copytree(folder.path, moved)
    assert by_hand.main("condense", [str(moved)]) == 2
    assert "is not in a store; expected <root>/store/condense/" in capsys.readouterr().err
    folder.task.write_bytes(keys.preimage(condense(1)))
    assert by_hand.main("condense", [str(folder.path)]) == 3
    assert "not the folder's name" in capsys.readouterr().err
    assert [path.name for path in folder.path.iterdir()] == ["task.json"]
