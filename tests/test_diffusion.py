"""Diffusion chains against diffusers' schedulers, and the bound of learned variances against torch's distributions."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch.distributions import Normal, kl_divergence

from condhpc import diffusion, rng, sampling
from condhpc.diffusion import Noised
from condhpc.errors import StageError

CHAIN = diffusion.linear_chain()


def normal(*shape: int) -> torch.Tensor:
    """Numbers from a stream of their own."""
    return torch.from_numpy(rng.stream(1, "test-diffusion", *shape).standard_normal(shape).astype(np.float32))


def ddpm(**changes: Any) -> Any:
    """DDPM by diffusers, without clipping."""
    from diffusers import DDPMScheduler

    return DDPMScheduler(clip_sample=False, **changes)


def test_noise_levels_are_ddpms() -> None:
    """A thousand steps of linearly growing variance, as diffusers has them."""
    np.testing.assert_allclose(CHAIN.alpha_bar_T, ddpm().alphas_cumprod.numpy(), rtol=2e-4)
    np.testing.assert_allclose(CHAIN.beta_T, ddpm().betas.numpy(), rtol=1e-5)


def test_a_chain_of_fewer_steps_spans_the_whole() -> None:
    """Fifty steps are evenly spaced from the first to the last, at their own noise levels."""
    found = CHAIN.spread(50)
    assert (len(found), found.times_T[0], found.times_T[-1]) == (50, 0, 999)
    assert set(np.diff(found.times_T).tolist()) == {20, 21}
    np.testing.assert_array_equal(found.alpha_bar_T, CHAIN.alpha_bar_T[found.times_T])


def test_a_chain_has_no_more_steps_than_its_whole() -> None:
    """Of a loaded schedule with few steps: refused, for steps that stand twice have no variance between them."""
    assert len(diffusion.linear_chain(20).spread(20)) == 20
    with pytest.raises(StageError, match="50 steps back are asked for, the generator's chain has 20"):
        diffusion.linear_chain(20).spread(50)


@pytest.mark.parametrize("step", [49, 20, 1, 0])
@pytest.mark.parametrize("learned", [False, True])
def test_a_step_back_is_diffusers_own(step: int, *, learned: bool) -> None:
    """DDPM over fifty of the steps, with the least variance or a learned one."""
    short = CHAIN.spread(50)
    scheduler = ddpm(variance_type="learned_range" if learned else "fixed_small")
    scheduler.set_timesteps(timesteps=short.times_T[::-1].tolist())
    noisy, seen, share = normal(2, 3, 4, 4), normal(2, 3, 4, 4).flip(0), normal(2, 3, 4, 4).tanh()
    output = torch.cat([seen, share], dim=1) if learned else seen
    expected = scheduler.step(
        output, int(short.times_T[step]), noisy, generator=torch.Generator().manual_seed(3)
    ).prev_sample
    noise = torch.randn(noisy.shape, generator=torch.Generator().manual_seed(3))
    step_n = np.full(2, step)
    log_variance = short.log_variance(step_n, share) if learned else short.least_log_variance(step_n, noisy)
    drawn = sampling.Drawn(noisy, short.clean(noisy, step_n, seen), log_variance)
    torch.testing.assert_close(sampling.ancestral_step(short, step, drawn, noise, None), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("step", [999, 500, 1, 0])
def test_a_step_back_without_noise_is_diffusers_own(step: int) -> None:
    """DDIM with η = 0, over the whole chain."""
    from diffusers import DDIMScheduler

    scheduler = DDIMScheduler(clip_sample=False)
    scheduler.set_timesteps(1000)
    noisy, seen = normal(2, 3, 4, 4), normal(2, 3, 4, 4).flip(0)
    expected = scheduler.step(seen, step, noisy).prev_sample
    step_n = np.full(2, step)
    drawn = sampling.Drawn(noisy, CHAIN.clean(noisy, step_n, seen), torch.zeros_like(noisy))
    found = sampling.implicit_step(CHAIN, step, drawn, None)
    torch.testing.assert_close(found, expected, rtol=1e-3, atol=1e-3)


def test_noise_and_image_tell_each_other() -> None:
    """`clean` undoes `noised`, and `noise_of` gives the noise back, at a step each."""
    image, noise, step_n = normal(3, 2, 4, 4).clamp(-1, 1), normal(3, 2, 4, 4).flip(0), np.array([0, 400, 900])
    noisy = CHAIN.noised(image, step_n, noise)
    torch.testing.assert_close(CHAIN.clean(noisy, step_n, noise), image, rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(CHAIN.noise_of(noisy, step_n, image), noise, rtol=1e-3, atol=1e-3)


def seen_at(steps: list[int], **changes: Any) -> Noised:
    """A batch with a step for each image, the network's noise a little off."""
    n = len(steps)
    image, noise = normal(n, 2, 4, 4).tanh(), normal(n, 2, 4, 4).flip(1)
    noisy = CHAIN.noised(image, np.array(steps), noise)
    fields: dict[str, Any] = {
        "predicted_nCSS": noise + 0.1 * normal(n, 2, 4, 4),
        "share_nCSS": normal(n, 2, 4, 4).flip(2).tanh(),
    }
    return Noised(image, noisy, np.array(steps), noise, **{**fields, **changes})


def test_the_bound_is_a_divergence_of_normals() -> None:
    """At later steps: bits per number from the true step back to the predicted one, as torch's distributions say."""
    steps = [1, 300, 999]
    seen = seen_at(steps)
    assert seen.share_nCSS is not None
    for i, t in enumerate(steps):
        alpha, before, beta = CHAIN.alpha_bar_T[t], CHAIN.alpha_bar_T[t - 1], CHAIN.beta_T[t]
        least = beta * (1 - before) / (1 - alpha)
        predicted = (seen.noisy_nCSS[i] - (1 - alpha) ** 0.5 * seen.predicted_nCSS[i]) / alpha**0.5

        def mean(clean: torch.Tensor, t: int = t, i: int = i) -> torch.Tensor:
            a, b, v = CHAIN.alpha_bar_T[t], CHAIN.alpha_bar_T[t - 1], CHAIN.beta_T[t]
            return (b**0.5 * v * clean + (1 - v) ** 0.5 * (1 - b) * seen.noisy_nCSS[i]) / (1 - a)

        share = (seen.share_nCSS[i] + 1) / 2
        std = (share * math.log(beta) + (1 - share) * math.log(least)).exp().sqrt()
        expected = kl_divergence(Normal(mean(seen.clean_nCSS[i]), least**0.5), Normal(mean(predicted), std)).mean()
        assert float(diffusion.bound_n(CHAIN, seen)[i]) == pytest.approx(float(expected) / math.log(2), rel=2e-3)


def test_the_bound_of_the_last_step_is_the_likelihood_of_grey_levels() -> None:
    """At step 0: minus the logarithm of the normal's mass on the image's own grey level."""
    seen = seen_at([0])
    assert seen.share_nCSS is not None
    step_n = np.array([0])
    predicted = CHAIN.clean(seen.noisy_nCSS, step_n, seen.predicted_nCSS)
    law = Normal(predicted.double(), (0.5 * CHAIN.log_variance(step_n, seen.share_nCSS)).exp().double())
    mass = law.cdf(seen.clean_nCSS.double() + 1 / 255) - law.cdf(seen.clean_nCSS.double() - 1 / 255)
    expected = -mass.clamp_min(1e-12).log().mean() / math.log(2)
    assert float(diffusion.bound_n(CHAIN, seen)) == pytest.approx(float(expected), rel=1e-2)


def test_the_bound_teaches_variances_and_leaves_the_noise_alone() -> None:
    """The gradient of the loss with respect to the noise is that of its squared error."""
    noise, share = torch.zeros(2, 2, 4, 4, requires_grad=True), torch.zeros(2, 2, 4, 4, requires_grad=True)
    seen = seen_at([100, 0], predicted_nCSS=noise, share_nCSS=share)
    diffusion.loss(CHAIN, seen).backward()  # type: ignore[no-untyped-call]
    assert noise.grad is not None
    assert share.grad is not None
    torch.testing.assert_close(noise.grad, 2 * (noise.detach() - seen.noise_nCSS) / noise.numel())
    assert float(share.grad.abs().min()) > 0


def test_without_learned_variance_the_loss_is_the_squared_error() -> None:
    """Mean over all numbers."""
    seen = seen_at([5, 600], share_nCSS=None)
    expected = ((seen.predicted_nCSS - seen.noise_nCSS) ** 2).mean()
    torch.testing.assert_close(diffusion.loss(CHAIN, seen), expected)
