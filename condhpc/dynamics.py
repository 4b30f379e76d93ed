"""What a teacher's training leaves behind beside its weights. Shapes: E epochs, N images, n of a batch, K classes."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import torch
from torch.nn import functional

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from torch import Tensor


class Dynamics:
    """How each training image fared in each epoch, taken from the training batches as they pass.

    Logits are those of train mode on the augmented image. A last epoch cut short by the number of steps has
    NaN where an image was not seen.
    """

    def __init__(self, epochs: int, count: int, device: str) -> None:
        self.margin_EN = torch.full((epochs, count), math.nan, dtype=torch.float16, device=device)
        """Logit of the true class − largest other logit (AUM averages it)."""
        self.correct_EN = torch.zeros((epochs, count), dtype=torch.bool, device=device)
        self.el2n_EN = torch.full((epochs, count), math.nan, dtype=torch.float16, device=device)
        """‖softmax − one-hot‖₂ (Paul et al., 2021)."""

    def note(self, epoch: int, positions_n: NDArray[np.int64], logits_nK: Tensor, labels_n: Tensor) -> None:
        """Take down one batch."""
        at_n = torch.from_numpy(positions_n).to(labels_n.device)
        own_n1 = labels_n[:, None]
        true_n = logits_nK.gather(1, own_n1).squeeze(1)
        other_n = logits_nK.scatter(1, own_n1, -math.inf).amax(dim=1)
        probabilities_nK = functional.softmax(logits_nK, dim=1)
        errors_nK = probabilities_nK.scatter_add(1, own_n1, -torch.ones_like(true_n)[:, None])
        self.margin_EN[epoch, at_n] = (true_n - other_n).half()
        self.correct_EN[epoch, at_n] = true_n > other_n
        self.el2n_EN[epoch, at_n] = errors_nK.norm(dim=1).half()

    def state(self) -> dict[str, Tensor]:
        """The tensors by name."""
        return {"margin": self.margin_EN, "correct": self.correct_EN, "el2n": self.el2n_EN}

    def restore(self, state: dict[str, Tensor]) -> None:
        """Take over the tensors of a checkpoint."""
        for name, held in self.state().items():
            held.copy_(state[name])
