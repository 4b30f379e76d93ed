"""The statistics term of EDC: distances to what a network knows of all images, and of the classes at hand, half each.

Shao et al., NeurIPS 2024, arXiv 2404.13733. Of what enters each batch norm and each convolution, channel by channel,
and of what enters each convolution place by place. Shapes: U units, N images, C channels, S statistics of all sites
together, L sites.
"""

from __future__ import annotations

from functools import partial
from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from condhpc import bn_statistics, layer_statistics
from condhpc.bn_statistics import Batch, Moments, Term

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor
    from torch.utils.hooks import RemovableHandle

    from condhpc.class_statistics import Known
    from condhpc.pixels import Fidelity


class ClassTerm(Term):
    """Σ_l w_l [½ d(all) + ½ d(classes)], d = ‖Δσ²‖₂ + ‖Δμ‖₂, on smoothed statistics; the first site of a kind has
    `first_weight`, all others 1.

    Smoothed: α · average + (1 − α) · current; the average starts with the first statistics (`code`: with zero), and
    the gradient is that of the current ones.
    """

    name = "class statistics"

    def __init__(
        self,
        backbone: nn.Module,
        of_units: Sequence[Known],
        *,
        alpha: float,
        first_weight: float,
        fidelity: Fidelity,
        device: str,
    ) -> None:
        sites = layer_statistics.sites(backbone)
        self._overall = _joined([of_units[0].overall], device)
        self._classes = _joined([known.of_classes for known in of_units], device)
        self._layers_SL = bn_statistics.layer_matrix(of_units[0].sizes_L, self._overall.mean_US)
        self._weight_L = torch.ones(len(sites), device=device)
        for kind in ("norm", "conv", "place"):
            if firsts := [i for i, site in enumerate(sites) if site.kind == kind]:
                self._weight_L[firsts[0]] = first_weight
        self._alpha = alpha
        self._average: Moments | None = None
        if fidelity == "code":
            self._average = Moments(*(torch.zeros_like(values_US) for values_US in self._classes))
        self._batch: Batch | None = None
        self._held: dict[int, Moments] = {}
        self._sites = sites
        self._backbone = backbone
        self._shifts = torch.split(self._overall.mean_US[0], of_units[0].sizes_L)
        self._hooks: list[RemovableHandle] = []

    def begin(self, batch: Batch) -> None:
        """Moments of the last pass are dropped."""
        self._batch, self._held = batch, {}
        if not self._hooks:
            self._watch()

    def end(self) -> None:
        """Leave the backbone as it was."""
        for hook in self._hooks:
            hook.remove()
        self._hooks, self._batch, self._held = [], None, {}

    def _watch(self) -> None:
        """Note what enters the layers from now on."""
        modules = dict(self._backbone.named_modules())
        for place, site in enumerate(self._sites):
            note = self._note_places if site.kind == "place" else self._note_channels
            hook = partial(note, place, self._shifts[place])
            self._hooks.append(modules[site.layer].register_forward_pre_hook(hook))

    def losses(self) -> Tensor:
        """Of each unit (U,); moves the averages on."""
        in_order = [self._held[place] for place in range(len(self._weight_L))]
        found = self._smoothed(Moments(*(torch.cat(parts, dim=1) for parts in zip(*in_order, strict=True))))
        to_all_UL, to_classes_UL = (
            bn_statistics.distances(found, target, self._layers_SL) for target in (self._overall, self._classes)
        )
        return ((0.5 * to_all_UL + 0.5 * to_classes_UL) * self._weight_L).sum(dim=1)

    def state(self) -> dict[str, Any]:
        """The averages so far."""
        return {} if self._average is None else self._average._asdict()

    def restore(self, state: dict[str, Any]) -> None:
        """Take averages over."""
        if state:
            device = self._weight_L.device
            self._average = Moments(state["mean_US"].to(device), state["var_US"].to(device))

    def _smoothed(self, current: Moments) -> Moments:
        if self._average is None:
            self._average = Moments(*(values_US.detach() for values_US in current))
            return current
        found = Moments(*(_blend(a, c, self._alpha) for a, c in zip(self._average, current, strict=True)))
        self._average = Moments(*(values_US.detach() for values_US in found))
        return found

    def _note_channels(
        self, place: int, shift_C: Tensor, _layer: nn.Module, inputs: tuple[Tensor, ...]
    ) -> tuple[Tensor]:
        assert self._batch is not None
        passed_NCHW, self._held[place] = tapped(inputs[0], shift_C, self._batch.share_UN)
        return (passed_NCHW,)

    def _note_places(self, place: int, shift_G: Tensor, _layer: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        assert self._batch is not None
        self._held[place] = of_places(inputs[0], shift_G.mean(), self._batch.share_UN)


def tapped(images_NCHW: Tensor, shift_C: Tensor, share_UN: Tensor) -> tuple[Tensor, Moments]:
    """The activations themselves, to be used further on in their place, and the moments of each unit (U, C), float32.

    Sums are taken of differences from `shift_C`, which should be near the mean: then nothing cancels.
    """
    passed_NCHW, first_UC, second_UC = _Sums.apply(images_NCHW, shift_C, share_UN)
    return passed_NCHW, Moments(first_UC + shift_C, (second_UC - first_UC.square()).clamp(min=0.0))


class _Sums(torch.autograd.Function):
    """Identity, and mean and mean square of differences from a shift per unit.

    Both gradients are a + b · x for each unit and channel, so that they join that of the identity in one pass.
    Channel sums of whole images, averaged by a small product, are several times faster than var_mean on a CPU.
    """

    @staticmethod
    def forward(ctx: Any, images_NCHW: Tensor, shift_C: Tensor, share_UN: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        with torch.autocast(images_NCHW.device.type, enabled=False):
            ctx.save_for_backward(images_NCHW, shift_C, share_UN)
            off_NCHW = images_NCHW - shift_C[:, None, None]
            first_NC = off_NCHW.mean(dim=(2, 3))
            second_NC = off_NCHW.square_().mean(dim=(2, 3))
            return images_NCHW.view_as(images_NCHW), share_UN @ first_NC, share_UN @ second_NC

    @staticmethod
    def backward(ctx: Any, passed_NCHW: Tensor, first_UC: Tensor, second_UC: Tensor) -> tuple[Tensor, None, None]:
        images_NCHW, shift_C, share_UN = ctx.saved_tensors
        share_NU = share_UN.mT / (images_NCHW.shape[2] * images_NCHW.shape[3])
        slope_NC = 2.0 * (share_NU @ second_UC)
        offset_NC = share_NU @ first_UC - slope_NC * shift_C
        joined_NCHW = (passed_NCHW + offset_NC[:, :, None, None]).addcmul_(images_NCHW, slope_NC[:, :, None, None])
        return joined_NCHW.to(images_NCHW.dtype), None, None


def of_places(entering_NCHW: Tensor, near: Tensor, share_UN: Tensor) -> Moments:
    """Moments of each unit at 16 × 16 places (U, 256); `near` should be a number near the mean."""
    with torch.autocast(entering_NCHW.device.type, enabled=False):
        first_NG, second_NG = layer_statistics.place_moments(entering_NCHW.float() - near)
        first_UG = share_UN @ first_NG
        return Moments(first_UG + near, (share_UN @ second_NG - first_UG.square()).clamp(min=0.0))


def _blend(average_US: Tensor, current_US: Tensor, alpha: float) -> Tensor:
    """α · average + (1 − α) · current in value, the current ones in gradient."""
    return current_US + alpha * (average_US - current_US.detach())


def _joined(moments: Sequence[Moments], device: str) -> Moments:
    return Moments(*(torch.cat(parts).to(device) for parts in zip(*moments, strict=True)))
