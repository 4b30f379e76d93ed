"""Mean and variance of what enters a network's batch norms and convolutions: by channel, and by place in the image.

G-VBSM (Shao et al., CVPR 2024, arXiv 2311.17950) and EDC (Shao et al., NeurIPS 2024, arXiv 2404.13733) match them.
Shapes: N images, C channels, H × W positions, G statistics of one kind at one layer: channels, or 256 places.
"""

from __future__ import annotations

from contextlib import contextmanager
from typing import TYPE_CHECKING, Literal, NamedTuple

import torch
from torch import nn
from torch.nn import functional

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
    if kind == "place":
        variance_NPP, mean_NPP = torch.var_mean(places(entering_NCHW), dim=(1, 3, 5), unbiased=False)
        return mean_NPP.flatten(1), variance_NPP.flatten(1)
    variance_NC, mean_NC = torch.var_mean(entering_NCHW.float(), dim=(2, 3), unbiased=False)
    return mean_NC, variance_NC


def places(entering_NCHW: Tensor) -> Tensor:
    """(N, C, 16, h, 16, w) float32: cut into 16 × 16 places, enlarged (bilinear) to a multiple of 16 where need be."""
    images, channels, height, width = entering_NCHW.shape
    cell_height, cell_width = -(-height // PLACES), -(-width // PLACES)
    entering_NCHW = entering_NCHW.float()
    if (height, width) != (PLACES * cell_height, PLACES * cell_width):
        size = (PLACES * cell_height, PLACES * cell_width)
        entering_NCHW = functional.interpolate(entering_NCHW, size=size, mode="bilinear", align_corners=False)
    return entering_NCHW.reshape(images, channels, PLACES, cell_height, PLACES, cell_width)
