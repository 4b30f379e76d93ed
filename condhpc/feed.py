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

import msgspec
import numpy as np

from condhpc import augment, parts, rng
from condhpc.device import to_device
from condhpc.errors import StageError
from condhpc.images import StreamedImages, draw_crops
from condhpc.joining import Place

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.augment import Draws, Mix
    from condhpc.images import CropDraws, Images
    from condhpc.spec import Augment

_ALONE = Place()


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
    """One batch on the device, or one rank's part of it."""

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
    partner_labels_n: Tensor
    """Labels of the images mixed in; the images' own where nothing is mixed."""
    whole_positions_N: NDArray[np.int64]
    """Of all ranks' parts together, N images; like the next two, the part's own where one process does it all."""
    whole_labels_N: Tensor
    start: int
    """Rows of the whole batch before this part."""

    @property
    def share(self) -> float:
        """Weight of this part's mean in the mean of the whole batch."""
        return len(self.positions_n) / len(self.whole_positions_N)


@dataclass(frozen=True)
class _Order:
    """One batch before its images are there."""

    step: int
    epoch: int
    row: int
    positions_N: NDArray[np.int64]
    draws: Draws
    crops: CropDraws | None
    """Of stored images that are cropped while they are decoded; None where `draws` crop."""


def feed(images: Images, plan: Plan, first: int = 0, place: Place = _ALONE) -> Iterator[Batch]:
    """All batches from step `first` on; of each the part that falls to a rank.

    Images that are decoded batch by batch are cropped out of the whole stored image, the next ones while the caller
    computes. Resident ones are cropped on the device.
    """
    streamed = isinstance(images, StreamedImages) and plan.augment.crop_scale_min < 1.0
    orders, ahead = itertools.tee(_orders(images, plan, first, streamed=streamed))
    for order, read_mHWC in zip(orders, _read(images, ahead, place), strict=True):
        yield _batch(images, plan, order, read_mHWC, place)


def _orders(images: Images, plan: Plan, first: int, *, streamed: bool) -> Iterator[_Order]:
    cuts = _cuts(len(images), plan.batch)
    drawn = msgspec.structs.replace(plan.augment, crop_scale_min=1.0) if streamed else plan.augment
    for step, epoch, positions_N in batches(len(images), plan.batch, plan.seed, first, plan.steps):
        count, crops = len(positions_N), None
        draws = augment.draw(drawn, count, images.side, rng.stream(plan.seed, "augment", step))
        if streamed:
            crops = draw_crops(count, plan.augment.crop_scale_min, rng.stream(plan.seed, "crop", step))
        yield _Order(step, epoch, epoch * len(images) + cuts[step % (len(cuts) - 1)], positions_N, draws, crops)


def _read(images: Images, orders: Iterator[_Order], place: Place) -> Iterator[Tensor]:
    """The uint8 images that a rank needs of each batch; a batch without crops drawn beforehand is read as it is."""
    needed = ((order, _needed(order, place)) for order in orders)
    if isinstance(images, StreamedImages):
        return images.ahead((o.positions_N[rows_m], o.crops.rows(rows_m) if o.crops else None) for o, rows_m in needed)
    return (images.read(order.positions_N[rows_m]) for order, rows_m in needed)


def _needed(order: _Order, place: Place) -> NDArray[np.int64]:
    return parts.needed_rows(order.draws.mix, *parts.part_of(len(order.positions_N), place))


def _batch(images: Images, plan: Plan, order: _Order, read_mHWC: Tensor, place: Place) -> Batch:
    """The part of one batch."""
    draws = order.draws
    labels_N = images.labels_N[to_device(order.positions_N, images.labels_N.device)]
    partner_labels_N = labels_N
    if draws.mix is not None:
        partner_labels_N = labels_N[to_device(draws.mix.partner_N, labels_N.device)]
    start, stop = parts.part_of(len(order.positions_N), place)
    if place.ranks > 1:
        draws = parts.drawn_for(draws, _needed(order, place))
    unmixed_mCHW = augment.prepared(read_mHWC, draws, plan.mean, plan.std)
    unmixed_nCHW = unmixed_mCHW[: stop - start]
    return Batch(
        step=order.step,
        epoch=order.epoch,
        row=order.row + start,
        positions_n=order.positions_N[start:stop],
        labels_n=labels_N[start:stop],
        images_nCHW=unmixed_nCHW if draws.mix is None else augment.mixed(unmixed_mCHW, draws.mix)[: stop - start],
        unmixed_nCHW=unmixed_nCHW,
        mix=draws.mix,
        partner_labels_n=partner_labels_N[start:stop],
        whole_positions_N=order.positions_N,
        whole_labels_N=labels_N,
        start=start,
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
