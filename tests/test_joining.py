"""Places of ranks, rank 0's calls, and the last words of the others."""

from __future__ import annotations

from pathlib import Path

import pytest

from condhpc import joining
from condhpc.errors import StoreError
from condhpc.joining import Call, Caller, Place
from condhpc.layout import TaskFolder


def test_a_place_comes_from_slurm() -> None:
    """Rank, number of ranks and number within the node are those of the step's task."""
    environ = {"SLURM_PROCID": "3", "SLURM_NTASKS": "4", "SLURM_LOCALID": "1"}
    assert joining.place(4, environ) == Place(3, 4, 1)


def test_one_process_does_not_look_at_slurm() -> None:
    """A batch script has these variables, too: they mean nothing where no srun was asked for."""
    assert joining.place(1, {"SLURM_PROCID": "0", "SLURM_NTASKS": "2", "SLURM_LOCALID": "0"}) == Place(0, 1, 0)


@pytest.mark.parametrize(
    "environ",
    [{}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "1", "SLURM_LOCALID": "0"}, {"SLURM_PROCID": "0", "SLURM_NTASKS": "2"}],
)
def test_another_number_of_tasks_is_refused(environ: dict[str, str]) -> None:
    """Fewer tasks than ranks would wait for each other until the time-out."""
    with pytest.raises(StoreError, match="asks for 2 ranks"):
        joining.place(2, environ)


def test_calls_are_heard_in_order_and_whole(tmp_path: Path) -> None:
    """Nothing before the file is there; a line that is still being written is not heard; the end has no key."""
    path = tmp_path / "calls" / "p.0.0.jsonl"
    assert joining.calls(path) == []
    caller = Caller(path, Place(0, 2))
    caller.call("k1", 2)
    with path.open("ab") as file:
        file.write(b'{"key":"k2"')
    assert joining.calls(path) == [Call("k1", 2)]
    with path.open("ab") as file:
        file.write(b',"attempt":1}\n')
    caller.end()
    assert joining.calls(path) == [Call("k1", 2), Call("k2", 1), Call()]


def test_last_words_are_those_of_their_attempt(tmp_path: Path) -> None:
    """Each rank leaves its own, with its number; those of another attempt do not count."""
    folder = TaskFolder(tmp_path)
    joining.tell_failure(folder, 2, 1, "no memory")
    joining.tell_failure(folder, 1, 2, "long ago")
    assert joining.told_failures(folder, Place(0, 3), 2) == ["rank 1: no memory"]
