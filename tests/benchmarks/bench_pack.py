"""Four small students on one device: one after the other, as concurrent processes, and stacked in one process.

Procedure: the same four ConvNet-3 students (seeds 0 to 3, SGD with momentum, crops) are trained for equally many steps
on the same images. Each arm runs in a fork of its own, after a warm-up; `sequential` calls the training loop four
times, `processes` is four forks of one thread each that start together (what lanes do), `stacked` trains all four
through `torch.func.stack_module_state` and `vmap`. Three rounds of all arms, medians. Before anything is timed, the
stacked students are compared with the separate ones after ten steps. Ratios above 1 are faster than sequential.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import torch
from children import fork, reap
from made_training import MEAN, STD, Reporter, digits, run, training
from torch import nn
from torch.func import functional_call, grad, stack_module_state, vmap
from torch.nn import functional

from condhpc import feed, models, train
from condhpc.images import ResidentImages
from condhpc.optimize import learning_rate, set_learning_rate
from condhpc.spec import Augment, Optimizer, Training

pytestmark = pytest.mark.bench

STUDENTS = 4
ROUNDS = 3
GATE_RATIO = 0.7
CROPS = Augment(crop_scale_min=0.6, flip=False, cutmix_alpha=0.0)
SGD = Optimizer(name="sgd", lr=0.001, weight_decay=0.0)


def _images(side: int, device: str) -> ResidentImages:
    """100 digits as they are, or 500 enlarged."""
    count = 100 if side == 8 else 500
    split = digits("train")
    pixels = split.read(np.arange(count)).repeat(side // 8, axis=1).repeat(side // 8, axis=2)
    return ResidentImages(pixels, split.labels_N[:count].copy(), device)


def _recipe(side: int, steps: int) -> Training:
    return training(steps, 20 if side == 8 else 50, optimizer=SGD, augment=CROPS)


def _separate(side: int, steps: int, device: str, seeds: Iterator[int]) -> list[nn.Module]:
    """Students trained one by one, by the training loop."""
    found = []
    for seed in seeds:
        model = models.build("convnet3", 10, side, seed)
        recipe = replace(run(_recipe(side, steps), seed=seed, report=Reporter()), device=device)
        train.train(model, _images(side, device), recipe)
        found.append(model)
    return found


def _stacked(side: int, steps: int, device: str) -> dict[str, torch.Tensor]:
    """All students at once; parameters and buffers with the students as first axis."""
    students = [models.placed(models.build("convnet3", 10, side, seed), device).train() for seed in range(STUDENTS)]
    parameters, buffers = stack_module_state(students)
    recipe = _recipe(side, steps)
    optimizer = torch.optim.SGD(list(parameters.values()), lr=SGD.lr, momentum=SGD.momentum, nesterov=True, fused=True)
    skeleton = students[0]

    def loss(parameters: Any, buffers: Any, images_nCHW: torch.Tensor, labels_n: torch.Tensor) -> torch.Tensor:
        return functional.cross_entropy(functional_call(skeleton, (parameters, buffers), (images_nCHW,)), labels_n)

    gradients = vmap(grad(loss))
    images = _images(side, device)
    plans = [feed.Plan(steps, recipe.batch, CROPS, seed, MEAN, STD) for seed in range(STUDENTS)]
    for batches in zip(*(feed.feed(images, plan) for plan in plans), strict=True):
        images_SnCHW = torch.stack([batch.images_nCHW for batch in batches])
        found = gradients(parameters, buffers, images_SnCHW, torch.stack([batch.labels_n for batch in batches]))
        for name, parameter in parameters.items():
            parameter.grad = found[name]
        set_learning_rate(optimizer, learning_rate(SGD, batches[0].step, steps))
        optimizer.step()
    return {**parameters, **buffers}


class Cost(NamedTuple):
    """Of one arm."""

    wall_s: float
    """From the common start of its processes to the end of the last."""
    cpu_s: float
    """Of all its processes: what other load on the machine changes least."""


def _in_forks(count: int, work: Callable[[int, int], object]) -> Cost:
    """Run `work(number, 0)` in so many forks that start together, each after a warm-up `work(number, steps)`."""
    barrier = multiprocessing.get_context("fork").Barrier(count)
    with tempfile.TemporaryDirectory() as folder:

        def child(number: int) -> None:
            train.configure(1)
            work(number, 3)
            barrier.wait(120)
            start_s, start_cpu_s = time.monotonic(), time.process_time()
            work(number, 0)
            found = [start_s, time.monotonic(), time.process_time() - start_cpu_s]
            (Path(folder) / str(number)).write_text(json.dumps(found))

        pids = [fork(lambda number=number: child(number)) for number in range(count)]
        deadline = time.monotonic() + 300
        while any(_alive(pid) for pid in pids) and time.monotonic() < deadline:
            time.sleep(0.05)
        assert [reap(pid) for pid in pids] == [0] * count
        starts, ends, used = zip(*(json.loads((Path(folder) / str(n)).read_text()) for n in range(count)), strict=True)
    return Cost(max(ends) - min(starts), sum(used))


def _alive(pid: int) -> bool:
    return os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT) is None


def _costs(side: int, steps: int, device: str) -> dict[str, Cost]:
    """Of each arm, medians of rounds in which all arms take turns."""

    def wait_for_device() -> None:
        if device == "cuda":
            torch.cuda.synchronize()

    def sequential(_number: int, warm_up: int) -> None:
        _separate(side, warm_up or steps, device, iter(range(STUDENTS)))
        wait_for_device()

    def process(number: int, warm_up: int) -> None:
        _separate(side, warm_up or steps, device, iter([number]))
        wait_for_device()

    def stacked(_number: int, warm_up: int) -> None:
        _stacked(side, warm_up or steps, device)
        wait_for_device()

    arms = {"sequential": (1, sequential), "processes": (STUDENTS, process), "stacked": (1, stacked)}
    rounds = [{name: _in_forks(*arm) for name, arm in arms.items()} for _ in range(ROUNDS)]
    return {
        name: Cost(*(statistics.median(column) for column in zip(*(r[name] for r in rounds), strict=True)))
        for name in arms
    }


def _compare(side: int, device: str) -> None:
    """Ten steps of the stacked run against the training loop, weights and batch-norm statistics."""
    together = _stacked(side, 10, device)
    for number, model in enumerate(_separate(side, 10, device, iter(range(STUDENTS)))):
        for name, value in model.state_dict().items():
            torch.testing.assert_close(
                together[name][number].detach(), value, rtol=0, atol=1e-4, msg=lambda m, n=name: f"{n}: {m}"
            )


def _report(side: int, steps: int, device: str) -> dict[str, Cost]:
    """Ratios to `sequential`: above 1 is faster, or less CPU time."""
    costs = _costs(side, steps, device)
    ratios = {
        name: Cost(*(a / b for a, b in zip(costs["sequential"], cost, strict=True))) for name, cost in costs.items()
    }
    told = ", ".join(
        f"{name} {cost.wall_s:.2f} s ({ratios[name].wall_s:.2f}×), CPU {cost.cpu_s:.2f} s ({ratios[name].cpu_s:.2f}×)"
        for name, cost in costs.items()
    )
    print(f"\n{STUDENTS} ConvNet-3, {side} px, {steps} steps, {device}: {told}")
    return ratios


@pytest.mark.parametrize(("side", "steps"), [(8, 60), (32, 6)])
def test_students_on_the_cpu(side: int, steps: int) -> None:
    """Stacked equals separate to 1e-4 over ten steps; processes side by side take no more CPU time than in a row."""
    train.configure(1)
    _compare(side, "cpu")
    assert _report(side, steps, "cpu")["processes"].cpu_s > GATE_RATIO


@pytest.mark.parametrize(("side", "steps"), [(8, 500), (32, 500)])
def test_students_on_a_gpu(side: int, steps: int) -> None:
    """The same on one GPU, where small steps leave most of it idle."""
    if not _sees_cuda():
        pytest.skip("no CUDA GPU that torch sees here")
    ratios = _report(side, steps, "cuda")
    pid = fork(lambda: _compare(side, "cuda"))
    assert reap(pid) == 0
    assert ratios["processes"].wall_s > GATE_RATIO


def _sees_cuda() -> bool:
    """Asked in a fork: this process must stay without a CUDA context, or its forks could not have one."""
    return reap(fork(lambda: int(not torch.cuda.is_available()))) == 0
