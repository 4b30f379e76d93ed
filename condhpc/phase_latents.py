"""Real latents of the images that a generator is tuned on: decoded and encoded once, however many epochs see them.

Shapes: N images of a phase, n of a batch, C × S × S latents, R × R pixels.
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from condhpc import generator_training, generators
from condhpc.device import to_device

if TYPE_CHECKING:
    from collections.abc import Callable

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.datasets.base import Split
    from condhpc.generators import Generator

HELD_BYTES = 4 << 30
"""A phase up to this size stays on the device; a larger one is read and encoded batch by batch."""
_DECODED = 64
"""Images that threads decode at a time."""


class PhaseLatents:
    """Latents of a phase's images by row, as stored or mirrored; without an autoencoder from pixels that are held."""

    def __init__(
        self, generator: Generator, split: Split, positions_N: NDArray[np.int64], *, batch: int, mirror: bool
    ) -> None:
        """`batch`: images that are encoded together (rounding depends on it); `mirror`: whether any is mirrored."""
        self._generator = generator
        self._split = split
        self._positions_N = positions_N
        self._batch = batch
        self._sides = (False, True) if mirror and generator.vae is not None else (False,)
        self._held: Tensor | None = None

    @property
    def fits(self) -> bool:
        """Whether all of them may stay on the device."""
        if self._generator.vae is None:
            each = 3 * self._generator.resolution**2
        else:
            each = 4 * int(np.prod(self._generator.latent_shape)) * len(self._sides)
        return len(self._positions_N) * each <= HELD_BYTES

    def fill(self, tick: Callable[[], None]) -> None:
        """Decode, and encode, all that is held; `tick` is a safe point."""
        if not self.fits:
            return
        parts: list[list[Tensor]] = [[] for _ in self._sides]
        rows_N = np.arange(len(self._positions_N))
        step = max(1, _DECODED // self._batch) * self._batch
        with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="decode") as pool:
            for first in range(0, len(rows_N), step):
                pixels = self._pixels(rows_N[first : first + step], pool)
                for part, flipped in zip(parts, self._sides, strict=True):
                    part.extend(self._kept(pixels.flip(2) if flipped else pixels))
                tick()
        self._held = torch.cat([piece for part in parts for piece in part])

    def read(self, rows_n: NDArray[np.int64], mirrored_n: NDArray[np.bool_]) -> Tensor:
        """Latents (n, C, S, S) of some of the images."""
        if self._held is None:
            with ThreadPoolExecutor(torch.get_num_threads(), thread_name_prefix="decode") as pool:
                return self._encoded(self._pixels(rows_n, pool), mirrored_n)
        if self._generator.vae is None:
            return self._encoded(self._held.index_select(0, to_device(rows_n, self._held.device)), mirrored_n)
        places_n = rows_n + mirrored_n * len(self._positions_N)
        return self._held.index_select(0, to_device(places_n, self._held.device))

    def _encoded(self, pixels_nRRC: Tensor, mirrored_n: NDArray[np.bool_]) -> Tensor:
        return self._generator.encode(generator_training.mirrored(pixels_nRRC, mirrored_n))

    def _kept(self, pixels_nRRC: Tensor) -> list[Tensor]:
        if self._generator.vae is None:
            return [pixels_nRRC]
        return [self._generator.encode(part) for part in torch.split(pixels_nRRC, self._batch)]

    def _pixels(self, rows_n: NDArray[np.int64], pool: ThreadPoolExecutor) -> Tensor:
        """(n, R, R, 3) uint8 on the device, decoded by threads."""
        shares = np.array_split(self._positions_N[rows_n], min(len(rows_n), torch.get_num_threads()))
        decode = partial(generators.squares, self._split, side=self._generator.resolution)
        return to_device(np.concatenate(list(pool.map(decode, shares))), self._generator.device)
