"""Several small students of one set: one after the other, as concurrent processes, or stacked into one network.

Procedure: four ConvNet-3 students (seeds 0 to 3, each with batches of its own) of a set of 100 images, batch 50, SGD,
fp32. Stacked: torch.func's `stack_module_state` and `vmap`, one optimiser over all weights. The losses of stacked
students must equal those of separate ones to 1e-4 over the first ten steps (under AdamW they do not: it divides
rounding by itself where gradients vanish, and losses differ by up to 5e-4). On a CPU: CPU seconds of stacked ÷
separate; concurrent processes do the very same work, so they cost the same CPU time. On a GPU (32 px, 200 steps): wall
seconds of all three. Nothing is gated but the equality: the figures decide how a pack shares a GPU (CONTRIBUTING.md,
Decisions).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest
import torch
from torch import Tensor, multiprocessing, nn
from torch.func import functional_call, stack_module_state, vmap

from condhpc import feed, labels, models, rng, train
from condhpc.images import ResidentImages
from condhpc.optimize import learning_rate, set_learning_rate
from condhpc.spec import Augment, Optimizer, Training

STUDENTS, BATCH, COUNT = 4, 50, 100
EQUAL_STEPS = 10
GPU_STEPS = 200
MEAN, STD = (0.5, 0.5, 0.5), (0.25, 0.25, 0.25)


class Losses:
    """Takes the losses down."""

    def __init__(self) -> None:
        self.values: list[float] = []

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """After a step."""
        del step, total, save
        self.values.append(values.get("loss", 0.0))

    def checkpoint(self) -> Path | None:
        """None: every run is whole."""
        return None


class Result(NamedTuple):
    """CPU seconds of both sides."""

    side_px: int
    separate_s: float
    stacked_s: float

    @property
    def ratio(self) -> float:
        """How many times more the stacked students cost."""
        return self.stacked_s / self.separate_s


def training(steps: int) -> Training:
    """SGD with crops and CutMix."""
    return Training(
        steps=steps,
        batch=BATCH,
        bn_group=BATCH,
        optimizer=Optimizer(name="sgd", lr=0.01, weight_decay=5e-4),
        augment=Augment(crop_scale_min=0.6, flip=False, cutmix_alpha=1.0),
        precision="fp32",
    )


def a_set(side_px: int, device: str) -> ResidentImages:
    """Noise in ten classes."""
    images_NHWC = np.random.default_rng(0).integers(0, 256, (COUNT, side_px, side_px, 3), dtype=np.uint8)
    return ResidentImages(images_NHWC, np.arange(COUNT) % 10, device)


def student(seed: int, side_px: int) -> nn.Module:
    """As an evaluation starts it."""
    return models.build("convnet3", 10, side_px, rng.torch_seed(seed, "student-init"))


def separate(seed: int, images: ResidentImages, device: str, steps: int) -> list[float]:
    """One student by the training loop; its losses."""
    report = Losses()
    run = train.Run(training(steps), labels.hard_labels(0.0), MEAN, STD, seed, device, report)
    train.train(student(seed, images.side), images, run)
    return report.values


def stacked(images: ResidentImages, device: str, steps: int) -> list[list[float]]:
    """All students as one network with a dimension more; losses by step and student."""
    recipe = training(steps)
    members = [models.placed(student(seed, images.side), device).train() for seed in range(STUDENTS)]
    parameters, buffers = stack_module_state(members)
    plans = [feed.Plan(steps, BATCH, recipe.augment, seed, MEAN, STD) for seed in range(STUDENTS)]
    feeds = [feed.feed(images, plan) for plan in plans]
    decayed = [p for p in parameters.values() if p.ndim > 2]  # a dimension more than in one network
    others = [p for p in parameters.values() if p.ndim <= 2]
    groups = [{"params": decayed, "weight_decay": 5e-4}, {"params": others, "weight_decay": 0.0}]
    optimizer = torch.optim.SGD(groups, lr=0.01, momentum=0.9, nesterov=True, fused=True)

    def one(weights: dict[str, Tensor], held: dict[str, Tensor], images_nCHW: Tensor) -> Tensor:
        found: Tensor = functional_call(members[0], (weights, held), (images_nCHW,))
        return found

    loss_of, found = labels.hard_labels(0.0), []
    for step in range(steps):
        batches = [next(source) for source in feeds]
        logits_MnK = vmap(one)(parameters, buffers, torch.stack([b.images_nCHW for b in batches]))
        losses_M = torch.stack([loss_of(b, z) for b, z in zip(batches, logits_MnK, strict=True)])
        optimizer.zero_grad(set_to_none=True)
        losses_M.sum().backward()  # type: ignore[no-untyped-call]
        set_learning_rate(optimizer, learning_rate(recipe.optimizer, step, steps))
        optimizer.step()
        found.append(losses_M.detach())
    return [[float(value) for value in losses] for losses in found]


def _equal(by_student: list[list[float]], by_step: list[list[float]]) -> None:
    for seed, losses in enumerate(by_student):
        assert [step[seed] for step in by_step[:EQUAL_STEPS]] == pytest.approx(losses[:EQUAL_STEPS], abs=1e-4)


def measure(side_px: int) -> Result:
    """Both sides in turn on one CPU thread."""
    train.configure(1)
    images = a_set(side_px, "cpu")
    started = time.process_time()
    by_student = [separate(seed, images, "cpu", EQUAL_STEPS) for seed in range(STUDENTS)]
    between = time.process_time()
    by_step = stacked(images, "cpu", EQUAL_STEPS)
    ended = time.process_time()
    _equal(by_student, by_step)
    return Result(side_px, between - started, ended - between)


@pytest.mark.bench
@pytest.mark.parametrize("side_px", [8, 32])
def test_stacked_students_equal_separate_ones(side_px: int, capsys: pytest.CaptureFixture[str]) -> None:
    """Losses agree to 1e-4 over ten steps; what stacking costs on a CPU is printed."""
    found = measure(side_px)
    with capsys.disabled():
        print(
            f"\npack: 4 ConvNet-3 at {side_px} px, 10 steps: separate {found.separate_s:.2f} s CPU, stacked "
            f"{found.stacked_s:.2f} s: {found.ratio:.2f} x"
        )


@pytest.mark.bench
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, torch sees none")
def test_students_that_share_a_gpu(capsys: pytest.CaptureFixture[str]) -> None:
    """Wall seconds of 200 steps of four students: in turn, as processes, stacked; losses agree."""
    train.configure(1)
    wall_s = {}
    for name, work in (("in turn", _in_turn), ("processes", _as_processes), ("stacked", _all_stacked)):
        work(EQUAL_STEPS)  # warms up
        torch.cuda.synchronize()
        started = time.perf_counter()
        work(GPU_STEPS)
        torch.cuda.synchronize()
        wall_s[name] = time.perf_counter() - started
    images = a_set(32, "cuda")
    by_student = [separate(seed, images, "cuda", EQUAL_STEPS) for seed in range(STUDENTS)]
    by_step = stacked(images, "cuda", EQUAL_STEPS)
    last = [losses[-1] for losses in by_student]  # the loop looks at a GPU's losses now and then, and at the end
    assert by_step[-1] == pytest.approx(last, abs=1e-3)
    with capsys.disabled():
        print("\npack on a GPU: " + ", ".join(f"{name} {seconds:.1f} s" for name, seconds in wall_s.items()))


def _in_turn(steps: int) -> None:
    images = a_set(32, "cuda")
    for seed in range(STUDENTS):
        separate(seed, images, "cuda", steps)


def _process(seed: int, steps: int) -> None:
    train.configure(1)
    separate(seed, a_set(32, "cuda"), "cuda", steps)


def _as_processes(steps: int) -> None:
    """Their start is counted: a pack forks them before CUDA starts, which a benchmark that has used CUDA cannot."""
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_process, args=(seed, steps)) for seed in range(STUDENTS)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        assert process.exitcode == 0


def _all_stacked(steps: int) -> None:
    stacked(a_set(32, "cuda"), "cuda", steps)


if __name__ == "__main__":
    print(measure(8), measure(32))
