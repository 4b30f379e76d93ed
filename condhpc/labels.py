"""What a student is taught: losses by label source. Shapes: n images of a batch, K classes."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

from condhpc.augment import Mix
from condhpc.errors import StageError

if TYPE_CHECKING:
    from torch import Tensor, nn

Loss = Callable[["Tensor", "Tensor", "Tensor", Mix | None], "Tensor"]
"""(images_nCHW as the student saw them, logits_nK float32, labels_n, mix) to a scalar."""


def hard_labels(smoothing: float) -> Loss:
    """Cross-entropy with the images' own labels; of mixed images, both labels weighted by area."""

    def loss(_images_nCHW: Tensor, logits_nK: Tensor, labels_n: Tensor, mix: Mix | None) -> Tensor:
        own = functional.cross_entropy(logits_nK, labels_n, label_smoothing=smoothing)
        if mix is None:
            return own
        partner_n = torch.from_numpy(mix.partner_N).to(labels_n.device)
        other = functional.cross_entropy(logits_nK, labels_n[partner_n], label_smoothing=smoothing)
        return mix.own_share * own + (1.0 - mix.own_share) * other

    return loss


def teacher_labels(teachers: Sequence[nn.Module], temperature: float) -> Loss:
    """KL from the teachers' mean softmax to the student's softmax, both at T, mean over the batch, no T² factor.

    The frozen eval-mode teachers see the very images the student sees. The form of SRe2L, RDED and all that
    follow them; without T² gradients are T² smaller than in textbook distillation, which Adam does not notice.
    """
    if not teachers:
        raise StageError("labels come from teachers, but the task has no teacher among its inputs")

    def loss(images_nCHW: Tensor, logits_nK: Tensor, _labels_n: Tensor, _mix: Mix | None) -> Tensor:
        with torch.no_grad():
            softs = [functional.softmax(teacher(images_nCHW).float() / temperature, dim=1) for teacher in teachers]
            soft_nK = torch.stack(softs).mean(dim=0)
        return functional.kl_div(functional.log_softmax(logits_nK / temperature, dim=1), soft_nK, reduction="batchmean")

    return loss
