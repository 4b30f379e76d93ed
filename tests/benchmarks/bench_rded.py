"""RDED's crops, from files to what the observer sees, against the way of its code: PIL and float tensors, one by one.

Procedure: `IMAGES` synthetic JPEGs of about 500 × 400 px and 90 kB, one thread, CPU seconds of this process. Both sides
decode each file, cut the same `CROPS` boxes of it at 112 px, and put them normalised into the middle of zeros of
224 px, in batches as large as the method's. Alternating pairs after one unmeasured pass of each; the median of the
pairs' ratios counts. The observer's forward pass is the same on both sides and no part of it; the ratio with the pass
of a ResNet-18 is the second test. Equal picks, asserted before: by the losses of a linear observer both sides keep the
same crop of each image, and the same images are the best `KEPT`. (Among these, images whose losses differ by less than
rounding to grey levels makes may change places, which moves a tile within the set.)
"""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torchvision.transforms import functional as tv

from condhpc import models, mosaics, registry, rng
from condhpc.datasets.base import Split
from condhpc.mosaics import Jury
from condhpc.spec import CondenseSpec, DatasetSpec
from tests.benchmarks.bench_loader import cpu_s, ratios, texture

pytestmark = pytest.mark.bench

IMAGES, CROPS, SIDE_PX, TILE_PX, BATCH = 60, 5, 224, 112, 250
KEPT, FEW, FEW_KEPT = 24, 12, 5
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
TARGET_RATIO = 2.5
MEASURED_RATIO = 3.1
GATE_RATIO = 0.7 * MEASURED_RATIO
MEASURED_WITH_PASS = 1.02
GATE_WITH_PASS = 0.7 * MEASURED_WITH_PASS


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train/a/*.JPEG`, and a small `test` beside it."""
    home = tmp_path_factory.mktemp("jpegs")
    draw = rng.stream(0, "bench-rded")
    for split, count in (("train", IMAGES), ("test", 1)):
        (home / split / "a").mkdir(parents=True)
        for i in range(count):
            texture(draw).save(home / split / "a" / f"{i:04}.JPEG", quality=92)
    return home


Boxes = list[list[tuple[int, int, int, int]]]


def boxes_of(paths: list[Path]) -> Boxes:
    """Of each image (top, left, height, width), drawn as the method draws them."""
    found = []
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            width, height = image.size
        draw = rng.stream(0, "bench-crop", i)
        found.append([mosaics.square_box(draw, height, width, 0.08) for _ in range(CROPS)])
    return found


def rival_batches(paths: list[Path], boxes: Boxes) -> Iterator[torch.Tensor]:
    """Padded batches (n, 3, R, R), every image decoded by PIL and cut as a float tensor."""
    gap = (SIDE_PX - TILE_PX) // 2
    waiting: list[torch.Tensor] = []
    for i, path in enumerate(paths):
        with Image.open(path) as image:
            image_CHW = tv.to_tensor(image.convert("RGB"))
        crops = [tv.resized_crop(image_CHW, *box, [TILE_PX, TILE_PX], antialias=True) for box in boxes[i]]
        waiting.append(tv.normalize(torch.stack(crops), MEAN, STD))
        if len(waiting) * CROPS == BATCH or i == len(paths) - 1:
            yield torch.nn.functional.pad(torch.cat(waiting), (gap, gap, gap, gap))
            waiting = []


class Watching(torch.nn.Module):
    """In the observer's place: hands batches on and answers with an even opinion."""

    def __init__(self, see: Callable[[torch.Tensor], object]) -> None:
        super().__init__()
        self._see = see

    def forward(self, images_nCRR: torch.Tensor) -> torch.Tensor:
        """Logits (n, 2)."""
        self._see(images_nCRR)
        return torch.zeros(len(images_nCRR), 2)


class Pooled(torch.nn.Module):
    """A linear classifier of 28 × 28 averages with random weights, in the place of an observer that was trained.

    NOTE: it must not fold: to a deep network of random weights many crops are equally good up to rounding.
    """

    def __init__(self) -> None:
        super().__init__()
        draw = rng.stream(0, "bench-observer")
        self.weights_KD = torch.from_numpy(draw.normal(size=(10, 3 * 28 * 28)).astype(np.float32)) / 10

    def forward(self, images_nCRR: torch.Tensor) -> torch.Tensor:
        """Logits (n, 10)."""
        return torch.nn.functional.avg_pool2d(images_nCRR, 8).flatten(1) @ self.weights_KD.T


class Deep(Pooled):
    """The opinion of `Pooled` at the cost of a ResNet-18: one of random weights has none of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.network = models.placed(models.frozen(models.build("resnet18", 10, SIDE_PX, seed=0)), "cpu")

    def forward(self, images_nCRR: torch.Tensor) -> torch.Tensor:
        """Logits (n, 10)."""
        self.network(images_nCRR)
        return super().forward(images_nCRR)


def jury(observer: torch.nn.Module) -> Jury:
    """That of the method."""
    dataset = DatasetSpec(
        name="bench", loader="image_folder", index="0", classes=1, resolution=SIDE_PX, mean=MEAN, std=STD
    )
    spec = CondenseSpec(
        dataset=dataset, kind="method", condenser="rded", params={}, ipc=1, seed=0, resolution=SIDE_PX, precision="fp32"
    )
    return Jury([observer], spec, "cpu", BATCH)


def ours(split: Split, boxes: Boxes, observer: torch.nn.Module) -> np.ndarray:
    """Losses (images, crops)."""
    parts = (mosaics.cut(split.glimpse(i), boxes_k, TILE_PX) for i, boxes_k in enumerate(boxes))
    return jury(observer).judged(parts, len(boxes) * CROPS, 0)[1].reshape(-1, CROPS)


def rival(paths: list[Path], boxes: Boxes, observer: torch.nn.Module) -> np.ndarray:
    """Losses (images, crops)."""
    losses = []
    with torch.inference_mode():
        for images_nCRR in rival_batches(paths, boxes):
            logits_nK = observer(images_nCRR)
            labels_n = torch.zeros(len(logits_nK), dtype=torch.int64)
            losses.append(torch.nn.functional.cross_entropy(logits_nK, labels_n, reduction="none"))
    return torch.cat(losses).numpy().reshape(-1, CROPS)


def picks(losses_nk: np.ndarray, kept: int) -> tuple[list[int], list[int]]:
    """Of each image the best crop, and so many best images."""
    return losses_nk.argmin(axis=1).tolist(), sorted(np.argsort(losses_nk.min(axis=1), kind="stable")[:kept].tolist())


def test_crops_cost_a_fraction_of_float_crops(folder: Path) -> None:
    """Equal picks at less than half of the CPU time; the gate is 70 % of what was measured."""
    plugin = registry.load("datasets", "image_folder")
    split = plugin.split(plugin.index(folder), folder, "train", SIDE_PX)
    paths = sorted((folder / "train" / "a").iterdir())
    boxes = boxes_of(paths)
    found_nk, expected_nk = ours(split, boxes, Pooled()), rival(paths, boxes, Pooled())
    assert np.abs(found_nk - expected_nk).max() < 0.05 * expected_nk.std()
    assert picks(found_nk, KEPT) == picks(expected_nk, KEPT)
    even = Watching(len)
    found = ratios(partial(rival, paths, boxes, even), partial(ours, split, boxes, even))
    rate = IMAGES / cpu_s(partial(ours, split, boxes, even))
    ratio = statistics.median(found)
    print(
        f"\nRDED's crops: {rate:.0f} images/s and core, {CROPS} crops each; {ratio:.2f} × PIL and float tensors "
        f"({found[0]:.2f}-{found[-1]:.2f}; target {TARGET_RATIO}, gate {GATE_RATIO:.2f})"
    )
    assert ratio >= GATE_RATIO


def test_with_the_observers_pass(folder: Path) -> None:
    """What is left of it on a CPU once a ResNet-18 looks at every crop: equal picks, and no slower than its gate."""
    plugin = registry.load("datasets", "image_folder")
    split = plugin.split(plugin.index(folder), folder, "train", SIDE_PX)
    paths = sorted((folder / "train" / "a").iterdir())[:FEW]
    boxes, observer = boxes_of(paths), Deep()
    assert picks(ours(split, boxes, observer), FEW_KEPT) == picks(rival(paths, boxes, observer), FEW_KEPT)
    rival_s, ours_s = cpu_s(partial(rival, paths, boxes, observer)), cpu_s(partial(ours, split, boxes, observer))
    ratio = rival_s / ours_s
    print(
        f"\nwith a ResNet-18's pass: {ratio:.2f} ×, {FEW / ours_s:.1f} images/s and core (one pair; gate "
        f"{GATE_WITH_PASS:.2f})"
    )
    assert ratio >= GATE_WITH_PASS
