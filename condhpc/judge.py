"""The test pass: how a network does on labelled images. Shapes: N images, n of a batch, K classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional

from condhpc import augment, models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from condhpc.images import Images

TEST_BATCH = 256
"""Images per forward pass of a test."""


@dataclass(frozen=True)
class Score:
    """How a network does on a labelled split."""

    predicted_N: NDArray[np.int64]
    """Class of the largest logit."""
    correct_N: NDArray[np.bool_]
    loss: float
    """Mean cross-entropy."""

    @property
    def top1_pct(self) -> float:
        """Share of images whose largest logit is the label's, percent."""
        return 100.0 * float(self.correct_N.mean())


def score(
    model: nn.Module,
    images: Images,
    mean: Sequence[float],
    std: Sequence[float],
    device: str,
    positions_N: NDArray[np.int64] | None = None,
) -> Score:
    """Test on all images, or on those at `positions_N`; in eval mode, always fp32, always batches of TEST_BATCH.

    The network is left in eval mode.
    """
    models.placed(model, device).eval()
    chosen_N = np.arange(len(images)) if positions_N is None else positions_N
    predicted_N: list[Tensor] = []
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    with torch.inference_mode():
        for start in range(0, len(chosen_N), TEST_BATCH):
            positions_n = chosen_N[start : start + TEST_BATCH]
            logits_nK = model(augment.plain(images.read(positions_n), mean, std)).float()
            labels_n = images.labels_N[torch.from_numpy(positions_n).to(device)]
            predicted_N.append(logits_nK.argmax(dim=1))
            loss_sum += functional.cross_entropy(logits_nK, labels_n, reduction="sum")
    predicted = torch.cat(predicted_N).cpu().numpy()
    labels_N = images.labels_N.cpu().numpy()[chosen_N]
    return Score(predicted, predicted == labels_N, float(loss_sum) / len(chosen_N))


def first_of_each_class(labels_N: NDArray[np.int64], count: int) -> NDArray[np.int64]:
    """Ascending positions of the first `count` images of each class (RDED and its kin test on 50)."""
    by_class = [np.flatnonzero(labels_N == label)[:count] for label in np.unique(labels_N)]
    return np.sort(np.concatenate(by_class))
