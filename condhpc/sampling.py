"""Images from a generator: by DDPM's or DDIM's steps back, free or drawn towards a mode each.

What an image becomes is in its own stream, so it is the same (beyond rounding) whatever else shares its batch.
Shapes: n images of a batch, C × S × S latents, R × R pixels.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch

from condhpc.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.diffusion import Chain
    from condhpc.generators import Generator

State = dict[str, Any]


class Wanted(NamedTuple):
    """An image to make: the place-th of a class."""

    label: int
    place: int


@dataclass(frozen=True)
class Sampler:
    """How noise becomes an image."""

    steps: int
    guidance: float
    """Scale of classifier-free guidance; 1: none."""
    kind: Literal["ddpm", "ddim"] = "ddpm"
    guided_channels: int = 0
    """Latent channels that are guided, from the first on; 0: all."""
    batch: int = 16
    """Images that share a forward pass."""


class Pull(NamedTuple):
    """Draws images towards modes while they are still more noise than image (MGD3, Chan-Santiago et al. 2025)."""

    modes: Callable[[Wanted], NDArray[np.float32]]
    """The latent (C, S, S), or flat, that an image is drawn to."""
    strength: float
    last_step: int
    """Steps are numbered from `steps` down to 1; those up to this one are free again."""


class Drawn(NamedTuple):
    """What one step back is made from."""

    noisy_nCSS: Tensor
    clean_nCSS: Tensor
    log_variance_nCSS: Tensor


def ancestral_step(chain: Chain, step: int, seen: Drawn, noise_nCSS: Tensor, pull_nCSS: Tensor | None) -> Tensor:
    """One step back by DDPM; `pull_nCSS` = λ(mode − x̂0), times σ, moves the mean. The last step adds no noise."""
    step_n = np.full(len(noise_nCSS), step)
    before_nCSS = chain.mean_before(seen.noisy_nCSS, step_n, seen.clean_nCSS)
    std_nCSS = (0.5 * seen.log_variance_nCSS).exp()
    if pull_nCSS is not None:
        before_nCSS = before_nCSS + std_nCSS * pull_nCSS
    return before_nCSS + std_nCSS * noise_nCSS if step else before_nCSS


def implicit_step(chain: Chain, step: int, seen: Drawn, pull_nCSS: Tensor | None) -> Tensor:
    """One step back by DDIM without noise (η = 0): x̂0 is moved by `pull_nCSS` before the noise is taken from it."""
    step_n = np.full(len(seen.noisy_nCSS), step)
    clean_nCSS = seen.clean_nCSS if pull_nCSS is None else seen.clean_nCSS + pull_nCSS
    noise_nCSS = chain.noise_of(seen.noisy_nCSS, step_n, clean_nCSS)
    before = float(chain.before_T[step])
    found_nCSS: Tensor = before**0.5 * clean_nCSS + (1.0 - before) ** 0.5 * noise_nCSS
    return found_nCSS


@dataclass(frozen=True)
class Making:
    """All that decides a run of images, beside which they are."""

    generator: Generator
    sampler: Sampler
    side: int
    """Of the images that are wanted, pixels."""
    stream: Callable[..., np.random.Generator]
    """`stream("noise", label, place)` holds all that is random in an image."""
    report: Callable[[int, int, Callable[[], State]], None]
    """After step of total, with what a resume needs."""
    pull: Pull | None = None


def images(making: Making, wanted: Sequence[Wanted], resumed: State | None = None) -> NDArray[np.uint8]:
    """Images (n, R, R, 3), in the order that is asked for; goes on from the state that `report` was given."""
    made = [] if resumed is None or not len(resumed["made"]) else [resumed["made"].cpu().numpy()]
    within = 0 if resumed is None else int(resumed["step"])
    latents = None if resumed is None else resumed["latents"]
    done = sum(len(part) for part in made)
    for first in range(done, len(wanted), making.sampler.batch):
        batch = _Batch(making, wanted[first : first + making.sampler.batch], latents if within else None)
        for taken in range(within, making.sampler.steps):
            batch.step_back(making.sampler.steps - 1 - taken)
            last = taken + 1 == making.sampler.steps
            if last:
                made.append(batch.finished())
            steps = (first // making.sampler.batch) * making.sampler.steps + taken + 1
            making.report(
                steps, total_steps(making.sampler, len(wanted)), _state(made, batch, 0 if last else taken + 1)
            )
        within = 0
    return np.concatenate(made)


def total_steps(sampler: Sampler, count: int) -> int:
    """Steps that `images` reports for so many images."""
    return -(-count // sampler.batch) * sampler.steps


def _state(made: list[NDArray[np.uint8]], batch: _Batch, step: int) -> Callable[[], State]:
    def state() -> State:
        whole = np.concatenate(made) if made else np.zeros((0,), dtype=np.uint8)
        return {"made": torch.from_numpy(whole), "latents": batch.latents_nCSS, "step": step}

    return state


class _Batch:
    """Images that are made together."""

    def __init__(self, making: Making, wanted: Sequence[Wanted], latents_nCSS: Tensor | None) -> None:
        self._making = making
        self._wanted = wanted
        self._chain = making.generator.chain.spread(making.sampler.steps)
        self._label_n = np.array([image.label for image in wanted])
        noise_nTCSS = np.stack([self._noise(image) for image in wanted])
        self._noise_nTCSS = torch.from_numpy(noise_nTCSS).to(making.generator.device)
        self._modes_nCSS = self._modes()
        start_nCSS = self._noise_nTCSS[:, 0]
        self.latents_nCSS = start_nCSS if latents_nCSS is None else latents_nCSS.to(start_nCSS.device)
        self._failed_n = torch.zeros(len(wanted), dtype=torch.int64, device=start_nCSS.device)
        """The step, from 1 on, at which an image stopped being finite, noted without waiting for the device; else 0."""

    def _noise(self, image: Wanted) -> NDArray[np.float32]:
        """The start, and for DDPM one for each step back but the last, first to last."""
        count = self._making.sampler.steps if self._making.sampler.kind == "ddpm" else 1
        draw = self._making.stream("noise", image.label, image.place)
        return draw.standard_normal((count, *self._making.generator.latent_shape), dtype=np.float32)

    def _modes(self) -> Tensor | None:
        pull, generator = self._making.pull, self._making.generator
        if pull is None:
            return None
        modes = [np.asarray(pull.modes(image), np.float32).reshape(generator.latent_shape) for image in self._wanted]
        return torch.from_numpy(np.stack(modes)).to(generator.device)

    @torch.no_grad()
    def step_back(self, step: int) -> None:
        """One step of all images."""
        sampler, generator, chain = self._making.sampler, self._making.generator, self._chain
        step_n = np.full(len(self._wanted), step)
        seen = generator.guided(
            self.latents_nCSS, chain.times_T[step_n], self._label_n, sampler.guidance, sampler.guided_channels
        )
        clean_nCSS = generator.clean(self.latents_nCSS, step_n, seen.noise_nCSS, chain)
        if seen.share_nCSS is None:
            log_variance_nCSS = chain.least_log_variance(step_n, clean_nCSS)
        else:
            log_variance_nCSS = chain.log_variance(step_n, seen.share_nCSS)
        drawn, pull_nCSS = Drawn(self.latents_nCSS, clean_nCSS, log_variance_nCSS), self._pull(step, clean_nCSS)
        if sampler.kind == "ddim":
            self.latents_nCSS = implicit_step(chain, step, drawn, pull_nCSS)
        else:
            noise_nCSS = self._noise_nTCSS[:, sampler.steps - step if step else 0]
            self.latents_nCSS = ancestral_step(chain, step, drawn, noise_nCSS, pull_nCSS)
        fails_n = ~torch.isfinite(self.latents_nCSS).flatten(1).all(dim=1) & (self._failed_n == 0)
        self._failed_n.masked_fill_(fails_n, sampler.steps - step)

    def _pull(self, step: int, clean_nCSS: Tensor) -> Tensor | None:
        pull = self._making.pull
        if pull is None or self._modes_nCSS is None or step + 1 <= pull.last_step:
            return None
        return pull.strength * (self._modes_nCSS - clean_nCSS)

    def finished(self) -> NDArray[np.uint8]:
        """Decoded; raises StageError for an image that is no image."""
        failed = np.flatnonzero(self._failed_n.cpu().numpy())
        if failed.size:
            which = int(failed[0])
            first = self._wanted[which]
            raise StageError(
                f"class {first.label}, image {first.place}: the generator made numbers that are not finite at "
                f"step {int(self._failed_n[which])} of {self._making.sampler.steps}; "
                "look at its training, or lower the guidance"
            )
        return self._making.generator.decode(self.latents_nCSS, self._making.side).cpu().numpy()
