"""Parts of batches: together they are the batch."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import pytest
import torch
from made_training import MEAN, STD, few_digits

from condhpc import feed, parts
from condhpc.augment import Draws, Mix
from condhpc.joining import Place
from condhpc.spec import Augment, RandAugment


@pytest.mark.parametrize(("count", "ranks"), [(20, 1), (20, 3), (7, 4), (2, 5)])
def test_parts_cover_a_batch_once(count: int, ranks: int) -> None:
    """Contiguous, in order, without a gap, and even up to one image."""
    ends = [parts.part_of(count, Place(rank, ranks)) for rank in range(ranks)]
    assert [row for start, stop in ends for row in range(start, stop)] == list(range(count))
    sizes = [stop - start for start, stop in ends]
    assert max(sizes) - min(sizes) <= 1


class _Nested(NamedTuple):
    kind_LN: np.ndarray
    size_N: np.ndarray


def test_what_was_drawn_is_taken_along_the_axis_of_images() -> None:
    """The N in a name says which axis; partners are counted among the rows taken, the others mix with themselves."""
    mix = Mix(np.array([2, 3, 0, 1]), 0, 0, 4, 4, 0.5)
    nested = _Nested(np.arange(8).reshape(2, 4), np.arange(4))
    draws = Draws(boxes_N4=np.arange(16).reshape(4, 4), flips_N=nested, mix=mix)  # type: ignore[arg-type]
    rows_m = parts.needed_rows(mix, 1, 2)
    assert rows_m.tolist() == [1, 3]
    found = parts.drawn_for(draws, rows_m)
    assert found.boxes_N4.tolist() == [[4, 5, 6, 7], [12, 13, 14, 15]]  # type: ignore[union-attr]
    assert found.flips_N.kind_LN.tolist() == [[1, 3], [5, 7]]  # type: ignore[union-attr]
    assert found.flips_N.size_N.tolist() == [1, 3]  # type: ignore[union-attr]
    assert found.mix is not None
    assert found.mix.partner_N.tolist() == [1, 0]
    assert found.mix.own_share == 0.5


_FULL = [
    Augment(crop_scale_min=0.6, flip=True, cutmix_alpha=1.0),
    Augment(crop_scale_min=1.0, flip=False, cutmix_alpha=0.0),
    Augment(
        crop_scale_min=0.6,
        flip=True,
        cutmix_alpha=0.0,
        mixup_alpha=0.8,
        patch_shuffle=2,
        randaugment=RandAugment(operations=2, magnitude=6.0, magnitude_std=1.0),
        color_jitter=0.4,
        lighting_std=0.1,
    ),
]


@pytest.mark.parametrize("augment", _FULL, ids=["mixed", "plain", "everything"])
@pytest.mark.parametrize("ranks", [2, 3])
def test_fed_in_parts_a_batch_is_the_same(augment: Augment, ranks: int) -> None:
    """Images, unmixed images, labels, partners' labels and positions of all ranks, joined, are one process's batch.

    So are the rows of labels in training order, and the shares add up to one.
    """
    plan = feed.Plan(5, 8, augment, 3, MEAN, STD)
    images = few_digits(19)
    of_ranks = [list(feed.feed(images, plan, 0, Place(rank, ranks))) for rank in range(ranks)]
    for whole, *found in zip(feed.feed(images, plan), *of_ranks, strict=True):
        for name in ("images_nCHW", "unmixed_nCHW", "labels_n", "partner_labels_n"):
            joined = torch.cat([getattr(part, name) for part in found])
            torch.testing.assert_close(joined, getattr(whole, name), rtol=0, atol=1e-6, msg=name)
        assert np.array_equal(np.concatenate([part.positions_n for part in found]), whole.positions_n)
        assert [part.row for part in found] == [whole.row + part.start for part in found]
        assert sum(part.share for part in found) == pytest.approx(1.0)
        assert all(np.array_equal(part.whole_positions_N, whole.positions_n) for part in found)
