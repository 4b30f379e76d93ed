"""RDED against its rule written out, and its checkpoints."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import MEAN, STD, MemorySplit, Recorder, TinyObserver, made, make_work

from condhpc.errors import StageError, Stopped
from condhpc.images import resized_crop
from condhpc.methods.base import Work
from condhpc.methods.rded import PLUGIN
from condhpc.mosaics import square_box

SMALL = {"crops": 3, "mipc": 10, "factor": 2}
RESOLUTION = 16


@pytest.fixture
def train() -> MemorySplit:
    """Three classes of twelve images."""
    return MemorySplit(3, 12, RESOLUTION)


def loss_by_definition(work: Work, label: int, tile: Image.Image) -> float:
    """Cross-entropy of the observer on one tile in the middle of a zero image."""
    side, gap = tile.size[0], (RESOLUTION - tile.size[0]) // 2
    image = torch.zeros(1, 3, RESOLUTION, RESOLUTION)
    for channel in range(3):
        values = np.asarray(tile)[..., channel].astype(np.float32) / 255
        normalised = torch.from_numpy((values - MEAN[channel]) / STD[channel])
        image[0, channel, gap : gap + side, gap : gap + side] = normalised
    logits = work.teachers["observer"](image)[0]
    return float(torch.logsumexp(logits, 0) - logits[label])


def by_definition(work: Work, label: int, factor: int) -> np.ndarray:
    """The class's mosaics, image by image and crop by crop."""
    ipc, side = work.spec.ipc, RESOLUTION // factor
    positions = [i for i, y in enumerate(work.train.labels_N) if y == label]
    order = work.stream("rded-order", label).permutation(len(positions))
    candidates: list[tuple[float, int, Image.Image]] = []
    for place, which in enumerate(order[: max(work.params.mipc, factor**2 * ipc)]):
        draw = work.stream("rded-crop", label, positions[which])
        image = Image.fromarray(work.train.raw(positions[which]))
        tiles: list[Image.Image] = []
        for _ in range(work.params.crops):
            box = square_box(draw, image.height, image.width, work.params.crop_scale_min)
            tiles.append(Image.fromarray(resized_crop(np.array(image), box, side)))
        losses = [loss_by_definition(work, label, tile) for tile in tiles]
        candidates.append((min(losses), place, tiles[losses.index(min(losses))]))
    ranked = [tile for _, _, tile in sorted(candidates, key=lambda c: c[:2])]
    images = np.zeros((ipc, RESOLUTION, RESOLUTION, 3), dtype=np.uint8)
    for i in range(ipc):
        for cell in range(factor**2):
            top, left = cell // factor * side, cell % factor * side
            images[i, top : top + side, left : left + side] = np.asarray(ranked[cell * ipc + i])
    return images


@pytest.mark.parametrize(
    "changes", [{}, {"factor": 1}, {"factor": 0}, {"mipc": 4}, {"crop_scale_min": 0.5}, {"score_batch": 4}]
)
def test_agrees_with_the_definition(train: MemorySplit, changes: dict[str, Any]) -> None:
    """Every mosaic is that of the rule written out, for all factors, also where mipc must grow."""
    work = make_work(PLUGIN, train, params=SMALL | changes)
    found = made(PLUGIN, train, params=SMALL | changes)
    factor = 2 if changes.get("factor", 2) == 2 else 1
    expected = np.concatenate([by_definition(work, label, factor) for label in range(3)])
    np.testing.assert_array_equal(found, expected)


def test_ties_go_to_the_first_in_order() -> None:
    """An observer with three opinions keeps the first best crop of each image, equal images in shuffled order."""

    class Coarse(TinyObserver):
        def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
            return super().forward(images_NCHW).sign()

    work = make_work(PLUGIN, MemorySplit(2, 60, RESOLUTION), params=SMALL | {"mipc": 60}, ipc=10)
    work = dataclasses.replace(work, teachers={"observer": Coarse(2)})
    np.testing.assert_array_equal(PLUGIN.class_images(work, 0), by_definition(work, 0, 2))


def test_threads_change_nothing(train: MemorySplit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Crops that are cut on several threads give the same set."""
    alone = made(PLUGIN, train, params=SMALL)
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    np.testing.assert_array_equal(made(PLUGIN, train, params=SMALL), alone)


def test_observer_sees_padded_crops_of_one_class(train: MemorySplit) -> None:
    """Each forward pass holds full-size images, zero outside the middle, of `score_batch` crops at most."""
    seen: list[np.ndarray] = []

    class Watching(TinyObserver):
        def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
            seen.append(images_NCHW.numpy().copy())
            return super().forward(images_NCHW)

    work = make_work(PLUGIN, train, params=SMALL | {"score_batch": 8})
    PLUGIN.class_images(dataclasses.replace(work, teachers={"observer": Watching(3)}), 1)
    assert [len(images) for images in seen] == [8, 8, 8, 6]
    for images in seen:
        assert images.shape[1:] == (3, RESOLUTION, RESOLUTION)
        assert np.abs(images[:, :, 4:12, 4:12]).sum() > 0
        images[:, :, 4:12, 4:12] = 0
        assert not images.any()


def test_class_too_small(train: MemorySplit) -> None:
    """Fewer images than tiles is an error with both numbers, not a mosaic with holes."""
    with pytest.raises(StageError, match=r"class 0 has 12 images; ipc = 4 .* needs 16"):
        made(PLUGIN, train, params=SMALL, ipc=4)
    assert len(made(PLUGIN, train, params=SMALL, ipc=3)) == 9


def test_diverged_observer(train: MemorySplit) -> None:
    """A loss that is not a number stops the stage instead of ranking crops by it."""
    work = make_work(PLUGIN, train, params=SMALL)
    work.teachers["observer"].weights[1] = torch.nan
    with pytest.raises(StageError, match="loss of observer 'single' is not finite"):
        PLUGIN.class_images(work, 0)


def test_a_resumed_attempt_reads_only_what_is_missing(train: MemorySplit, tmp_path: Path) -> None:
    """Stopped after two classes, a second attempt looks at the third alone and ends with the same set."""
    whole = made(PLUGIN, train, params=SMALL)
    with pytest.raises(Stopped):
        made(PLUGIN, train, params=SMALL, report=Recorder(tmp_path, stop_at=2))
    train.reads = [0] * len(train)
    again = Recorder(tmp_path)
    np.testing.assert_array_equal(made(PLUGIN, train, params=SMALL, report=again), whole)
    assert again.ticks == [(3, 3)]
    assert {int(train.labels_N[p]) for p, count in enumerate(train.reads) if count} == {2}
