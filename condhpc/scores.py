"""What a trained network makes of each image, from one forward pass. Shapes: n images, K classes, D features."""

from __future__ import annotations

from typing import TYPE_CHECKING

from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

NAMES = ("el2n", "grand", "nearness", "entropy", "doubt", "own_probability", "correct")
"""`el2n`: ‖p − y‖₂ (Paul et al. 2021). `grand`: norm of the loss gradient in the last layer, weights and bias,
‖p − y‖·√(‖h‖² + 1). `nearness`: 1 − (largest − second probability). `entropy`: nats. `doubt`: 1 − largest probability.
`own_probability`: p_y. `correct`: 1 where the label's logit is above all others."""


def of_batch(features_nD: Tensor, logits_nK: Tensor, labels_n: Tensor) -> dict[str, Tensor]:
    """Each score as (n,) float32. What is left to 1 is summed, not subtracted: sure networks round p to 1, and tie."""
    logits_nK = logits_nK.float()
    log_nK = functional.log_softmax(logits_nK, dim=1)
    probability_nK = log_nK.exp()
    own_n1, first_n1 = labels_n[:, None], logits_nK.argmax(dim=1, keepdim=True)
    wrong_nK, rest_nK = (probability_nK.scatter(1, at_n1, 0.0) for at_n1 in (own_n1, first_n1))
    error_n = wrong_nK.scatter(1, own_n1, wrong_nK.sum(dim=1, keepdim=True)).norm(dim=1)
    doubt_n = rest_nK.sum(dim=1)
    other_n = logits_nK.scatter(1, own_n1, -float("inf")).amax(dim=1)
    own_logit_n = logits_nK.gather(1, own_n1).squeeze(1)
    return {
        "el2n": error_n,
        "grand": error_n * (features_nD.float().square().sum(dim=1) + 1.0).sqrt(),
        "nearness": doubt_n + rest_nK.amax(dim=1),
        "entropy": -(probability_nK * log_nK).nan_to_num(0.0).sum(dim=1),
        "doubt": doubt_n,
        "own_probability": probability_nK.gather(1, own_n1).squeeze(1),
        "correct": (own_logit_n > other_n).float(),
    }
