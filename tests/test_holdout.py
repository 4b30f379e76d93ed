"""Trials on held-out training images: who learns from what, who is tested on what, and what a stop costs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_stages import DATASET
from made_training import Reporter, digits

from condhpc import holdout, train
from condhpc.coresets.base import Trials
from condhpc.errors import StageError, Stopped
from condhpc.holdout import Bench, Part
from condhpc.spec import CondenseSpec

SPLIT = digits("train")
STEPS = 4


def bench(report: Reporter | None = None, seed: int = 0, ipc: int = 3) -> Bench:
    """Digits on the CPU."""
    spec = CondenseSpec(
        dataset=DATASET,
        kind="coreset",
        condenser="ccs",
        params={},
        ipc=ipc,
        seed=seed,
        resolution=8,
        precision="fp32",
    )
    train.configure(1)
    return Bench(spec, SPLIT, "cpu", 1, report or Reporter())


def trials(*candidates: Any, share: float = 0.2, steps: int = STEPS) -> Trials:
    """Candidates are numbers of images to skip."""
    return Trials(candidates, share, "convnet3", steps)


class Chooser:
    """Chooses the images after some to skip, and notes what it could choose among."""

    def __init__(self) -> None:
        self.asked: list[int] = []
        self.among: list[np.ndarray] = []

    def __call__(self, skip: int, among: Any) -> np.ndarray:
        """Three of each class."""
        self.asked.append(skip)
        self.among = list(among)
        return np.concatenate([positions[skip : skip + 3] for positions in among])


def test_candidates_choose_among_what_is_not_held_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fifth of each class, rounded, is held out by the set seed; it examines all students and teaches none."""
    seen: dict[str, list[np.ndarray]] = {"taught": [], "tested": []}
    learn, score = holdout.train.train, holdout.judge.score

    def learning(model: Any, images: Any, run: Any) -> Any:
        seen["taught"].append(images.images_NHWC.numpy())
        return learn(model, images, run)

    def scoring(model: Any, images: Any, *rest: Any) -> Any:
        seen["tested"].append(images.images_NHWC.numpy())
        return score(model, images, *rest)

    monkeypatch.setattr(holdout.train, "train", learning)
    monkeypatch.setattr(holdout.judge, "score", scoring)
    chooser = Chooser()
    found = holdout.accuracies(trials(0, 5), chooser, bench())
    assert len(found) == 2
    assert chooser.asked == [0, 5]
    held = [np.setdiff1d(SPLIT.of_class(label), rest) for label, rest in enumerate(chooser.among)]
    assert [len(h) for h in held] == [round(0.2 * len(SPLIT.of_class(label))) for label in range(10)]
    for skip, taught, tested in zip((0, 5), seen["taught"], seen["tested"], strict=True):
        np.testing.assert_array_equal(taught, SPLIT.read(np.concatenate([r[skip : skip + 3] for r in chooser.among])))
        np.testing.assert_array_equal(tested, SPLIT.read(np.concatenate(held)))


def test_the_seed_decides_slice_and_student() -> None:
    """Again the same numbers; under another seed another slice."""
    again, other = Chooser(), Chooser()
    first = holdout.accuracies(trials(0, 0, steps=12), Chooser(), bench())
    assert first[0] == first[1]  # one start, one order, one slice: only the set could differ
    assert holdout.accuracies(trials(0, steps=12), again, bench()) == first[:1]
    holdout.accuracies(trials(0), other, bench(seed=1))
    assert not np.array_equal(again.among[0], other.among[0])


def test_a_student_that_learns_is_better_than_chance() -> None:
    """Numbers are percent of the slice."""
    found = holdout.accuracies(trials(0, steps=60), Chooser(), bench())
    assert 25.0 < found[0] <= 100.0


def test_a_stop_costs_no_more_than_the_trial_under_way(tmp_path: Path) -> None:
    """The trials before it are not held again, and the numbers are those of an undisturbed run."""
    undisturbed = holdout.accuracies(trials(0, 1, 2), Chooser(), bench())
    report = Reporter(tmp_path, stop_at=2 * STEPS + 1)
    with pytest.raises(Stopped):
        holdout.accuracies(trials(0, 1, 2), Chooser(), bench(report))
    chooser = Chooser()
    assert holdout.accuracies(trials(0, 1, 2), chooser, bench(report)) == undisturbed
    assert chooser.asked == [2]
    assert report.steps[-1] == 3 * STEPS


@pytest.mark.parametrize("content", [b"torn", b'{"no": "list"}'])
def test_a_checkpoint_that_is_none_is_as_good_as_none(tmp_path: Path, content: bytes) -> None:
    """All trials are held."""
    report, chooser = Reporter(tmp_path), Chooser()
    (tmp_path / "checkpoint").write_bytes(content)
    assert len(holdout.accuracies(trials(0), chooser, bench(report))) == 1
    assert chooser.asked == [0]


def test_a_class_that_is_too_small() -> None:
    """The error has all three numbers."""
    with pytest.raises(StageError, match=r"class 0 has 143 images: 29 held out .* fewer than ipc = 115"):
        holdout.accuracies(trials(0), Chooser(), bench(ipc=115))


def test_a_part_of_a_split() -> None:
    """Positions are those within the part."""
    part = Part(SPLIT, np.array([7, 3, 9]))
    assert (len(part), part.resolution) == (3, 8)
    np.testing.assert_array_equal(part.labels_N, SPLIT.labels_N[[7, 3, 9]])
    np.testing.assert_array_equal(part.read(np.array([2, 0])), SPLIT.read(np.array([9, 7])))
    np.testing.assert_array_equal(part.raw(1), SPLIT.raw(3))
    np.testing.assert_array_equal(part.glimpse(1), SPLIT.raw(3))
