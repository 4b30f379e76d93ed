"""What comparisons of one block cost: 11 condensers, 3 sets and 3 students each, 10,000 test images, 2,000 resamples.

Procedure: CPU seconds of one thread. The rival resamples in a plain loop, as analysis scripts do: draw the images,
index every student's bits by them, take the means. It draws the same images, and its accuracies must be equal; of its
2,000 resamples it does 50, whose time counts 40 times. Our side draws anew, adds up all accuracies and then judges the
block: the best and its ties among all pairs, differences to random, and the duel of the best of both sides, with
intervals. Both take turns, `PAIRS` times; median of the ratios within a pair. A paper's grid of 3 datasets, 3 ipc and
3 protocols has 27 such blocks.
"""

from __future__ import annotations

import statistics
import time
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from condhpc.cell_statistics import Evaluation, cell_statistics
from condhpc.paper import bootstrap
from condhpc.paper.blocks import Block, Place, Runs
from condhpc.paper.bootstrap import Arm
from condhpc.paper.judgement import Judged, judge
from condhpc.paper.spread import Seeds

IMAGES, LOOPS, PAIRS = 10_000, 50, 5
KINDS = {"random": "random", **{f"c{i}": "coreset" for i in range(3)}, **{f"m{i}": "method" for i in range(7)}}
SEEDS: list[Seeds] = [(of_set, of_student) for of_set in range(3) for of_student in range(3)]
GATE = 0.7 * 20.0


@pytest.fixture(scope="module")
def students() -> NDArray[np.uint8]:
    """Bits of all students, condenser by condenser."""
    draw = np.random.default_rng(0)
    levels = (
        0.4 + 0.01 * np.arange(len(KINDS)).repeat(len(SEEDS)) + 0.01 * draw.standard_normal(len(KINDS) * len(SEEDS))
    )
    return (draw.random((len(levels), IMAGES)) < levels[:, None]).astype(np.uint8)


def loop(right_RN: NDArray[np.uint8]) -> NDArray[np.float64]:
    """Accuracies (LOOPS, R), resample by resample."""
    draw = bootstrap.generator("images", "bench", IMAGES)
    found = []
    for _ in range(LOOPS):
        chosen = draw.integers(0, IMAGES, size=IMAGES, dtype=np.int32)
        found.append([right_N[chosen].mean() for right_N in right_RN])
    return np.array(found)


def ours(right_RN: NDArray[np.uint8]) -> tuple[NDArray[np.float64], Judged]:
    """All of a block."""
    bootstrap.image_counts.cache_clear()
    sums_BR = bootstrap.resampled(right_RN, "bench")
    cells = {name: runs(name, i, right_RN, sums_BR) for i, name in enumerate(KINDS)}
    return sums_BR, judge(Block(Place("bench", "erm", "convnet3"), 10, cells))


def runs(name: str, position: int, right_RN: NDArray[np.uint8], sums_BR: NDArray[np.float64]) -> Runs:
    """One condenser."""
    at = {seeds: position * len(SEEDS) + i for i, seeds in enumerate(SEEDS)}
    top1 = {seeds: float(right_RN[i].mean()) for seeds, i in at.items()}
    arm = Arm(top1, {s: right_RN[i] for s, i in at.items()}, {s: sums_BR[:, i] for s, i in at.items()}, {})
    found = cell_statistics(Evaluation(seeds[0], 100 * value) for seeds, value in top1.items())
    return Runs(name, KINDS[name], len(SEEDS), (), found, arm)


def timed(side: Any, *arguments: Any) -> tuple[float, Any]:
    """CPU seconds and the result."""
    start = time.process_time()
    found = side(*arguments)
    return time.process_time() - start, found


@pytest.mark.bench
def test_a_block(students: NDArray[np.uint8], capsys: pytest.CaptureFixture[str]) -> None:
    """Equal accuracies, many times faster, comparisons included."""
    ratios, taken = [], []
    for _ in range(PAIRS):
        loop_s, expected = timed(loop, students)
        our_s, (found, judged) = timed(ours, students)
        assert np.allclose(found[:LOOPS], expected, rtol=0, atol=1e-12)
        assert judged.duel is not None
        ratios.append(loop_s * bootstrap.RESAMPLES / LOOPS / our_s)
        taken.append(our_s)
    ratio = statistics.median(ratios)
    with capsys.disabled():
        print(
            f"\npaper: a block in {statistics.median(taken):.2f} s, {ratio:.0f} x a loop ({min(ratios):.0f} to "
            f"{max(ratios):.0f}; gate {GATE:.0f})"
        )
    assert ratio > GATE
