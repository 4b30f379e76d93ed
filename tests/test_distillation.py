"""The driver of methods: order, progress, checkpoints, and what it refuses."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_data import Recorder

from condhpc import distillation
from condhpc.errors import StageError, Stopped
from condhpc.methods.base import Group, Steps, Unit

SIDE = 2
GROUPS: list[Group] = [
    (Unit("first of each", (0, 1), (0, 0)),),
    (Unit("second of 1", (1,), (1,)), Unit("second of 0", (0,), (1,))),
]


def images(*values: int) -> NDArray[np.uint8]:
    """One even image per value."""
    return np.broadcast_to(np.asarray(values, dtype=np.uint8)[:, None, None, None], (len(values), SIDE, SIDE, 3)).copy()


class Counting:
    """Takes three steps per group, each adding a number that a resume must not lose."""

    def __init__(self) -> None:
        self.steps = 0

    def condense(self, steps: Steps, group: Group) -> NDArray[np.uint8]:
        """Images of the sum."""
        total, first = torch.zeros(1), 0
        if steps.resumed is not None:
            total, first = steps.resumed["total"].clone(), steps.resumed["step"]
        for step in range(first + 1, 4):
            self.steps += 1
            total += step * len(group)
            steps.tick(step, 3, partial(dict, total=total, step=step), loss=float(total))
        return images(*[int(total)] * sum(len(unit.labels) for unit in group))


def test_images_go_to_their_places() -> None:
    """Class by class, image by image, however the groups name them."""
    found = distillation.in_class_order(images(10, 20, 21, 11), GROUPS, 2)
    assert found[:, 0, 0, 0].tolist() == [10, 11, 20, 21]


@pytest.mark.parametrize("groups", [GROUPS[:1], [GROUPS[0], GROUPS[0]]])
def test_groups_must_name_every_place_once(groups: list[Group]) -> None:
    """A hole or an image made twice is the method's mistake, and told as such."""
    with pytest.raises(StageError, match="not each of 4 places once"):
        distillation.in_class_order(images(1, 2, 3, 4), groups, 2)


@pytest.mark.parametrize("wrong", [images(1), images(1, 2).astype(np.float32), images(1, 2)[:, :1]])
def test_images_of_a_group_must_fit_its_units(wrong: NDArray[np.uint8]) -> None:
    """Number, type and size are checked group by group, so that the error names the units."""
    with pytest.raises(StageError, match=r"first of each: the method gave .*expected uint8 \(2, 2, 2, 3\)"):
        distillation.run(lambda *_: wrong, GROUPS, SIDE, Recorder())


def test_progress_counts_over_all_groups() -> None:
    """Steps of finished groups and of the open one; rate and time left once there are two ticks."""
    report = Recorder()
    distillation.run(Counting().condense, GROUPS, SIDE, report)
    assert report.ticks == [(1, 6), (2, 6), (3, 6), (3, 6), (4, 6), (5, 6), (6, 6), (6, 6)]
    assert report.values[0] == {"loss": 1.0}
    assert report.values[1]["images_s"] > 0
    assert report.values[1]["eta_s"] > 0


@pytest.mark.parametrize("stop_at", [2, 5])
def test_resumes_within_a_group(tmp_path: Path, stop_at: int) -> None:
    """What is finished is not made again, and the open group goes on from its state, not from its start."""
    whole = distillation.run(Counting().condense, GROUPS, SIDE, Recorder())
    first, second = Counting(), Counting()
    with pytest.raises(Stopped):
        distillation.run(first.condense, GROUPS, SIDE, Recorder(tmp_path, stop_at=stop_at))
    np.testing.assert_array_equal(distillation.run(second.condense, GROUPS, SIDE, Recorder(tmp_path)), whole)
    assert first.steps + second.steps == 6


@pytest.mark.parametrize("damage", ["bytes", "other work", "a tensor"])
def test_useless_checkpoints_are_ignored(tmp_path: Path, damage: str) -> None:
    """One that is damaged, or of other groups, costs its time and nothing else."""
    path = tmp_path / "checkpoint.pt"
    if damage == "bytes":
        path.write_bytes(b"no checkpoint")
    elif damage == "a tensor":
        torch.save(torch.zeros(3), path)
    else:
        with pytest.raises(Stopped):
            distillation.run(Counting().condense, GROUPS[::-1], SIDE, Recorder(tmp_path, stop_at=2))
    whole = distillation.run(Counting().condense, GROUPS, SIDE, Recorder())
    again = Counting()
    np.testing.assert_array_equal(distillation.run(again.condense, GROUPS, SIDE, Recorder(tmp_path)), whole)
    assert again.steps == 6


def test_work_in_one_piece_resumes(tmp_path: Path) -> None:
    """A preparation's state comes back under its own name, and under no other."""
    stopping = distillation.Alone(Recorder(tmp_path, stop_at=2), "statistics")
    stopping.tick(1, 3, lambda: {"step": 1})
    with pytest.raises(Stopped):
        stopping.tick(2, 3, lambda: {"step": 2})
    assert distillation.Alone(Recorder(tmp_path), "statistics").resumed == {"step": 2}
    assert distillation.Alone(Recorder(tmp_path), "modes").resumed is None


def test_the_rate_is_that_of_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """What precedes the first step of an attempt, such as scoring real images, is not in images per second."""
    now = iter([0.0, 60.0, 100.0, 102.0])
    monkeypatch.setattr(distillation.time, "monotonic", lambda: next(now))
    rate = distillation._Rate()
    assert rate.values(0, 10, 4.0) == {}
    assert rate.values(0, 10, 4.0) == {}
    assert rate.values(1, 10, 4.0) == {"images_s": 2.0, "eta_s": 18.0}
