"""Coresets and set metrics on one NVIDIA GPU: the very sets and numbers of the CPU, and how much sooner.

Procedure: (1) `CLASSES` classes of 1,300 points with 512 numbers, float16, budget 50: all classes through
`selection.select_classes` on the GPU after a warm-up on one class, wall time with the device waited for at both ends,
against one CPU thread on the first `CHECKED` of them, scaled; the picks of these must be equal. Target of performance
on an H100 or H200: herding and k-center 50 times one core. (2) Coverage and density of 20,000 set points against
20,000 real ones, 512 numbers: the same against one CPU thread; values must agree to 1e-9. Without a GPU both are
skipped.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch

from condhpc import registry, rng, selection
from condhpc.coresets.base import ClassImages
from condhpc.metrics.base import Points, Scene

CLASSES, CHECKED, PER_CLASS, DIMENSIONS, BUDGET = 1000, 20, 1300, 512, 50
MEASURED = 20_000
STRATEGIES = ("herding", "kcenter", "facility_location", "kmedoids")
GPU = "cuda"

needs_gpu = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs an NVIDIA GPU, torch sees none")


def images_of(label: int) -> ClassImages:
    """A class of eight clouds that overlap."""
    draw = rng.stream(label, "gpu-sets")
    centres = 0.5 * draw.normal(size=(8, DIMENSIONS))
    vectors_ND = centres[np.arange(PER_CLASS) % 8] + draw.normal(size=(PER_CLASS, DIMENSIONS))
    return ClassImages(PER_CLASS, draw, vectors_ND.astype(np.float16))


def seconds(work: Callable[[], Any], device: str) -> tuple[float, Any]:
    """Wall time and what it returned, the device waited for at both ends."""
    wait = torch.cuda.synchronize if device.startswith("cuda") else (lambda: None)
    wait()
    started = time.perf_counter()
    found = work()
    wait()
    return time.perf_counter() - started, found


@needs_gpu
@pytest.mark.bench
@pytest.mark.parametrize("name", STRATEGIES)
def test_coresets(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """All classes at once on the GPU: equal sets."""
    torch.set_num_threads(1)
    plugin = registry.load("coresets", name)
    classes = [images_of(label) for label in range(CLASSES)]

    def select(count: int, device: str) -> list[np.ndarray]:
        return selection.select_classes(plugin, classes[:count], BUDGET, plugin.Params(), device=device)

    select(1, GPU)
    gpu_s, ours = seconds(lambda: select(CLASSES, GPU), GPU)
    cpu_s, theirs = seconds(lambda: select(CHECKED, "cpu"), "cpu")
    assert all(np.array_equal(*pair) for pair in zip(ours, theirs, strict=False))
    with capsys.disabled():
        ratio = cpu_s * CLASSES / CHECKED / gpu_s
        print(f"\n{name}, {CLASSES} classes: {gpu_s:.2f} s, {ratio:.0f} x one core of this machine", end="")


@needs_gpu
@pytest.mark.bench
@pytest.mark.parametrize("name", ["coverage", "density"])
def test_measures(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    """The same blocks on the GPU: equal numbers."""
    torch.set_num_threads(1)
    plugin = registry.load("metrics", name)
    draw = rng.stream(0, "gpu-sets", "measured")
    real_ND, set_MD = draw.normal(size=(2, MEASURED, DIMENSIONS)).astype(np.float32)
    points = Points(real_ND, set_MD, np.full(MEASURED, -1))

    def compute(device: str) -> Any:
        return plugin.compute(Scene([points], device), plugin.Params(pooled_points=0))

    compute(GPU)
    gpu_s, ours = seconds(lambda: compute(GPU), GPU)
    cpu_s, theirs = seconds(lambda: compute("cpu"), "cpu")
    assert ours.value == pytest.approx(theirs.value, rel=1e-9)
    with capsys.disabled():
        print(f"\n{name}, {MEASURED} x {MEASURED}: {gpu_s:.2f} s, {cpu_s / gpu_s:.0f} x one core", end="")
