"""Training of a class-conditional diffusion transformer on the images of a split.

Everything random comes from streams named after epoch and step, so a checkpoint is weights, optimiser, average and
step; a resumed run on the CPU ends in the same bits. Shapes: n images of a batch, C × S × S latents.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from condhpc import diffusion, models, rng
from condhpc.device import to_device
from condhpc.diffusion import Noised
from condhpc.images import StreamedImages
from condhpc.optimize import Average
from condhpc.training_state import State, Watch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.generators import Generator
    from condhpc.images import Images
    from condhpc.methods.base import Reporter
    from condhpc.spec import GeneratorTraining

Stream = Callable[..., np.random.Generator]
"""`stream("order", 3)`: the random stream of that name."""
_LOOK_STEPS = {"cpu": 1, "cuda": 50}
_LOSS_WINDOW_STEPS = 50


@dataclass(frozen=True)
class Draws:
    """What is random in one step."""

    positions_n: NDArray[np.int64]
    step_n: NDArray[np.int64]
    """Of the chain."""
    noise_nCSS: NDArray[np.float32]
    unlabelled_n: NDArray[np.bool_]
    """Images whose label is left out, for classifier-free guidance."""
    mirrored_n: NDArray[np.bool_]


def train(generator: Generator, images: Images, training: GeneratorTraining, seed: int, report: Reporter) -> float:
    """Train the generator's network in place, ending in the average of its weights; the mean loss of the last 50 steps.

    Resumes from `report.checkpoint()`. Raises StageError where the loss stops being finite.
    """
    network, device, stream = generator.network, generator.device, partial(rng.stream, seed, "generator")
    network.requires_grad_(requires_grad=True)
    optimizer = torch.optim.AdamW(network.parameters(), lr=training.lr, weight_decay=0.0, fused=True)
    average = Average(network, training.ema_decay)
    losses_S = torch.zeros(training.steps, device=device)
    state = State(network, optimizer, average, losses_S, None)
    first = state.load(report.checkpoint(), device.type)
    watch = Watch(losses_S, first, _LOOK_STEPS[device.type])
    labels_N = images.labels_N.cpu().numpy()
    drawing = Drawing(training, stream, len(labels_N), generator)
    for step, (drawn, pixels_nRRC) in enumerate(_batches(images, drawing, range(first, training.steps)), first):
        latents_nCSS = generator.encode(mirrored(pixels_nRRC, drawn.mirrored_n))
        label_n = np.where(drawn.unlabelled_n, -1, labels_N[drawn.positions_n])
        optimizer.zero_grad(set_to_none=True)
        loss = diffusion.loss(generator.chain, noised(generator, latents_nCSS, label_n, drawn))
        loss.backward()  # type: ignore[no-untyped-call]
        optimizer.step()
        average.update()
        losses_S[step] = loss.detach()
        values = watch.after(step, len(label_n))
        report.tick(step + 1, training.steps, state.saver(step + 1, watch), **values)
    average.exchange()
    models.frozen(network)
    return float(losses_S[-_LOSS_WINDOW_STEPS:].mean())


class Drawing:
    """What is random in the steps of a training on `count` images; the last batch of an epoch may be short."""

    def __init__(self, training: GeneratorTraining, stream: Stream, count: int, generator: Generator) -> None:
        self._training, self._stream, self._count, self._generator = training, stream, count, generator
        self._epoch: int | None = None
        self._order_N: NDArray[np.int64] = np.zeros(0, dtype=np.int64)

    def at(self, step: int) -> Draws:
        """Of one step, whichever was asked for before."""
        training = self._training
        batch = min(training.batch, self._count)
        per_epoch = -(-self._count // batch)
        first = step % per_epoch * batch
        positions_n = self._order(step // per_epoch)[first : first + batch]
        draw, n = self._stream("step", step), len(positions_n)
        return Draws(
            positions_n,
            draw.integers(len(self._generator.chain), size=n),
            draw.standard_normal((n, *self._generator.latent_shape), dtype=np.float32),
            draw.random(n) < training.label_dropout,
            (draw.random(n) < 0.5) & training.mirror,
        )

    def _order(self, epoch: int) -> NDArray[np.int64]:
        """All images of an epoch; of a million it takes as long as a step does, so it is kept."""
        if epoch != self._epoch:
            self._epoch, self._order_N = epoch, self._stream("order", epoch).permutation(self._count)
        return self._order_N


def _batches(images: Images, drawing: Drawing, steps: range) -> Iterator[tuple[Draws, Tensor]]:
    """What is random in each step, and its images (n, R, R, 3); streamed ones are decoded while the device computes."""
    if not isinstance(images, StreamedImages):
        for step in steps:
            drawn = drawing.at(step)
            yield drawn, images.read(drawn.positions_n)
        return
    begun: deque[Draws] = deque()

    def wanted() -> Iterator[tuple[NDArray[np.int64], None]]:
        for step in steps:
            begun.append(drawing.at(step))
            yield begun[-1].positions_n, None

    for pixels_nRRC in images.ahead(wanted()):
        yield begun.popleft(), pixels_nRRC


def noised(generator: Generator, latents_nCSS: Tensor, label_n: NDArray[np.int64], drawn: Draws) -> Noised:
    """The batch at the drawn steps of the chain, and what the network makes of it; with gradients."""
    noise_nCSS = to_device(drawn.noise_nCSS, latents_nCSS.device)
    noisy_nCSS = generator.chain.noised(latents_nCSS, drawn.step_n, noise_nCSS)
    seen = generator.predicted(noisy_nCSS, generator.chain.times_T[drawn.step_n], label_n)
    return Noised(latents_nCSS, noisy_nCSS, drawn.step_n, noise_nCSS, seen.noise_nCSS, seen.share_nCSS)


def mirrored(images_nHWC: Tensor, mirrored_n: NDArray[np.bool_]) -> Tensor:
    """Some of the images mirrored left to right."""
    chosen = to_device(mirrored_n, images_nHWC.device).view(-1, 1, 1, 1)
    return torch.where(chosen, images_nHWC.flip(2), images_nHWC)
