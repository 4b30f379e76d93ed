"""What reaches the pixels through a strided first convolution, as one convolution without a stride.

With three channels in, libraries' own gradient for the input is slow (on a CPU half as fast as this one). A kernel of
stride s over C channels is one without stride over the C·s² channels of blocks of s × s pixels; its gradient for the
blocks is a plain convolution, and blocks unfold to pixels. Shapes: O channels out, C in, K × K taps.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from torch import Tensor

_FEW_CHANNELS = 4


def install(network: nn.Module) -> None:
    """Give a frozen network's first convolution this gradient for good, where it has a stride and few channels in.

    Weights are looked at in every pass: they may change, move to another device or be copied with their network. While
    they want a gradient, torch's own counts.
    """
    first = next((module for module in network.modules() if isinstance(module, nn.Conv2d)), None)
    if first is not None and _is_meant(first):
        first.forward = partial(_convolved, first)  # type: ignore[method-assign]


def _is_meant(layer: nn.Conv2d) -> bool:
    plain = layer.groups == 1 and layer.dilation == (1, 1) and layer.padding_mode == "zeros"
    square = len({*layer.stride}) == len({*layer.kernel_size}) == len({*layer.padding}) == 1
    return plain and square and layer.stride[0] > 1 and layer.in_channels <= _FEW_CHANNELS


def _convolved(layer: nn.Conv2d, images_NCHW: Tensor) -> Tensor:
    if layer.weight.requires_grad or (layer.bias is not None and layer.bias.requires_grad):
        return nn.Conv2d.forward(layer, images_NCHW)
    found_NOHW: Tensor = _Convolved.apply(images_NCHW, layer.weight, layer.stride[0], int(layer.padding[0]))
    return found_NOHW if layer.bias is None else found_NOHW + layer.bias.to(found_NOHW.dtype)[:, None, None]


def _turned(weight_OCKK: Tensor, stride: int) -> Tensor:
    """The kernel over blocks, turned round, from channels out to the C·s² channels of a block (C·s², O, K, K)."""
    missing = -weight_OCKK.shape[-1] % stride
    padded_OCKK = functional.pad(weight_OCKK, (0, missing, 0, missing))
    blocks_OBKK = functional.pixel_unshuffle(padded_OCKK, stride)
    return blocks_OBKK.transpose(0, 1).flip(2, 3).contiguous(memory_format=torch.channels_last)


class _Convolved(torch.autograd.Function):
    """The convolution without its bias; gradients are for the images alone."""

    @staticmethod
    def forward(ctx: Any, images_NCHW: Tensor, weight_OCKK: Tensor, stride: int, padding: int) -> Tensor:
        ctx.save_for_backward(weight_OCKK)
        ctx.stride, ctx.padding, ctx.like = stride, padding, (images_NCHW.shape[2:], images_NCHW.dtype)
        return functional.conv2d(images_NCHW, weight_OCKK, stride=stride, padding=padding)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        (weight_OCKK,) = ctx.saved_tensors
        blocks_BOKK = _turned(weight_OCKK, ctx.stride)
        (height, width), dtype = ctx.like
        reach = blocks_BOKK.shape[-1] - 1
        found_NBHW = functional.conv2d(gradients[0], blocks_BOKK.to(gradients[0].dtype), padding=reach)
        found_NCHW = functional.pixel_shuffle(found_NBHW, ctx.stride)
        before, (rows, columns) = ctx.padding, found_NCHW.shape[2:]
        # what was padded goes, and pixels that no tap looked at get 0
        edges = (-before, before + width - columns, -before, before + height - rows)
        return functional.pad(found_NCHW, edges).to(dtype), None, None, None
