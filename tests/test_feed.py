"""Batches of a training."""

from __future__ import annotations

import math

import msgspec
import numpy as np
import pytest
import torch
from made_training import MEAN, STD, digits, few_digits

from condhpc import augment, feed, rng
from condhpc.errors import StageError
from condhpc.images import StreamedImages, draw_crops
from condhpc.joining import Place
from condhpc.spec import Augment

AUGMENT = Augment(crop_scale_min=0.6, flip=True, cutmix_alpha=1.0)


def plan(steps: int, batch: int = 6, seed: int = 3) -> feed.Plan:
    """Crops, mirrored, mixed."""
    return feed.Plan(steps, batch, AUGMENT, seed, MEAN, STD)


@pytest.mark.parametrize(
    ("count", "batch", "sizes"),
    [
        (10, 10, [10]),
        (10, 20, [10]),
        (10, 4, [4, 4, 2]),
        (9, 4, [4, 3, 2]),
        (3, 2, None),
        (5, 1, None),
        (1, 10, None),
        (4, 2, [2, 2]),
        (4, 3, [2, 2]),
    ],
)
def test_an_epoch_in_batches(count: int, batch: int, sizes: list[int] | None) -> None:
    """⌈N / batch⌉ batches, the last may be short, and none is a single image, which has no batch statistics."""
    if sizes is None:
        with pytest.raises(StageError, match=f"{count} images in batches of {batch} leave an image alone"):
            list(feed.batches(count, batch, 0, 0, 1))
        return
    per_epoch = len(sizes)
    assert per_epoch == math.ceil(count / batch)
    found = list(feed.batches(count, batch, 0, 0, 2 * per_epoch))
    assert [len(positions) for _, _, positions in found] == 2 * sizes
    assert [epoch for _, epoch, _ in found] == [0] * per_epoch + [1] * per_epoch
    for epoch in (0, 1):
        of_epoch = np.concatenate([positions for _, e, positions in found if e == epoch])
        assert sorted(of_epoch) == list(range(count))


def test_order_is_new_in_each_epoch_and_the_same_after_a_resume() -> None:
    """An epoch's permutation depends on seed and epoch alone."""
    whole = list(feed.batches(20, 6, 3, 0, 8))
    late = list(feed.batches(20, 6, 3, 5, 8))
    assert [p.tolist() for _, _, p in late] == [p.tolist() for _, _, p in whole[5:]]
    assert [s for s, _, _ in late] == [5, 6, 7]
    assert whole[0][2].tolist() != whole[4][2].tolist()
    other_seed = next(iter(feed.batches(20, 6, 4, 0, 1)))
    assert whole[0][2].tolist() != other_seed[2].tolist()


def test_epochs_counts_those_begun() -> None:
    """Dynamics have a row for each epoch that the steps begin."""
    assert [feed.epochs(50, 20, steps) for steps in (1, 3, 4, 9)] == [1, 1, 2, 3]


def test_a_batch_is_what_its_streams_say() -> None:
    """Images are those at its positions, augmented by the step's own draws; mixing is the last thing done."""
    source = few_digits(20)
    for batch in feed.feed(source, plan(5)):
        draws = augment.draw(AUGMENT, len(batch.positions_n), 8, rng.stream(3, "augment", batch.step))
        whole = augment.apply(source.read(batch.positions_n), draws, MEAN, STD)
        assert torch.equal(batch.images_nCHW, whole)
        assert torch.equal(batch.labels_n, source.labels_N[batch.positions_n])


def test_rows_count_images_in_training_order() -> None:
    """Each batch's labels begin where those of the one before it end, over epochs and short batches."""
    found = list(feed.feed(few_digits(20), plan(9)))
    sizes = [len(batch.positions_n) for batch in found]
    assert [batch.row for batch in found] == np.concatenate([[0], np.cumsum(sizes)[:-1]]).tolist()
    assert [feed.rows(20, 6, steps) for steps in range(10)] == [0, *np.cumsum(sizes).tolist()]


def test_a_feed_that_begins_late_gives_the_same_batches() -> None:
    """What a resume and the writing of labels rest on."""
    whole, late = list(feed.feed(few_digits(20), plan(7))), list(feed.feed(few_digits(20), plan(7), first=4))
    assert [(b.step, b.row, b.epoch) for b in late] == [(b.step, b.row, b.epoch) for b in whole[4:]]
    assert all(torch.equal(a.images_nCHW, b.images_nCHW) for a, b in zip(whole[4:], late, strict=True))


def test_without_mixing_nothing_is_copied() -> None:
    """The unmixed batch is the batch."""
    plain = feed.Plan(1, 6, Augment(crop_scale_min=0.6, flip=False, cutmix_alpha=0.0), 0, MEAN, STD)
    (batch,) = feed.feed(few_digits(20), plain)
    assert batch.mix is None
    assert batch.unmixed_nCHW is batch.images_nCHW


def test_streamed_images_are_cropped_while_they_are_decoded() -> None:
    """Crops come out of the stored images by a stream of their own; mirrors and mixing are as for resident ones."""
    split = digits("train")
    source = StreamedImages(split, "cpu", 2)
    for batch in feed.feed(source, plan(3, batch=50)):
        count = len(batch.positions_n)
        crops = draw_crops(count, AUGMENT.crop_scale_min, rng.stream(3, "crop", batch.step))
        plain = msgspec.structs.replace(AUGMENT, crop_scale_min=1.0)
        draws = augment.draw(plain, count, 8, rng.stream(3, "augment", batch.step))
        expected_nCHW = augment.apply(source.cropped(batch.positions_n, crops), draws, MEAN, STD)
        assert torch.equal(batch.images_nCHW, expected_nCHW)


def test_parts_of_streamed_batches_join_to_the_whole() -> None:
    """Each rank decodes what it needs, and the ranks' images are those of one process."""
    whole = list(feed.feed(StreamedImages(digits("train"), "cpu"), plan(2, batch=30)))
    parts = [
        list(feed.feed(StreamedImages(digits("train"), "cpu"), plan(2, batch=30), 0, Place(r, 3))) for r in range(3)
    ]
    for step, batch in enumerate(whole):
        joined_nCHW = torch.cat([part[step].images_nCHW for part in parts])
        assert torch.allclose(joined_nCHW, batch.images_nCHW, atol=1e-5)
