"""Full-size JPEGs as training batches: against torchvision's ImageFolder with Pillow; pack against folder.

Procedure: `IMAGES` synthetic JPEGs of about 500 × 400 px and 100 kB (smooth random textures under noise), one thread,
CPU seconds of this process, `PAIRS` alternating pairs after one unmeasured pass of each, median of the pairs' ratios.
The rival is what training scripts do: ImageFolder, RandomResizedCrop, RandomHorizontalFlip, ToTensor. Equal results:
with the same boxes both give the same pixels, two grey levels apart at most, and 0.5 on average. Second arm: the same
images through a pack of the folder; tensors must be equal.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from condhpc import images, packing, registry, rng
from condhpc.images import StreamedImages

pytestmark = pytest.mark.bench

IMAGES, SIDE_PX, SCALE_MIN = 300, 224, 0.08
PAIRS = 7
TARGET_RATIO, TARGET_PACK_RATIO = 1.7, 0.95
MEASURED_RATIO = 1.9
GATE_RATIO = 0.7 * MEASURED_RATIO


def texture(draw: np.random.Generator) -> Image.Image:
    """Smooth random colours on four scales, and noise."""
    height, width = (int(side) for side in draw.integers((340, 420), (460, 580)))
    sum_HWC = draw.normal(0, 7.0, (height, width, 3))
    for cell_px in (4, 9, 25, 60):
        coarse = draw.integers(0, 256, (height // cell_px, width // cell_px, 3), dtype=np.uint8)
        sum_HWC += np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)) / 4
    return Image.fromarray(sum_HWC.clip(0, 255).astype(np.uint8))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`train/<class>/*.JPEG` of two classes, and a small `test` beside it."""
    home = tmp_path_factory.mktemp("jpegs")
    draw = rng.stream(0, "bench-loader")
    for split, count in (("train", IMAGES), ("test", 2)):
        for i in range(count):
            path = home / split / "ab"[i % 2] / f"{i:04}.JPEG"
            path.parent.mkdir(parents=True, exist_ok=True)
            texture(draw).save(path, quality=92)
    return home


def source_of(home: Path) -> StreamedImages:
    """The training split of a folder or a pack."""
    plugin = registry.load("datasets", "image_folder")
    return StreamedImages(plugin.split(plugin.index(home), home, "train", SIDE_PX), "cpu")


def all_crops(source: StreamedImages) -> torch.Tensor:
    """One pass in file order."""
    return source.cropped(np.arange(len(source)), images.draw_crops(len(source), SCALE_MIN, rng.stream(0, "crop")))


def rival_pass(home: Path) -> None:
    """One pass of ImageFolder in file order, in this process as a DataLoader's worker does it."""
    from torchvision import datasets, transforms

    recipe = [transforms.RandomResizedCrop(SIDE_PX), transforms.RandomHorizontalFlip(), transforms.ToTensor()]
    files = datasets.ImageFolder(str(home / "train"), transforms.Compose(recipe))
    torch.stack([files[i][0] for i in range(len(files))])


def cpu_s(call: Callable[[], object]) -> float:
    """CPU seconds of all threads of this process."""
    began = time.process_time()
    call()
    return time.process_time() - began


def ratios(rival: Callable[[], object], ours: Callable[[], object]) -> list[float]:
    """Of alternating pairs, sorted."""
    cpu_s(rival), cpu_s(ours)
    return sorted(cpu_s(rival) / cpu_s(ours) for _ in range(PAIRS))


def require_equal_pixels(home: Path) -> None:
    """The same boxes, cut and resized by Pillow."""
    from torchvision import datasets

    found = all_crops(source_of(home)).numpy()
    draws = images.draw_crops(IMAGES, SCALE_MIN, rng.stream(0, "crop"))
    files = datasets.ImageFolder(str(home / "train"))
    errors = []
    for row in range(IMAGES):
        whole = files[row][0]
        top, left, height, width = images.crop_box(draws, row, whole.height, whole.width)
        cut = whole.crop((left, top, left + width, top + height)).resize((SIDE_PX, SIDE_PX), Image.Resampling.BILINEAR)
        errors.append(np.abs(found[row].astype(int) - np.asarray(cut)))
    assert np.max(errors) <= 2
    assert np.mean(errors) <= 0.5


def test_full_size_loading_beats_image_folder(folder: Path) -> None:
    """Equal pixels at a fraction of the CPU time; the gate is 70 % of what was measured."""
    require_equal_pixels(folder)
    source = source_of(folder)
    found = ratios(lambda: rival_pass(folder), lambda: all_crops(source))
    rate = IMAGES / cpu_s(lambda: all_crops(source))
    bytes_each = sum(path.stat().st_size for path in (folder / "train").rglob("*.JPEG")) / IMAGES
    ratio = statistics.median(found)
    print(
        f"\nfull-size loader: {rate:.0f} images/s and core, {bytes_each / 1000:.0f} kB each; {ratio:.2f} × ImageFolder "
        f"({found[0]:.2f}-{found[-1]:.2f}; target {TARGET_RATIO}, gate {GATE_RATIO:.2f})"
    )
    assert ratio >= GATE_RATIO


def test_a_pack_is_as_fast_as_its_folder(folder: Path, tmp_path: Path) -> None:
    """The same tensors from one file, at no less speed."""
    plugin = registry.load("datasets", "image_folder")
    index = plugin.index(folder)
    splits = {name: plugin.split(index, folder, name, SIDE_PX) for name in index.splits}
    path = tmp_path / "images.h5"
    packing.pack(index, splits, path, 2, lambda _done: None)
    loose, packed = source_of(folder), source_of(path)
    assert torch.equal(all_crops(loose), all_crops(packed))
    found = ratios(lambda: all_crops(loose), lambda: all_crops(packed))
    ratio = statistics.median(found)
    print(f"\npack against folder: {ratio:.3f} ({found[0]:.3f}-{found[-1]:.3f}; target {TARGET_PACK_RATIO})")
    assert ratio >= TARGET_PACK_RATIO
