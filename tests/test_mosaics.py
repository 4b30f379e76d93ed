"""Mosaics, the boxes of their tiles, and who judges these."""

import numpy as np
import pytest
import torch
from torch import nn

from condhpc import mosaics, rng
from condhpc.mosaics import Jury
from condhpc.spec import CondenseSpec, DatasetSpec

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)


def test_mosaic_order() -> None:
    """Image i holds ranks i, n+i, 2n+i, 3n+i: top left, top right, bottom left, bottom right."""
    tiles = np.arange(12, dtype=np.uint8)[:, None, None, None].repeat(2, 1).repeat(2, 2).repeat(3, 3)
    found = mosaics.join(tiles, 2)
    assert found.shape == (3, 4, 4, 3)
    assert found[1, ::2, ::2, 0].tolist() == [[1, 4], [7, 10]]
    np.testing.assert_array_equal(mosaics.join(tiles, 1), tiles)


def test_crop_boxes() -> None:
    """Boxes are squares inside the image, of the share of the area that was asked for, in all places."""
    draw = rng.stream(0, "boxes")
    boxes = np.array([mosaics.square_box(draw, 40, 60, 0.2) for _ in range(2000)])
    sides = boxes[:, 2]
    np.testing.assert_array_equal(sides, boxes[:, 3])
    assert boxes[:, :2].min() == 0
    assert ((boxes[:, 0] + sides).max(), (boxes[:, 1] + sides).max()) == (40, 60)
    assert sides.min() == round((0.2 * 2400) ** 0.5)
    assert sides.max() == 40
    assert np.mean(sides**2 / 2400) == pytest.approx((0.2 + 40**2 / 2400) / 2, abs=0.02)


def test_crop_of_an_extreme_shape() -> None:
    """Where no square of the area fits, the largest centred square is taken."""
    assert mosaics.square_box(rng.stream(0, "thin"), 10, 1000, 0.9) == (0, 495, 10, 10)


def jury(networks: list[nn.Module], resolution: int, batch: int) -> Jury:
    """In single precision on a CPU."""
    dataset = DatasetSpec(name="tiny", loader="tiny", index="0", classes=4, resolution=resolution, mean=MEAN, std=STD)
    spec = CondenseSpec(
        dataset=dataset, kind="method", condenser="tiny", params={}, ipc=1, seed=0, resolution=resolution,
        precision="fp32",
    )  # fmt: skip
    return Jury(networks, spec, "cpu", batch)


class Linear(nn.Module):
    """Logits of all pixels."""

    def __init__(self, seed: int, resolution: int) -> None:
        super().__init__()
        values = rng.stream(seed, "linear").normal(size=(4, 3 * resolution**2)) / resolution
        self.weights_KD = torch.from_numpy(values.astype(np.float32))

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits (N, 4)."""
        return images_NCHW.flatten(1) @ self.weights_KD.T


@pytest.mark.parametrize(("side", "resolution"), [(4, 8), (3, 8), (8, 8)])
@pytest.mark.parametrize("batch", [1, 3, 100])
def test_losses_against_numpy(side: int, resolution: int, batch: int) -> None:
    """Cross-entropy of the networks' mean logits on images in the middle of normalised zeros; batches change nothing.

    Images of another size do not shine through.
    """
    networks = [Linear(seed, resolution) for seed in range(2)]
    draw = rng.stream(0, "judged")
    found = jury(networks, resolution, batch)
    found.losses(np.full((3, resolution, resolution, 3), 200, dtype=np.uint8), 0)
    images = draw.integers(0, 256, (7, side, side, 3), dtype=np.uint8)
    padded = np.zeros((7, resolution, resolution, 3))
    first = (resolution - side) // 2
    padded[:, first : first + side, first : first + side] = (images / 255 - MEAN) / STD
    pixels_ND = padded.transpose(0, 3, 1, 2).reshape(7, -1)
    logits_NK = sum(pixels_ND @ network.weights_KD.numpy().T.astype(float) for network in networks) / 2
    expected = np.log(np.exp(logits_NK).sum(axis=1)) - logits_NK[:, 2]
    np.testing.assert_allclose(found.losses(images, 2), expected, rtol=1e-4)


def test_parts_are_judged_in_batches() -> None:
    """However parts come, the images of a forward pass are those of the whole array."""
    seen: list[int] = []

    class Counting(Linear):
        def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
            seen.append(len(images_NCHW))
            return super().forward(images_NCHW)

    images = rng.stream(0, "parts").integers(0, 256, (11, 4, 4, 3), dtype=np.uint8)
    whole, losses = jury([Counting(0, 4)], 4, 4).judged((images[i : i + 2] for i in range(0, 11, 2)), 11, 1)
    assert seen == [4, 4, 3]
    np.testing.assert_array_equal(whole, images)
    np.testing.assert_array_equal(losses, jury([Linear(0, 4)], 4, 4).losses(images, 1))


def test_best_crops_against_brute_force() -> None:
    """Each image's best crop, images from best to worst; equal ones in the order in which they come."""
    losses_nk = rng.stream(0, "best").integers(0, 5, (40, 3)).astype(np.float32)
    rows = [(min(row), i, list(row).index(min(row))) for i, row in enumerate(losses_nk.tolist())]
    expected = [3 * i + k for _, i, k in sorted(rows)[:25]]
    assert mosaics.best(losses_nk, 25).tolist() == expected


@pytest.mark.parametrize("threads", [1, 3])
def test_threads_keep_the_order(threads: int) -> None:
    """Results come in the order of the positions; what one raises reaches the caller."""
    found = mosaics.in_threads(lambda position: np.full(2, position, dtype=np.uint8), range(20), threads)
    assert [int(part[0]) for part in found] == list(range(20))
    with pytest.raises(ZeroDivisionError):
        list(mosaics.in_threads(lambda position: np.full(1, 1 // position), [1, 0, 1], threads))


def test_cut_follows_boxes() -> None:
    """Boxes of one colour come out in that colour, top and left in this order."""
    image = np.zeros((20, 30, 3), dtype=np.uint8)
    image[5:15, 20:30] = 90
    assert (mosaics.cut(image, [(5, 20, 10, 10), (5, 10, 10, 10)], 4) == np.array([90, 0])[:, None, None, None]).all()
