"""Statistics of activations per unit inside the graph, and what batch norms remember against them.

Shapes: U units, N images, C channels, H × W places, L layers, S channels of all layers together.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from functools import lru_cache, partial
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

_CACHED = 1 << 20
"""Numbers that a CPU's caches hold beside as many results; larger batch norms go through them image by image."""
_TINY = 1e-30
"""Below a distance's square, so that its root has the gradient 0 where a statistic is met exactly."""


class Batch(NamedTuple):
    """The images of a forward pass."""

    labels_N: Tensor
    unit_N: Tensor
    """Which unit of the group each image belongs to."""
    share_UN: Tensor
    """1 / (images of the unit) where an image is of a unit, else 0: a product with it is a mean per unit."""


class Moments(NamedTuple):
    """Mean and biased variance of each unit."""

    mean_US: Tensor
    var_US: Tensor


class Affine(NamedTuple):
    """A batch norm in eval mode: (x − mean) · scale + offset."""

    mean_C: Tensor
    scale_C: Tensor
    offset_C: Tensor


class _Pass(NamedTuple):
    """A forward pass of a backbone: whose images they are, and what its norms hold."""

    share_UN: Tensor
    running: Moments
    affines: list[Affine]
    """Of each norm."""


class Term(ABC):
    """A loss on the activations of one backbone, one value for each unit.

    The engine calls `begin`, then the backbone, whose hooks note what they need, then `losses`; in the end `end`.
    What a term carries from step to step is in `state`.
    """

    name: str = "statistics"
    """What messages call it."""

    @abstractmethod
    def begin(self, batch: Batch) -> None:
        """Forget the last forward pass; the next one is of these images."""

    @abstractmethod
    def losses(self) -> Tensor:
        """Of the forward pass since `begin` (U,), unweighted, float32."""

    def end(self) -> None:
        """The recovery is over: hooks that stay must be idle until the next `begin`, or go."""
        return

    def state(self) -> dict[str, Any]:
        """Tensors and numbers that a resume needs; none unless overridden."""
        return {}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over what `state` gave."""
        del state


class BatchNormTerm(Term):
    """Σ_l w_l (‖σ²_l − σ̂²_l‖₂ + ‖μ_l − μ̂_l‖₂) over inputs of batch norms, running against found (SRe2L, §3.2).

    The first layer's weight is `first_weight`, all others have 1. The norms' forward passes are replaced for good, by
    one that gives the same and shares its differences from the running mean with the sums: a tenth of a CPU's step.
    """

    name = "batch-norm"

    def __init__(self, backbone: nn.Module, first_weight: float) -> None:
        self._norms = batch_norms(backbone)
        sizes, like = [norm.num_features for norm in self._norms], _running(self._norms[0])[0]
        self._layers_SL = layer_matrix(sizes, like)
        self._epsilon_S = like.new_tensor([norm.eps for norm in self._norms for _ in range(norm.num_features)])
        self._weight_L = torch.ones_like(self._layers_SL[0])
        self._weight_L[0] = first_weight
        self._pass: _Pass | None = None
        self._held: dict[int, Moments] = {}
        for layer, norm in enumerate(self._norms):
            norm.forward = partial(self._normalised, layer, norm)  # type: ignore[method-assign]

    def begin(self, batch: Batch) -> None:
        """Moments of the last pass are dropped; norms are read afresh: they may have changed, or be copies."""
        mean_S, var_S = (torch.cat(parts) for parts in zip(*map(_running, self._norms), strict=True))
        weight_S, offset_S = (torch.cat(parts) for parts in zip(*map(_learned, self._norms), strict=True))
        scale_S = torch.rsqrt(var_S + self._epsilon_S) * weight_S
        sizes = [norm.num_features for norm in self._norms]
        split = (torch.split(values_S, sizes) for values_S in (mean_S, scale_S, offset_S))
        affines = [Affine(*parts) for parts in zip(*split, strict=True)]
        self._pass, self._held = _Pass(batch.share_UN, Moments(mean_S[None], var_S[None]), affines), {}

    def end(self) -> None:
        """Norms are as before."""
        self._pass, self._held = None, {}

    def losses(self) -> Tensor:
        """Distances of all layers, weighted (U,)."""
        assert self._pass is not None
        in_order, running = [self._held[layer] for layer in range(len(self._norms))], self._pass.running
        self.end()  # else compiled code would give the moments out, and keep them
        found = Moments(*(torch.cat(parts, dim=1) for parts in zip(*in_order, strict=True)))
        return (distances(found, running, self._layers_SL) * self._weight_L).sum(dim=1)

    def _normalised(self, layer: int, norm: nn.BatchNorm2d, images_NCHW: Tensor) -> Tensor:
        """In the place of a norm's forward pass: the same; from `begin` on its input's moments are noted."""
        if self._pass is None:
            plain_NCHW: Tensor = nn.BatchNorm2d.forward(norm, images_NCHW)
            return plain_NCHW
        found_NCHW, self._held[layer] = normed(images_NCHW, self._pass.affines[layer], self._pass.share_UN)
        return found_NCHW


@lru_cache(maxsize=16)
def batch_norm_term(backbone: nn.Module, first_weight: float) -> BatchNormTerm | None:
    """The term of a backbone, one for all groups; None where it has no batch norm, as AlexNet."""
    return BatchNormTerm(backbone, first_weight) if batch_norms(backbone) else None


def batch_norms(backbone: nn.Module) -> list[nn.BatchNorm2d]:
    """All of its 2-d batch norms, in the order of its modules."""
    return [module for module in backbone.modules() if isinstance(module, nn.BatchNorm2d)]


def _running(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    assert norm.running_mean is not None
    assert norm.running_var is not None
    return norm.running_mean, norm.running_var


def _learned(norm: nn.BatchNorm2d) -> tuple[Tensor, Tensor]:
    """Weight and bias; 1 and 0 where it has none."""
    if not norm.affine:
        like_C = _running(norm)[0]
        return torch.ones_like(like_C), torch.zeros_like(like_C)
    return norm.weight.detach(), norm.bias.detach()


def layer_matrix(sizes: Sequence[int], like: Tensor) -> Tensor:
    """1 where a channel of all layers together is of a layer (S, L), on the device and of the dtype of `like`."""
    layer_S = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
    return nn.functional.one_hot(layer_S, len(sizes)).to(like)


def distances(found: Moments, target: Moments, layers_SL: Tensor) -> Tensor:
    """‖Δσ²‖₂ + ‖Δμ‖₂ of each layer (U, L)."""
    return _norms(found.var_US - target.var_US, layers_SL) + _norms(found.mean_US - target.mean_US, layers_SL)


def _norms(difference_US: Tensor, layers_SL: Tensor) -> Tensor:
    return (difference_US.square() @ layers_SL + _TINY).sqrt()


def normed(images_NCHW: Tensor, affine: Affine, share_UN: Tensor) -> tuple[Tensor, Moments]:
    """(x − mean) · scale + offset, and the moments of x of each unit (U, C), float32.

    Sums are taken of differences from the norm's mean: where the mean that is found is near it, nothing cancels.
    """
    found_NCHW, first_UC, second_UC = _Normed.apply(images_NCHW, *affine, share_UN)
    return found_NCHW, Moments(first_UC + affine.mean_C, (second_UC - first_UC.square()).clamp(min=0.0))


def _parts(images_NCHW: Tensor) -> list[slice]:
    """On a CPU so many images at a time that what is computed of them stays in its cache; on a GPU, and for a compiler
    that fuses what is computed of each number, all.
    """
    count, each = len(images_NCHW), images_NCHW[0].numel()
    whole = images_NCHW.device.type != "cpu" or torch.compiler.is_compiling()
    size = count if whole else max(1, _CACHED // each)
    return [slice(first, first + size) for first in range(0, count, size)]


class _Normed(torch.autograd.Function):
    """A batch norm in eval mode, and mean and mean square of differences from its mean per unit.

    The gradients of both are a + b · x for each unit and channel, so that they join the norm's own in one pass. Channel
    sums of whole images, averaged by a small product, are several times faster than var_mean on a CPU.
    """

    @staticmethod
    def forward(
        ctx: Any, images_NCHW: Tensor, mean_C: Tensor, scale_C: Tensor, offset_C: Tensor, share_UN: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(images_NCHW.device.type, enabled=False):
            ctx.save_for_backward(images_NCHW, mean_C, scale_C, share_UN)
            mean_C11, scale_C11, offset_C11 = (values_C[:, None, None] for values_C in (mean_C, scale_C, offset_C))
            parts, first, second = _parts(images_NCHW), [], []
            normalised_NCHW = torch.empty_like(images_NCHW) if len(parts) > 1 else None
            for part in parts:
                off_nCHW = images_NCHW[part] - mean_C11
                first.append(off_nCHW.mean(dim=(2, 3)))
                place_nCHW = None if normalised_NCHW is None else normalised_NCHW[part]
                found_nCHW = torch.addcmul(offset_C11, off_nCHW, scale_C11, out=place_nCHW)
                second.append(off_nCHW.square_().mean(dim=(2, 3)))
            whole_NCHW = found_nCHW.to(images_NCHW.dtype) if normalised_NCHW is None else normalised_NCHW
            return whole_NCHW, share_UN @ torch.cat(first), share_UN @ torch.cat(second)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        images_NCHW, mean_C, scale_C, share_UN = ctx.saved_tensors
        normalised_NCHW, first_UC, second_UC = gradients
        share_NU = share_UN.mT / (images_NCHW.shape[2] * images_NCHW.shape[3])
        slope_NC = 2.0 * (share_NU @ second_UC)
        offset_NC = share_NU @ first_UC - slope_NC * mean_C
        joined_NCHW = torch.addcmul(offset_NC[:, :, None, None], images_NCHW, slope_NC[:, :, None, None])
        joined_NCHW.addcmul_(normalised_NCHW, scale_C[:, None, None])
        return joined_NCHW.to(images_NCHW.dtype), None, None, None, None
