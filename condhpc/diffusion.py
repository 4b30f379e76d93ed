"""Gaussian diffusion: the linear chain of DDPM, parts of it, one step back, and the loss of learned variances.

Ho et al. 2020 (DDPM), Song et al. 2021 (DDIM), Nichol and Dhariwal 2021 (learned variances, chains with fewer steps).
Shapes: n images, C channels, S × S latent pixels, T steps of a chain; step indices run from 0 (clean) to T−1 (noise).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from condhpc.device import to_device
from condhpc.errors import StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

TRAIN_STEPS = 1000
_BETA_FIRST, _BETA_LAST = 1e-4, 0.02
_HALF_GREY_LEVEL = 1.0 / 255.0
"""Images in [−1, 1] have grey levels 2/255 apart."""


class Chain:
    """Noise levels of a chain, and what follows from them, in double precision."""

    def __init__(self, alpha_bar_T: NDArray[np.float64], times_T: NDArray[np.int64]) -> None:
        self.alpha_bar_T = alpha_bar_T
        self.times_T = times_T
        """Steps of the chain that the network was trained on, which it is told."""
        self.before_T = np.concatenate([[1.0], alpha_bar_T[:-1]])
        self.beta_T = 1.0 - alpha_bar_T / self.before_T
        self.posterior_variance_T = self.beta_T * (1.0 - self.before_T) / (1.0 - alpha_bar_T)
        self.clean_weight_T = np.sqrt(self.before_T) * self.beta_T / (1.0 - alpha_bar_T)
        self.noisy_weight_T = np.sqrt(1.0 - self.beta_T) * (1.0 - self.before_T) / (1.0 - alpha_bar_T)
        # The last step back has no variance of its own: its logarithm is that of the step before.
        floor = self.posterior_variance_T[1] if len(alpha_bar_T) > 1 else self.beta_T[0]
        self.log_least_variance_T = np.log(np.maximum(self.posterior_variance_T, floor * (np.arange(len(self)) < 1)))
        self.log_most_variance_T = np.log(self.beta_T)

    def __len__(self) -> int:
        return len(self.times_T)

    def spread(self, steps: int) -> Chain:
        """So many of its steps, evenly spaced, the first and the last among them, at their own noise levels.

        Raises StageError where it has fewer.
        """
        if steps > len(self):
            raise StageError(f"{steps} steps back are asked for, the generator's chain has {len(self)}; lower `steps`")
        chosen = np.round(np.linspace(0, len(self) - 1, steps)).astype(np.int64)
        return Chain(self.alpha_bar_T[chosen], self.times_T[chosen])

    def noised(self, clean_nCSS: Tensor, step_n: NDArray[np.int64], noise_nCSS: Tensor) -> Tensor:
        """Images at the noise level of a step each."""
        signal, spread = np.sqrt(self.alpha_bar_T), np.sqrt(1.0 - self.alpha_bar_T)
        return at(signal, step_n, clean_nCSS) * clean_nCSS + at(spread, step_n, clean_nCSS) * noise_nCSS

    def clean(self, noisy_nCSS: Tensor, step_n: NDArray[np.int64], noise_nCSS: Tensor) -> Tensor:
        """x̂0: what the images are without the noise that is predicted to be in them."""
        signal, spread = np.sqrt(self.alpha_bar_T), np.sqrt(1.0 - self.alpha_bar_T)
        return (noisy_nCSS - at(spread, step_n, noisy_nCSS) * noise_nCSS) / at(signal, step_n, noisy_nCSS)

    def noise_of(self, noisy_nCSS: Tensor, step_n: NDArray[np.int64], clean_nCSS: Tensor) -> Tensor:
        """The noise in images whose clean form is known: the inverse of `clean`."""
        signal, spread = np.sqrt(self.alpha_bar_T), np.sqrt(1.0 - self.alpha_bar_T)
        return (noisy_nCSS - at(signal, step_n, noisy_nCSS) * clean_nCSS) / at(spread, step_n, noisy_nCSS)

    def mean_before(self, noisy_nCSS: Tensor, step_n: NDArray[np.int64], clean_nCSS: Tensor) -> Tensor:
        """Mean of q(one step earlier | noisy, clean)."""
        return (
            at(self.clean_weight_T, step_n, noisy_nCSS) * clean_nCSS
            + at(self.noisy_weight_T, step_n, noisy_nCSS) * noisy_nCSS
        )

    def log_variance(self, step_n: NDArray[np.int64], share_nCSS: Tensor) -> Tensor:
        """Of one step back: from the least (−1) to the most (1) that is possible, in logarithms (learned variance)."""
        share = (share_nCSS + 1.0) / 2.0
        most, least = self.log_most_variance_T, self.log_least_variance_T
        return share * at(most, step_n, share_nCSS) + (1.0 - share) * at(least, step_n, share_nCSS)

    def least_log_variance(self, step_n: NDArray[np.int64], like_nCSS: Tensor) -> Tensor:
        """Of one step back where the network predicts none: that of the posterior."""
        return at(self.log_least_variance_T, step_n, like_nCSS).expand_as(like_nCSS)


def linear_chain(
    steps: int = TRAIN_STEPS,
    first: float = _BETA_FIRST,
    last: float = _BETA_LAST,
    betas: NDArray[np.float64] | None = None,
) -> Chain:
    """DDPM's: variances that grow linearly; `betas` gives them one by one instead."""
    beta_T = np.linspace(first, last, steps, dtype=np.float64) if betas is None else betas.astype(np.float64)
    alpha_bar_T = np.cumprod(1.0 - beta_T, dtype=np.float64)
    return Chain(alpha_bar_T, np.arange(len(beta_T)))


def at(values_T: NDArray[np.float64], step_n: NDArray[np.int64], like_nCSS: Tensor) -> Tensor:
    """A chain's values at the steps of n images, (n, 1, 1, 1)."""
    found = to_device(values_T[step_n].astype(np.float32), like_nCSS.device)
    return found.view(-1, *[1] * (like_nCSS.ndim - 1))


@dataclass(frozen=True)
class Noised:
    """A batch on its way through the chain: what is known, and what a network makes of it."""

    clean_nCSS: Tensor
    noisy_nCSS: Tensor
    step_n: NDArray[np.int64]
    noise_nCSS: Tensor
    predicted_nCSS: Tensor
    """The noise, as the network sees it."""
    share_nCSS: Tensor | None
    """The network's variance between the least and the most; None where it predicts none."""


def loss(chain: Chain, seen: Noised) -> Tensor:
    """Squared error of the noise, and where the variance is learned the bound's term that teaches it; mean over images.

    The bound sees the predicted mean, but does not move it.
    """
    error: Tensor = (seen.predicted_nCSS - seen.noise_nCSS).square().mean()
    if seen.share_nCSS is None:
        return error
    return error + bound_n(chain, seen).mean()


def bound_n(chain: Chain, seen: Noised) -> Tensor:
    """(n,) bits per dimension: KL of the true step back to the predicted one; at step 0 the image's own likelihood."""
    assert seen.share_nCSS is not None
    step_n, noisy = seen.step_n, seen.noisy_nCSS
    predicted_clean = chain.clean(noisy, step_n, seen.predicted_nCSS.detach())
    mean, log_variance = chain.mean_before(noisy, step_n, predicted_clean), chain.log_variance(step_n, seen.share_nCSS)
    true_mean = chain.mean_before(noisy, step_n, seen.clean_nCSS)
    kl = _kl(true_mean, chain.least_log_variance(step_n, noisy), mean, log_variance)
    likelihood = -_log_likelihood(seen.clean_nCSS, mean, 0.5 * log_variance)
    first = to_device(step_n == 0, noisy.device).view(-1, 1, 1, 1)
    return torch.where(first, likelihood, kl).flatten(1).mean(dim=1) / math.log(2.0)


def _kl(mean_a: Tensor, log_a: Tensor, mean_b: Tensor, log_b: Tensor) -> Tensor:
    """Between normals, by element."""
    return 0.5 * (log_b - log_a - 1.0 + (log_a - log_b).exp() + (mean_a - mean_b).square() * (-log_b).exp())


def _log_likelihood(image: Tensor, mean: Tensor, log_std: Tensor) -> Tensor:
    """Of grey levels in [−1, 1] under a normal, integrated over each level; the outermost reach to infinity."""
    scale = (-log_std).exp()
    above = torch.special.ndtr(scale * (image - mean + _HALF_GREY_LEVEL))
    below = torch.special.ndtr(scale * (image - mean - _HALF_GREY_LEVEL))
    level = torch.where(image < -0.999, above, torch.where(image > 0.999, 1.0 - below, above - below))
    return level.clamp_min(1e-12).log()
