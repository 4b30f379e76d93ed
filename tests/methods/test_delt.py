"""DELT: who joins when, who starts, and what late images see."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tiny_data import MemorySplit, Recorder, TinyObserver, made, make_spec, make_work

from condhpc import registry
from condhpc.cost_model import FORWARD, Sources
from condhpc.errors import Stopped
from condhpc.methods.base import Unit
from condhpc.methods.delt import PLUGIN, around_median, joins, median_images
from condhpc.pixels import Batches


@pytest.mark.parametrize(
    ("ipc", "rounds", "sizes"),
    [
        (50, 8, [7, 7, 6, 6, 6, 6, 6, 6]),
        (10, 8, [2, 2, 1, 1, 1, 1, 1, 1]),
        (3, 8, [1, 1, 1, 0, 0, 0, 0, 0]),
        (1, 8, [1, 0, 0, 0, 0, 0, 0, 0]),
        (8, 4, [2, 2, 2, 2]),
    ],
)
def test_groups_of_a_class(ipc: int, rounds: int, sizes: list[int]) -> None:
    """Sizes differ by one, the first are larger, group r joins after r rounds; both classes alike."""
    found = joins(Unit("u", (4,) * ipc + (5,) * ipc, tuple(range(ipc)) * 2), rounds, 4000)
    expected = [number * 4000 // rounds for number, size in enumerate(sizes) for _ in range(size)]
    assert found == expected * 2


def test_mean_iterations_are_the_published_ones() -> None:
    """2550 of 4000 at ipc 10, 2310 at 50, 2290 at 100."""
    for ipc, expected in ((10, 2550), (50, 2310), (100, 2290)):
        late = joins(Unit("u", (0,) * ipc, tuple(range(ipc))), 8, 4000)
        assert 4000 - np.mean(late) == pytest.approx(expected, abs=5)


def test_outwards_from_the_median() -> None:
    """Above and below in turn; where one side ends, on along the other."""
    assert around_median(7, 7) == [3, 4, 2, 5, 1, 6, 0]
    assert around_median(6, 4) == [3, 4, 2, 5]
    assert around_median(2, 2) == [1, 0]


def test_starts_at_median_confidence() -> None:
    """The chosen images are those whose true-class probability is in the middle of their class."""
    train = MemorySplit(3, 12, 8)
    work = make_work(PLUGIN, train, ipc=3, params={"iterations": 1, "score_batch": 5})
    positions = train.of_class(2)
    pixels = (train.read(positions) / 255.0 - np.array(work.spec.dataset.mean)) / np.array(work.spec.dataset.std)
    images = torch.from_numpy(pixels.astype(np.float32)).permute(0, 3, 1, 2)
    logits = TinyObserver(3)(images).double().numpy()
    confidence = np.exp(logits[:, 2]) / np.exp(logits).sum(axis=1)
    ranked = positions[np.argsort(confidence)]
    assert median_images(work, 2, Batches(work, work.spec.dataset)).tolist() == [ranked[6], ranked[7], ranked[5]]


@pytest.mark.parametrize(
    ("ipc", "batch", "expected"),
    [
        (3, 7, [("classes 0-1", 6), ("classes 2-3", 6), ("classes 4-4", 3)]),
        (5, 4, [(f"class {c}, images {a}", n) for c in range(5) for a, n in (("0-1", 2), ("2-4", 3))]),
        (2, 100, [("classes 0-4", 10)]),
    ],
)
def test_batches_hold_whole_classes(ipc: int, batch: int, expected: list[tuple[str, int]]) -> None:
    """Where ipc does not divide the batch, and where a class is larger than one."""
    work = make_work(PLUGIN, MemorySplit(5, 6, 8), ipc=ipc, params={"batch": batch})
    groups = PLUGIN.groups(work.spec, work.params)
    assert [(unit.name, len(unit.labels)) for group in groups for unit in group] == expected


class Counting(TinyObserver):
    """Counts the images of each forward pass that is differentiated."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.seen: list[int] = []

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits."""
        if images_NCHW.requires_grad:
            self.seen.append(len(images_NCHW))
        return super().forward(images_NCHW)


def test_only_images_that_have_joined_are_seen() -> None:
    """Three images of each of three classes in three rounds of two steps: 3, 6, then 9 images."""
    work = make_work(PLUGIN, MemorySplit(3, 12, 8), ipc=3, params={"iterations": 6, "rounds": 3})
    network = Counting(3)
    work = dataclasses.replace(work, teachers={"backbones": network})
    PLUGIN.condense(work, PLUGIN.groups(work.spec, work.params)[0])
    assert network.seen == [3, 3, 6, 6, 9, 9]


def first_move(fidelity: str) -> float:
    """Longest step, before normalisation, of an image that joins at the second half of eighty iterations."""
    train = MemorySplit(1, 12, 8)
    params: dict[str, Any] = {"iterations": 80, "rounds": 2, "lr": 1e-3, "fidelity": fidelity, "init": "median"}
    work = make_work(PLUGIN, train, ipc=2, params=params)
    kept: list[torch.Tensor] = []

    class Looking:
        resumed = None

        def tick(self, step: int, total: int, state: Any = None, **values: float) -> None:
            del total, values
            if step in {40, 41}:
                kept.append(state()["pixels"][1].clone())

    work = dataclasses.replace(work, steps=Looking())
    PLUGIN.condense(work, PLUGIN.groups(work.spec, work.params)[0])
    return float((kept[1] - kept[0]).abs().max())


def test_late_images_begin_with_a_step_of_lr_in_the_paper_and_a_longer_one_in_the_code() -> None:
    """Adam's first step is lr; under the code's global bias correction (1 − β₁)/√(1 − β₂) ≈ 1.58 times that."""
    now = 0.5e-3
    assert first_move("paper") == pytest.approx(now, rel=1e-2)
    assert first_move("code") == pytest.approx(now * 0.5 / 0.1**0.5, rel=1e-2)


def test_rounds_above_ipc_are_said() -> None:
    """Their images would all join early; one image is published, and plain."""
    info = registry.load("datasets", "digits").INFO
    found = [PLUGIN.remark(PLUGIN.Params(), info, ipc) for ipc in (1, 2, 8, 10)]
    text = "params.delt.rounds = 8 is above ipc: the last image joins for 7/8 of the iterations"
    assert found == ["", f"{text}; rounds = 2 spreads them evenly", "", ""]
    unit = PLUGIN.groups(make_work(PLUGIN, MemorySplit(1, 4, 8), ipc=2).spec, PLUGIN.Params())[0][0]
    assert joins(unit, 8, 4000) == [0, 500]
    assert joins(unit, 2, 4000) == [0, 2000]


def test_one_image_per_class_is_plain() -> None:
    """At ipc 1 the number of rounds changes nothing."""
    train = MemorySplit(3, 12, 8)
    sets = [made(PLUGIN, train, ipc=1, params={"iterations": 4, "rounds": rounds}) for rounds in (1, 4)]
    np.testing.assert_array_equal(*sets)


def test_classes_are_safe_points_of_the_start(tmp_path: Path) -> None:
    """Scoring many classes takes minutes: a stop is heard after each, and the group begins anew to the same bits."""
    train, params = MemorySplit(3, 12, 8), {"iterations": 4, "rounds": 2}
    report = Recorder(tmp_path, stop_at=0)
    with pytest.raises(Stopped):
        made(PLUGIN, train, params=params, report=report)
    assert report.ticks == [(0, 4)]
    again = Recorder(tmp_path)
    np.testing.assert_array_equal(made(PLUGIN, train, params=params, report=again), made(PLUGIN, train, params=params))
    assert again.ticks[:4] == [(0, 4), (0, 4), (0, 4), (1, 4)]


def test_cost_counts_the_images_that_are_scored() -> None:
    """All of the split once through every backbone, and decoded; none where the start is not the median."""
    train, sources = MemorySplit(3, 12, 8), Sources({"backbones": ("resnet18", "alexnet")}, 36)
    scored, plain = (
        PLUGIN.cost(spec, PLUGIN.Params(**spec.params), sources)
        for spec in (make_spec(PLUGIN, train, {"init": init}, 2, 0) for init in ("median", "real"))
    )
    assert scored is not None
    assert plain is not None
    assert (plain.decoded, scored.decoded) == (0, 36)
    assert scored.passes[:2] == plain.passes
    assert [(part.images, part.each) for part in scored.passes[2:]] == [(36, FORWARD)] * 2
