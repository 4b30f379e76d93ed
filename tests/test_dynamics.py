"""What a teacher's training leaves behind."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from made_training import few_digits, run, student, training

from condhpc import train
from condhpc.dynamics import Dynamics


def test_numbers_of_one_batch() -> None:
    """Margin, correctness and EL2N of hand-made logits."""
    held = Dynamics(2, 4, "cpu")
    logits_nK = torch.tensor([[3.0, 1.0, 0.0], [0.0, 0.5, 2.0]])
    held.note(1, np.array([2, 0]), logits_nK, torch.tensor([0, 1]))
    assert held.margin_EN[1, 2] == 2.0
    assert held.margin_EN[1, 0] == -1.5
    assert held.correct_EN[1].tolist() == [False, False, True, False]
    probabilities = np.exp([0.0, 0.5, 2.0]) / np.exp([0.0, 0.5, 2.0]).sum()
    assert float(held.el2n_EN[1, 0]) == pytest.approx(np.linalg.norm(probabilities - [0, 1, 0]), abs=1e-3)
    assert math.isnan(float(held.margin_EN[0, 0]))
    assert math.isnan(float(held.el2n_EN[1, 1]))


def test_a_tie_is_not_correct() -> None:
    """A network that gives all classes the same logit has learnt nothing about any image."""
    held = Dynamics(1, 1, "cpu")
    held.note(0, np.array([0]), torch.zeros(1, 3), torch.tensor([0]))
    assert (float(held.margin_EN[0, 0]), bool(held.correct_EN[0, 0])) == (0.0, False)


def test_training_notes_every_image_once_per_epoch() -> None:
    """After whole epochs no number is missing, and the margin's sign is the correctness."""
    held = Dynamics(3, 50, "cpu")
    train.train(student(), few_digits(50), run(training(9, 20)), held)
    assert bool(torch.isfinite(held.margin_EN).all())
    assert torch.equal(held.margin_EN > 0, held.correct_EN & (held.margin_EN != 0))
    assert bool((held.el2n_EN >= 0).all())
    assert bool((held.el2n_EN <= math.sqrt(2) + 0.01).all())


def test_an_epoch_cut_short_leaves_gaps() -> None:
    """Images that the last steps did not reach are NaN, not zero."""
    held = Dynamics(2, 50, "cpu")
    train.train(student(), few_digits(50), run(training(4, 20)), held)
    assert int(torch.isnan(held.margin_EN[1]).sum()) == 30


def test_numbers_are_those_of_the_training_batches() -> None:
    """The first step's margins are those of the untrained network in train mode on the augmented batch."""
    from condhpc import augment, rng

    recipe = training(1, 50)
    source = few_digits(50)
    held = Dynamics(1, 50, "cpu")
    expected_of = student().train()
    train.train(student(), source, run(recipe), held)
    positions_n = rng.stream(0, "order", 0).permutation(50)
    draws = augment.draw(recipe.augment, 50, 8, rng.stream(0, "augment", 0))
    logits_nK = expected_of(augment.apply(source.read(positions_n), draws, (0.3,) * 3, (0.4,) * 3))
    labels_n = source.labels_N[positions_n]
    others_nK = logits_nK.clone()
    others_nK[torch.arange(50), labels_n] = -math.inf
    margins_n = logits_nK[torch.arange(50), labels_n] - others_nK.max(1).values
    torch.testing.assert_close(held.margin_EN[0, positions_n].float(), margins_n, atol=0.01, rtol=0.0)
