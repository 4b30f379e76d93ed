"""Losses and pixels of units under watch: what a recovery reports, and when it has diverged."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from condhpc.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from condhpc.methods.base import Group

SATURATED_SHARE = 0.95
"""A unit of which more values than this are black or white has diverged."""
_LOOK_STEPS = {"cpu": 1, "cuda": 50}
"""Every so many steps losses are looked at: on CUDA each look waits for the device."""
_PIXEL_LOOK_STEPS = 100


class Watch:
    """Keeps the losses of all steps on the device, and looks at those that are new now and then."""

    def __init__(self, group: Group, terms: Sequence[str], steps: int, device: str) -> None:
        self._group, self._terms, self._steps, self._device = group, terms, steps, device
        self._losses_STU = torch.zeros(steps, len(terms), len(group), device=device)
        self._seen: int | None = None
        self._values: dict[str, float] = {}

    def after(
        self, step: int, losses_TU: Tensor, pixels_NCHW: Tensor, limits: tuple[Tensor, Tensor]
    ) -> dict[str, float]:
        """Note the losses of a step; progress values as fresh as the last look. Raises StageError as `look` does."""
        self._losses_STU[step] = losses_TU
        self._seen = step if self._seen is None else self._seen
        last = step + 1 == self._steps
        if step + 1 - self._seen >= _LOOK_STEPS[self._device] or last:
            self.look(step + 1)
        if (step + 1) % _PIXEL_LOOK_STEPS == 0 or last:
            self._look_at_pixels(step, pixels_NCHW, limits)
        return self._values

    def look(self, end: int) -> None:
        """All losses up to step `end` that are new; raises StageError naming unit, step and term of one that is not
        finite.
        """
        if self._seen is None or self._seen >= end:
            return
        losses_STU = self._losses_STU[self._seen : end].cpu()
        bad = (~torch.isfinite(losses_STU)).nonzero()
        if len(bad):
            step, term, unit = bad[0].tolist()
            raise StageError(
                f"{self._group[unit].name}: the {self._terms[term]} loss is {float(losses_STU[step, term, unit])} at "
                f"step {self._seen + step} of {self._steps}: the images diverged; lower lr or the term's weight"
            )
        mean_T = losses_STU[-1].mean(dim=1)
        self._values = {"loss": float(mean_T.sum()), "statistics": float(mean_T[1])}
        self._seen = end

    def _look_at_pixels(self, step: int, pixels_NCHW: Tensor, limits: tuple[Tensor, Tensor]) -> None:
        """Raises StageError where nearly all values of a unit are at a limit, or one is not finite."""
        low_C11, high_C11 = limits
        pinned_N = ((pixels_NCHW <= low_C11) | (pixels_NCHW >= high_C11)).flatten(1).float().mean(dim=1)
        broken_N = (~torch.isfinite(pixels_NCHW)).flatten(1).any(dim=1)
        pinned_N, broken_N = pinned_N.cpu(), broken_N.cpu()
        sizes = [len(unit.labels) for unit in self._group]
        parts = zip(self._group, torch.split(pinned_N, sizes), torch.split(broken_N, sizes), strict=True)
        for unit, pinned_n, broken_n in parts:
            where = f"{unit.name}, step {step} of {self._steps}"
            if broken_n.any():
                raise StageError(f"{where}: a pixel is not finite: the sum of all terms has no gradient; lower lr")
            share = float(pinned_n.mean())
            if share > SATURATED_SHARE:
                raise StageError(
                    f"{where}: {share:.0%} of the pixels are black or white, at most {SATURATED_SHARE:.0%} are sound: "
                    "the update is too large; lower lr"
                )
