"""Layers whose output depends on a whole batch, over a batch that is split between ranks.

Batch norm takes its statistics over all parts (torch's SyncBatchNorm refuses CPU tensors); dropout and stochastic
depth draw for the whole batch and use their rows. So the numbers are those of one process, up to rounding.
Shapes: n images of this rank's part, N of the whole batch, C channels, R ranks, m values per channel.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import nn
from torch.autograd import Function
from torchvision.ops import StochasticDepth

if TYPE_CHECKING:
    from torch import Tensor

Gather = Callable[["Tensor"], "Tensor"]
"""A tensor to those of all ranks, stacked (R, …)."""
Sum = Callable[["Tensor"], None]
"""Adds up a tensor over all ranks, in place."""


@dataclass
class Part:
    """Which rows of the current batch are this rank's."""

    start: int = 0
    count: int = 0
    """Images of the whole batch."""


def span(model: nn.Module, part: Part, gather: Gather, total: Sum) -> None:
    """Swap the layers in place. Parameters and buffers stay the same objects under the same names."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.BatchNorm1d | nn.BatchNorm2d) and not isinstance(child, SharedBatchNorm):
                setattr(module, name, SharedBatchNorm(child, gather, total))
            elif isinstance(child, nn.Dropout | StochasticDepth):
                setattr(module, name, _WholeDraw(child, part))


class SharedBatchNorm(nn.BatchNorm2d):
    """Batch norm over the parts of all ranks; in eval mode as ever."""

    def __init__(self, norm: nn.BatchNorm1d | nn.BatchNorm2d, gather: Gather, total: Sum) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum, norm.affine, norm.track_running_stats)
        for name, parameter in norm.named_parameters():
            setattr(self, name, parameter)
        for name, buffer in norm.named_buffers():
            setattr(self, name, buffer)
        self.train(norm.training)
        self._gather = gather
        self._total = total

    def _check_input_dim(self, input: Tensor) -> None:  # noqa: A002 - torch's name
        """Any number of dimensions from two on."""

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 - torch's name
        """(n, C, …) normalised per channel."""
        if not self.training:
            return super().forward(input)
        output, mean_C, var_C, count = _Normalise.apply(
            input, self.weight, self.bias, self.eps, self._gather, self._total
        )
        self._track(mean_C, var_C, count)
        return output  # type: ignore[no-any-return]

    @torch.no_grad()
    def _track(self, mean_C: Tensor, var_C: Tensor, count: Tensor) -> None:
        """Running statistics as torch keeps them: the variance unbiased."""
        if self.running_mean is None or self.running_var is None or self.num_batches_tracked is None:
            return
        self.num_batches_tracked.add_(1)
        share = self.momentum if self.momentum is not None else 1.0 / float(self.num_batches_tracked)
        self.running_mean.lerp_(mean_C, share)
        self.running_var.lerp_(var_C * count / (count - 1.0), share)


class _Normalise(Function):
    """Statistics of each part, one collective that joins them; backward, the sums of two gradients and one more."""

    @staticmethod
    def forward(
        ctx: Any, x_nC: Tensor, weight_C: Tensor, bias_C: Tensor, eps: float, gather: Gather, total: Sum
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        values = x_nC.float()
        over = [d for d in range(x_nC.ndim) if d != 1]
        shape = [1, -1, *[1] * (x_nC.ndim - 2)]
        mean_C, var_C, count = _joined(gather(_statistics(values, over)))
        invstd_C = torch.rsqrt(var_C + eps)
        normed = (values - mean_C.view(shape)) * invstd_C.view(shape)
        ctx.save_for_backward(normed, weight_C, invstd_C, count)
        ctx.total, ctx.over, ctx.shape = total, over, shape
        output = normed * weight_C.view(shape) + bias_C.view(shape)
        ctx.mark_non_differentiable(mean_C, var_C, count)
        return output.to(x_nC.dtype), mean_C, var_C, count

    @staticmethod
    def backward(ctx: Any, *gradients: Any) -> Any:
        normed, weight_C, invstd_C, count = ctx.saved_tensors
        given = gradients[0].float()
        own_2C = torch.stack([given.sum(ctx.over), (given * normed).sum(ctx.over)])
        whole_2C = own_2C.clone()
        ctx.total(whole_2C)
        mean_2C = whole_2C / count
        centred = given - mean_2C[0].view(ctx.shape) - normed * mean_2C[1].view(ctx.shape)
        into = centred * (weight_C * invstd_C).view(ctx.shape)
        # Weight and bias are this part's share alone: all gradients are summed over the ranks later.
        return into.to(gradients[0].dtype), own_2C[1], own_2C[0], None, None, None


def _statistics(values: Tensor, over: list[int]) -> Tensor:
    """(2 C + 1): mean, sum of squared deviations, and values per channel of one part; zeros of an empty one."""
    size = values.numel() // values.shape[1]
    if not size:
        return values.new_zeros(2 * values.shape[1] + 1)
    var_C, mean_C = torch.var_mean(values, over, correction=0)
    return torch.cat([mean_C, var_C * size, var_C.new_tensor([size])])


def _joined(parts_R: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Mean (C), biased variance (C) and values per channel of all parts, by Chan et al.: no large sums cancel."""
    mean_RC, squares_RC = parts_R[:, :-1].chunk(2, dim=1)
    count_R1 = parts_R[:, -1:]
    count = count_R1.sum()
    mean_C = (mean_RC * count_R1).sum(dim=0) / count
    squares_C = (squares_RC + count_R1 * (mean_RC - mean_C) ** 2).sum(dim=0)
    return mean_C, squares_C / count, count


class _WholeDraw(nn.Module):
    """Dropout or stochastic depth that draws as one process would for the whole batch, and uses this rank's rows."""

    def __init__(self, layer: nn.Module, part: Part) -> None:
        super().__init__()
        self._layer = layer
        self._part = part
        self._per_image = isinstance(layer, StochasticDepth)
        self.train(layer.training)

    def forward(self, x_nC: Tensor) -> Tensor:
        """(n, …), scaled and zeroed as the layer draws."""
        if not self.training:
            return x_nC
        rows = slice(self._part.start, self._part.start + len(x_nC))
        shape = (self._part.count, *([1] * (x_nC.ndim - 1) if self._per_image else x_nC.shape[1:]))
        drawn_NC: Tensor = self._layer(x_nC.new_ones(shape))
        return x_nC * drawn_NC[rows]
