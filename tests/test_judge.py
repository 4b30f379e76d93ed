"""The test pass."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_training import MEAN, STD, bits, digits, few_digits, run, student, training
from torch import nn

from condhpc import augment, images, judge, train


def test_score_is_the_plain_test() -> None:
    """Argmax against labels image by image, in eval mode, and the mean cross-entropy."""
    model = student()
    train.train(model, few_digits(50), run(training(5, 50)))
    split = digits("test")
    found = judge.score(model.train(), images.images_of(split, "cpu"), MEAN, STD, "cpu")
    everything = torch.from_numpy(split.read(np.arange(len(split))))
    logits_NK = model.eval()(augment.plain(everything, MEAN, STD)).detach()
    labels_N = torch.from_numpy(split.labels_N)
    assert np.array_equal(found.correct_N, (logits_NK.argmax(1) == labels_N).numpy())
    assert found.top1_pct == pytest.approx(100 * np.mean(found.correct_N))
    assert found.loss == pytest.approx(float(nn.functional.cross_entropy(logits_NK, labels_N)), rel=1e-5)


def test_a_test_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Testing leaves weights and batch statistics as they were, whatever the size of its batches."""
    model = student()
    train.train(model, few_digits(50), run(training(5, 50)))
    held = bits(model)
    source = images.images_of(digits("test"), "cpu")
    first = judge.score(model, source, MEAN, STD, "cpu")
    monkeypatch.setattr(judge, "TEST_BATCH", 7)
    assert np.array_equal(judge.score(model, source, MEAN, STD, "cpu").correct_N, first.correct_N)
    assert bits(model) == held


def test_a_test_on_chosen_images_is_the_test_of_these() -> None:
    """Positions select images and labels together."""
    model = student()
    train.train(model, few_digits(50), run(training(5, 50)))
    source = images.images_of(digits("test"), "cpu")
    whole = judge.score(model, source, MEAN, STD, "cpu")
    chosen_N = np.array([3, 100, 7, 250])
    some = judge.score(model, source, MEAN, STD, "cpu", chosen_N)
    assert np.array_equal(some.correct_N, whole.correct_N[chosen_N])
    assert np.array_equal(some.predicted_N, whole.predicted_N[chosen_N])


def test_first_of_each_class_are_the_first() -> None:
    """At most so many of each class, in the order of the split, however classes are interleaved."""
    labels_N = np.array([2, 0, 0, 1, 0, 2, 1, 2, 2])
    assert judge.first_of_each_class(labels_N, 2).tolist() == [0, 1, 2, 3, 5, 6]
    assert judge.first_of_each_class(labels_N, 9).tolist() == list(range(9))
