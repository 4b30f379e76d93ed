"""What a training holds beside its network: losses under watch, and all that a resume needs."""

from __future__ import annotations

import pickle
import time
from typing import IO, TYPE_CHECKING, Any

import torch

from condhpc.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from torch import Tensor, nn

    from condhpc.dynamics import Dynamics
    from condhpc.optimize import Average


class Watch:
    """Looks at the losses now and then, because every look at a GPU's value waits for the GPU."""

    def __init__(self, losses_S: Tensor, first: int, every: int) -> None:
        self._losses_S = losses_S
        self._every = every
        self._seen = first
        self._images = 0
        self._since = time.perf_counter()
        self._values: dict[str, float] = {}

    def after(self, step: int, images: int) -> dict[str, float]:
        """Progress values after a step, as fresh as the last look; raises StageError for a loss that is not finite."""
        self._images += images
        if step + 1 - self._seen >= self._every or step + 1 == len(self._losses_S):
            self.look(step + 1)
        return self._values

    def look(self, end: int) -> None:
        """Check all losses up to step `end`."""
        losses = self._losses_S[self._seen : end].cpu()
        if not len(losses):
            return
        bad = (~torch.isfinite(losses)).nonzero().flatten()
        if len(bad):
            step = self._seen + int(bad[0])
            raise StageError(
                f"the loss is {float(losses[bad[0]])} at step {step} of {len(self._losses_S)}: training diverged; "
                "lower lr, or look for constant or empty images"
            )
        now = time.perf_counter()
        rate = self._images / max(now - self._since, 1e-9)
        self._values = {"loss": float(losses[-1]), "images_per_s": rate}
        self._seen, self._images, self._since = end, 0, now


class State:
    """All that a resume needs, beside what the step implies."""

    def __init__(
        self,
        model: nn.Module,
        optimizer: torch.optim.Optimizer,
        average: Average,
        losses_S: Tensor,
        dynamics: Dynamics | None,
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._average = average
        self._losses_S = losses_S
        self._dynamics = dynamics
        self.probed: list[float] = []
        """Accuracies of the tests on the way so far, percent."""

    def saver(self, step: int, watch: Watch) -> Callable[[Path], None]:
        """Writes a checkpoint after `step` steps, unless the loss is not finite."""

        def save(path: Path) -> None:
            watch.look(step)
            torch.save(self._content(step), path)

        return save

    def load(self, path: Path | IO[bytes] | None, device: str) -> int:
        """Take over a checkpoint and return its step.

        0 without one, or where it cannot be read: it only saves time, the same numbers are computed again.
        """
        if path is None:
            return 0
        try:
            held: dict[str, Any] = torch.load(path, map_location=device, weights_only=True)
        except (OSError, EOFError, RuntimeError, ValueError, pickle.UnpicklingError):
            return 0
        self._model.load_state_dict(held["model"])
        self._optimizer.load_state_dict(held["optimizer"])
        self._losses_S.copy_(held["losses"])
        for value, kept in zip(self._average.values, held["average"], strict=True):
            value.copy_(kept)
        self.probed = list(held["probed"])
        if self._dynamics is not None:
            self._dynamics.restore(held["dynamics"])
        return int(held["step"])

    def _content(self, step: int) -> dict[str, Any]:
        return {
            "step": step,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "average": self._average.values,
            "losses": self._losses_S,
            "probed": self.probed,
            "dynamics": self._dynamics.state() if self._dynamics is not None else {},
        }
