"""Losses by label source."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from condhpc import labels
from condhpc.augment import Mix
from condhpc.errors import StageError

LABELS_n = torch.tensor([0, 2, 1, 1])
MIX = Mix(np.array([1, 0, 3, 2]), 0, 0, 1, 1, 0.7)


class Constant(nn.Module):
    """A teacher whose logits are its images' first numbers times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images_nCHW: torch.Tensor) -> torch.Tensor:
        """Logits (n, 3)."""
        return images_nCHW.flatten(1)[:, :3] * self.factor


def _logits(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))


def test_hard_labels_are_cross_entropy() -> None:
    """−log softmax at the label, mean over the batch."""
    logits_nK = _logits()
    expected = -logits_nK.log_softmax(1)[torch.arange(4), LABELS_n].mean()
    assert torch.isclose(labels.hard_labels(0.0)(logits_nK, logits_nK, LABELS_n, None), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_images_are_taught_mixed_labels(smoothing: float) -> None:
    """The loss of a mixed image is cross-entropy with the area-weighted mixture of both labels."""
    logits_nK = _logits()
    one_hot_nK = torch.eye(3)[LABELS_n]
    soft_nK = MIX.own_share * one_hot_nK + (1 - MIX.own_share) * one_hot_nK[MIX.partner_N]
    soft_nK = soft_nK * (1 - smoothing) + smoothing / 3
    expected = -(soft_nK * logits_nK.log_softmax(1)).sum(1).mean()
    assert torch.isclose(labels.hard_labels(smoothing)(logits_nK, logits_nK, LABELS_n, MIX), expected)


def test_teacher_labels_are_kl_without_t_squared() -> None:
    """Σ p_t (log p_t − log p_s) at T, summed over classes, mean over images, no factor before it."""
    logits_nK, temperature = _logits(), 20.0
    images_nCHW = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    teacher = Constant(5.0)
    soft_nK = (teacher(images_nCHW) / temperature).softmax(1).detach()
    log_student_nK = (logits_nK / temperature).log_softmax(1)
    expected = (soft_nK * (soft_nK.log() - log_student_nK)).sum(1).mean()
    found = labels.teacher_labels([teacher], temperature)(images_nCHW, logits_nK, LABELS_n, MIX)
    assert torch.isclose(found, expected, rtol=1e-4, atol=0.0)


def test_a_student_like_its_teacher_has_no_loss() -> None:
    """KL is zero at equality and positive elsewhere."""
    images_nCHW = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    teacher = Constant(2.0)
    loss = labels.teacher_labels([teacher], 4.0)
    like_nK = teacher(images_nCHW).detach()
    assert float(loss(images_nCHW, like_nK, LABELS_n, None)) == pytest.approx(0.0, abs=1e-6)
    assert float(loss(images_nCHW, -like_nK, LABELS_n, None)) > 0.01


def test_several_teachers_speak_with_the_mean_of_their_softmax() -> None:
    """Probabilities at T are averaged, not logits."""
    images_nCHW = torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(1))
    teachers = [Constant(9.0), Constant(-3.0)]
    soft_nK = torch.stack([(t(images_nCHW) / 2.0).softmax(1) for t in teachers]).mean(0).detach()
    loss = labels.teacher_labels(teachers, 2.0)
    assert float(loss(images_nCHW, 2.0 * soft_nK.log(), LABELS_n, None)) == pytest.approx(0.0, abs=1e-6)


def test_no_gradient_reaches_a_teacher() -> None:
    """Labels are given, not learnt."""
    images_nCHW = torch.randn(4, 3, 2, 2)
    logits_nK = _logits().requires_grad_()
    teacher = Constant(1.0)
    labels.teacher_labels([teacher], 20.0)(images_nCHW, logits_nK, LABELS_n, None).backward()
    assert teacher.factor.grad is None
    assert logits_nK.grad is not None


def test_labels_from_nobody_are_refused() -> None:
    """A protocol with teacher labels and no teacher among the inputs is told so."""
    with pytest.raises(StageError, match="no teacher among its inputs"):
        labels.teacher_labels([], 20.0)
