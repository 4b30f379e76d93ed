"""Batches of a training, ready for a network: which images, how augmented and mixed, with which labels.

Everything random comes from named streams of (seed, epoch or step). So whoever asks gets the same batches: the
training itself, a resumed one, and the task that writes teachers' labels for it beforehand.
Shapes: N images of the source, n of a batch, H × W pixels, C channels.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING

import numpy as np
import torch

from condhpc import augment, rng
from condhpc.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.augment import Mix
    from condhpc.images import Images
    from condhpc.spec import Augment


@dataclass(frozen=True)
class Plan:
    """Which batches: everything but the images."""

    steps: int
    batch: int
    augment: Augment
    seed: int
    mean: Sequence[float]
    std: Sequence[float]
    """Channel statistics, images in [0, 1]."""


@dataclass(frozen=True)
class Batch:
    """One batch on the device."""

    step: int
    epoch: int
    row: int
    """Images fed before it: where its labels begin in a file of labels in training order."""
    positions_n: NDArray[np.int64]
    """In the source."""
    labels_n: Tensor
    images_nCHW: Tensor
    """Augmented and mixed: what student and teachers see."""
    unmixed_nCHW: Tensor
    """Before mixing; the same tensor where nothing is mixed."""
    mix: Mix | None


def feed(images: Images, plan: Plan, first: int = 0) -> Iterator[Batch]:
    """All batches from step `first` on."""
    cuts = _cuts(len(images), plan.batch)
    for step, epoch, positions_n in batches(len(images), plan.batch, plan.seed, first, plan.steps):
        generator = rng.stream(plan.seed, "augment", step)
        draws = augment.draw(plan.augment, len(positions_n), images.side, generator)
        unmixed_nCHW = augment.prepared(images.read(positions_n), draws, plan.mean, plan.std)
        yield Batch(
            step=step,
            epoch=epoch,
            row=epoch * len(images) + cuts[step % (len(cuts) - 1)],
            positions_n=positions_n,
            labels_n=images.labels_N[torch.from_numpy(positions_n).to(images.labels_N.device)],
            images_nCHW=unmixed_nCHW if draws.mix is None else augment.mixed(unmixed_nCHW, draws.mix),
            unmixed_nCHW=unmixed_nCHW,
            mix=draws.mix,
        )


def rows(count: int, batch: int, steps: int) -> int:
    """Images fed in so many steps, each time it is fed."""
    cuts = _cuts(count, batch)
    epochs, within = divmod(steps, len(cuts) - 1)
    return epochs * count + cuts[within]


def epochs(count: int, batch: int, steps: int) -> int:
    """Passes over `count` images that so many steps begin; the last may be cut short."""
    return ceil(steps / ceil(count / batch))


def batches(count: int, batch: int, seed: int, first: int, steps: int) -> Iterator[tuple[int, int, NDArray[np.int64]]]:
    """(step, epoch, positions) from step `first` on: per epoch a new permutation, cut into batches.

    The last batch of an epoch may be short, but never a single image, which has no batch statistics: one alone
    takes a second from the batch before. Raises StageError where even that leaves an image alone.
    """
    cuts = _cuts(count, batch)
    order_N = np.empty(0, dtype=np.int64)
    per_epoch = len(cuts) - 1
    for step in range(first, steps):
        epoch, within = divmod(step, per_epoch)
        if within == 0 or step == first:
            order_N = rng.stream(seed, "order", epoch).permutation(count)
        yield step, epoch, order_N[cuts[within] : cuts[within + 1]]


def _cuts(count: int, batch: int) -> list[int]:
    """Where an epoch is cut, ends included."""
    cuts = [*range(0, count, batch), count]
    if len(cuts) > 2 and cuts[-1] - cuts[-2] == 1:
        cuts[-2] -= 1
    if any(after - before < 2 for before, after in itertools.pairwise(cuts)):
        raise StageError(
            f"{count} images in batches of {batch} leave an image alone, and batch norm needs two; raise batch or ipc"
        )
    return cuts
