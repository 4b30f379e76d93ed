"""How the ranks of one element find each other."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from made_tasks import condense, folder_of

from condhpc import joining
from condhpc.errors import StoreError
from condhpc.joining import Call, Caller, Place

SLURM = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}


def test_a_place_is_what_slurm_says() -> None:
    """Rank, their number, and the number on the node, which is the GPU."""
    assert joining.place(4, SLURM) == Place(3, 4, 1)


def test_one_process_does_not_look_at_slurm() -> None:
    """A batch script has Slurm's variables, too."""
    assert joining.place(1, SLURM) == Place()


@pytest.mark.parametrize("changes", [{"SLURM_NTASKS": "2"}, {"SLURM_PROCID": ""}, {"SLURM_LOCALID": "x"}])
def test_another_number_of_processes_is_an_error(changes: dict[str, str]) -> None:
    """Ranks that wait for others who never come would wait for long."""
    with pytest.raises(StoreError, match="the payload asks for 4 ranks"):
        joining.place(4, {**SLURM, **changes})


def test_calls_are_heard_in_their_order(tmp_path: Path) -> None:
    """Also where the file is not there yet, or its last line is still being written."""
    path = tmp_path / "calls" / "p.0.jsonl"
    assert joining.calls(path) == []
    caller = Caller(path, Place(0, 2, 0))
    caller.call("abc", 2)
    caller.end()
    with path.open("ab") as file:
        file.write(b'{"key":"half')
    assert joining.calls(path) == [Call("abc", 2), Call()]


def test_a_failure_is_heard_whole_or_not_at_all(root: Path) -> None:
    """It is a new file under that name: whoever has the old one open never sees half of a reason."""
    folder = folder_of(root, condense())
    folder.failure(1, 2).parent.mkdir(parents=True)
    folder.failure(1, 2).write_text("before")
    os.link(folder.failure(1, 2), root / "open")
    joining.tell_failure(folder, 2, 1, "loss \udce9 is nan")
    assert joining.told_failures(folder, Place(0, 3), 2) == ["rank 1: loss ? is nan"]
    assert (root / "open").read_text() == "before"
