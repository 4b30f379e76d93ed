"""Mean and variance of what enters a network's batch norms and convolutions: by channel, and by place in the image.

G-VBSM (Shao et al., CVPR 2024, arXiv 2311.17950) and EDC (Shao et al., NeurIPS 2024, arXiv 2404.13733) match them.
Shapes: N images, C channels, H × W positions, G statistics of one kind at one layer: channels, or 256 places.
"""

from __future__ import annotations

from contextlib import contextmanager
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from torch import Tensor

Kind = Literal["norm", "conv", "place"]
"""Channels of what enters a batch norm; channels of what enters a convolution; places of what enters a convolution."""
PLACES = 16
"""Places along each side of an image."""


class Site(NamedTuple):
    """One kind of statistics at one layer."""

    kind: Kind
    layer: str
    """The module's name in its network."""

    @property
    def name(self) -> str:
        """As arrays are called."""
        return f"{self.kind} {self.layer}"


def sites(model: nn.Module) -> list[Site]:
    """All that a network offers, layer by layer: both channels and places of each convolution."""
    found = []
    for name, module in model.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            found.append(Site("norm", name))
        elif isinstance(module, nn.Conv2d):
            found += [Site("conv", name), Site("place", name)]
    return found


@contextmanager
def watched(model: nn.Module, see: Callable[[Site, Tensor], None]) -> Iterator[None]:
    """While this lasts, `see` gets each site and what enters its layer (N, C, H, W), in every forward pass."""
    modules = dict(model.named_modules())
    handles = [
        modules[site.layer].register_forward_pre_hook(lambda _module, inputs, site=site: see(site, inputs[0]))
        for site in sites(model)
    ]
    try:
        yield
    finally:
        for handle in handles:
            handle.remove()


def of_images(kind: Kind, entering_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and biased variance of each image (N, G), float32: over positions, or over all that lies at a place."""
    entering_NCHW = entering_NCHW.float()
    if kind == "place":
        shift_N111 = entering_NCHW.mean(dim=(1, 2, 3), keepdim=True)
        first_NG, second_NG = place_moments(entering_NCHW - shift_N111)
        return first_NG + shift_N111.flatten(1), (second_NG - first_NG.square()).clamp(min=0.0)
    variance_NC, mean_NC = torch.var_mean(entering_NCHW, dim=(2, 3), unbiased=False)
    return mean_NC, variance_NC


def place_moments(entering_NCHW: Tensor) -> tuple[Tensor, Tensor]:
    """Mean and mean square of each image at 16 × 16 places (N, 256), over channels and over the positions of a place.

    As if the image had been enlarged to a multiple of 16 (bilinear), which would make small maps up to 256 times as
    large. The square of an interpolated value is a sum of products of neighbours, and channels can be summed first.
    """
    height, width = entering_NCHW.shape[2:]
    rows, columns = _enlarging(height, entering_NCHW.device), _enlarging(width, entering_NCHW.device)
    first_NPP = rows.values @ entering_NCHW.mean(dim=1) @ columns.values.mT
    second_NPP = rows.squares @ _product(entering_NCHW, entering_NCHW) @ columns.squares.mT
    right_NCHw, down_NChW = entering_NCHW[..., 1:], entering_NCHW[..., 1:, :]
    left_NCHw, up_NChW = entering_NCHW[..., :-1], entering_NCHW[..., :-1, :]
    if width % PLACES:
        second_NPP = second_NPP + rows.squares @ _product(left_NCHw, right_NCHw) @ columns.crosses.mT
    if height % PLACES:
        second_NPP = second_NPP + rows.crosses @ _product(up_NChW, down_NChW) @ columns.squares.mT
    if height % PLACES and width % PLACES:
        falling_Nhw = _product(up_NChW[..., :-1], down_NChW[..., 1:])
        rising_Nhw = _product(up_NChW[..., 1:], down_NChW[..., :-1])
        second_NPP = second_NPP + 0.5 * (rows.crosses @ (falling_Nhw + rising_Nhw) @ columns.crosses.mT)
    return first_NPP.flatten(1), second_NPP.flatten(1)


def _product(one_NCHW: Tensor, other_NCHW: Tensor) -> Tensor:
    return (one_NCHW * other_NCHW).mean(dim=1)


class _Enlarging(NamedTuple):
    """Weights along one axis of H positions, averaged over the enlarged positions of each place."""

    values: Tensor
    """(16, H)."""
    squares: Tensor
    """Of a position's square in the square of an interpolated value (16, H)."""
    crosses: Tensor
    """Of the product of a position and the next one (16, H−1)."""


@lru_cache(maxsize=256)
def _enlarging(length: int, device: torch.device) -> _Enlarging:
    enlarged = PLACES * -(-length // PLACES)
    looks_E = ((np.arange(enlarged) + 0.5) * length / enlarged - 0.5).clip(0.0, length - 1.0)
    gap_EH = np.maximum(1.0 - np.abs(looks_E[:, None] - np.arange(length)), 0.0)
    found = (gap_EH, gap_EH**2, 2.0 * gap_EH[:, :-1] * gap_EH[:, 1:])
    pooled = (
        weights.reshape(PLACES, enlarged // PLACES, weights.shape[1]).mean(axis=1).astype(np.float32)
        for weights in found
    )
    return _Enlarging(*(torch.from_numpy(weights).to(device) for weights in pooled))
