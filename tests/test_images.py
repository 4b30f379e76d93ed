"""Sources of batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_training import bits, digits, few_digits, run, student, training

from condhpc import images, train
from condhpc.images import ResidentImages, StreamedImages


def test_both_sources_hand_out_the_same_batches() -> None:
    """Where images live changes nothing: same pixels, same labels, same side."""
    split = digits("test")
    resident, streamed = images.images_of(split, "cpu"), StreamedImages(split, "cpu")
    positions_n = np.array([7, 3, 3, 200])
    assert isinstance(resident, ResidentImages)
    assert torch.equal(resident.read(positions_n), streamed.read(positions_n))
    assert torch.equal(resident.labels_N, streamed.labels_N)
    assert (len(resident), resident.side) == (len(streamed), streamed.side) == (len(split), 8)


def test_large_splits_are_streamed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the bound a split is not read whole."""
    monkeypatch.setattr(images, "RESIDENT_BYTES", 1000)
    assert isinstance(images.images_of(digits("test"), "cpu"), StreamedImages)


def test_training_does_not_depend_on_the_source() -> None:
    """A teacher of a streamed split ends in the same bits as one of a resident split."""
    split = digits("train")
    recipe = run(training(4, 64))
    resident, streamed = student(), student()
    train.train(resident, images.images_of(split, "cpu"), recipe)
    train.train(streamed, StreamedImages(split, "cpu"), recipe)
    assert bits(resident) == bits(streamed)


def test_resident_images_are_read_by_position() -> None:
    """Order and repetition are the caller's."""
    source = few_digits(10)
    assert torch.equal(source.read(np.array([9, 0, 9]))[2], source.images_NHWC[9])
