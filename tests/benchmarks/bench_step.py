"""A training step with a teacher: what the loop adds to the bare passes, and what cached labels save.

Procedure: a ResNet-18 student and a ResNet-18 teacher at 224 px, batch 16, fp32, one CPU thread, channels-last, CutMix
and crops as in `single_teacher`. Three sides take the same batches in turn, `PAIRS` times: the whole training step with
the teacher asked online; the same with labels from a file that a writer filled before; and the bare passes alone
(student forward and backward, teacher forward) on batches that are ready. CPU seconds, medians of ratios within a pair.
The losses of the three sides must agree. Targets: a step costs at most 1.1 × the bare passes; cached labels make it at
least 1.15 × faster (the theory of equal networks: 4 passes to 3).
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import pytest
from torch import nn

from condhpc import feed, labels, models, registry, train
from condhpc.images import ResidentImages
from condhpc.label_files import LabelReader, LabelShape, LabelWriter
from condhpc.labels import Loss
from condhpc.spec import Augment, Optimizer, Protocol, Training

SIDE_PX, BATCH, CLASSES = 224, 16, 100
STEPS = 3
PAIRS = 5
TARGET_OVERHEAD, TARGET_CACHED = 1.1, 1.15
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TRAINING = Training(
    steps=STEPS,
    batch=BATCH,
    bn_group=BATCH,
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01),
    augment=Augment(crop_scale_min=0.08, flip=True, cutmix_alpha=1.0),
    precision="fp32",
)


class Ticks:
    """Takes the CPU time after every step."""

    def __init__(self) -> None:
        self.at_s: list[float] = []
        self.losses: list[float] = []

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """After a step."""
        del step, total, save
        self.at_s.append(time.process_time())
        self.losses.append(values["loss"])

    def checkpoint(self) -> Path | None:
        """None: every run is whole."""
        return None

    @property
    def step_s(self) -> float:
        """CPU seconds of a step; the first one warms up."""
        return (self.at_s[-1] - self.at_s[0]) / (len(self.at_s) - 1)


class Result(NamedTuple):
    """Medians over pairs."""

    overhead: float
    """Step with an online teacher ÷ bare passes."""
    cached: float
    """Step with an online teacher ÷ step with cached labels."""
    step_s: float


def network(seed: int) -> nn.Module:
    """A fresh ResNet-18."""
    return models.placed(models.build("resnet18", CLASSES, SIDE_PX, seed), "cpu")


def protocol() -> Protocol:
    """One teacher at T = 20."""
    found: Protocol = registry.load("protocols", "single_teacher")
    return found


class Bench:
    """Images, teacher and labels that all sides share."""

    def __init__(self, folder: Path) -> None:
        train.configure(1)
        generator = np.random.default_rng(0)
        images_NHWC = generator.integers(0, 256, (STEPS * BATCH, SIDE_PX, SIDE_PX, 3), dtype=np.uint8)
        self.images = ResidentImages(images_NHWC, np.arange(len(images_NHWC)) % CLASSES, "cpu")
        self.teacher = models.frozen(network(1))
        told = protocol().teacher
        assert told is not None
        self.source = labels.online([self.teacher], told, SIDE_PX)
        self.plan = feed.Plan(STEPS, BATCH, TRAINING.augment, 0, MEAN, STD)
        self.batches = list(feed.feed(self.images, self.plan))
        self.reader = self._written(folder / "labels.h5")

    def _written(self, path: Path) -> LabelReader:
        shape = LabelShape(STEPS * BATCH, CLASSES, CLASSES)
        writer = LabelWriter(path, shape)
        for batch in self.batches:
            writer.write(batch.row, labels.stored(labels.kept(self.source(batch), None)))
        writer.close({})
        return LabelReader(path, shape)

    def whole(self, source: labels.Source) -> Ticks:
        """The training loop as it is."""
        ticks = Ticks()
        loss: Loss = labels.teacher_labels(source, protocol())
        train.train(network(0), self.images, train.Run(TRAINING, loss, MEAN, STD, 0, "cpu", ticks))
        return ticks

    def bare(self) -> Ticks:
        """Forward and backward of the student and forward of the teacher, on batches that are ready."""
        ticks = Ticks()
        student = network(0).train()
        loss = labels.teacher_labels(self.source, protocol())
        for batch in self.batches:
            found = loss(batch, student(batch.images_nCHW))
            found.backward()  # type: ignore[no-untyped-call]
            student.zero_grad(set_to_none=True)
            ticks.tick(batch.step + 1, STEPS, None, loss=found.item())
        return ticks


def measure() -> Result:
    """All sides in turn."""
    with TemporaryDirectory() as name:
        bench = Bench(Path(name))
        cached = labels.cached(bench.reader, CLASSES, "cpu")
        rounds = [(bench.whole(bench.source), bench.whole(cached), bench.bare()) for _ in range(PAIRS)]
    for online, stored, bare in rounds:
        assert stored.losses == pytest.approx(online.losses, rel=5e-3)
        assert bare.losses[0] == pytest.approx(online.losses[0], rel=1e-5)
    return Result(
        statistics.median(online.step_s / bare.step_s for online, _, bare in rounds),
        statistics.median(online.step_s / stored.step_s for online, stored, _ in rounds),
        statistics.median(online.step_s for online, _, _ in rounds),
    )


def report(result: Result) -> str:
    """One line for people and logs."""
    return (
        f"step: {result.step_s * 1000:.0f} ms CPU with an online teacher, {result.overhead:.3f} x the bare passes "
        f"(target <= {TARGET_OVERHEAD}); cached labels {result.cached:.2f} x faster (target >= {TARGET_CACHED})"
    )


@pytest.mark.bench
def test_a_step_is_little_more_than_its_passes(capsys: pytest.CaptureFixture[str]) -> None:
    """The loop adds at most a tenth, and labels from a file save a good part of the teacher."""
    result = measure()
    with capsys.disabled():
        print(f"\n{report(result)}")
    assert result.overhead <= TARGET_OVERHEAD
    assert result.cached >= TARGET_CACHED


if __name__ == "__main__":
    print(report(measure()))
