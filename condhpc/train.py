"""The one training loop, for teachers and students, and the test pass that judges what it trained.

Everything random comes from named streams of (seed, epoch or step), so a checkpoint is weights, optimiser and
step, and a resumed run on the CPU ends in the very same bits. Shapes: N images of the source, n of a batch,
H × W pixels, C channels, K classes, E epochs, S optimiser steps.
"""

from __future__ import annotations

import itertools
import math
import os
import pickle
import time
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from condhpc import augment, models, rng
from condhpc.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.dynamics import Dynamics
    from condhpc.images import Images
    from condhpc.labels import Loss
    from condhpc.methods.base import Reporter
    from condhpc.spec import Optimizer, Precision, Training

TEST_BATCH = 256
"""Images per forward pass of a test."""
_LOOK_STEPS = {"cpu": 1, "cuda": 50}
"""Every so many steps the losses are looked at: on CUDA each look waits for the device."""
_LOSS_WINDOW_STEPS = 50
_EPSILON = 1e-8


def configure(threads: int) -> None:
    """Deterministic arithmetic on that many CPU threads; the one place where torch's global switches are set."""
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # read when cuBLAS starts; needed to be deterministic
    torch.set_num_threads(threads)
    torch.use_deterministic_algorithms(mode=True, warn_only=True)
    torch.utils.deterministic.fill_uninitialized_memory = False  # type: ignore[attr-defined]  # costs a pass over memory
    torch.backends.cudnn.benchmark = False
    torch.backends.cudnn.allow_tf32 = False  # fp32 in a key means fp32
    torch.backends.cuda.matmul.allow_tf32 = False


@dataclass(frozen=True)
class Run:
    """What one training takes beside a network and images."""

    training: Training
    loss: Loss
    mean: Sequence[float]
    std: Sequence[float]
    """Channel statistics, images in [0, 1]."""
    seed: int
    """Order and augmentation; the network comes initialised."""
    device: str
    report: Reporter


def train(model: nn.Module, images: Images, run: Run, dynamics: Dynamics | None = None) -> float:
    """Train in place for exactly `training.steps` steps and return the mean loss of the last 50.

    Resumes from `report.checkpoint()`. Raises StageError where the loss stops being finite or the device cannot
    do what the training asks for, and whatever `report.tick` raises, after a checkpoint.
    """
    training, device, report = run.training, run.device, run.report
    _require_possible(training, device)
    models.placed(model, device).train()
    optimizer = make_optimizer(model, training.optimizer)
    losses_S = torch.zeros(training.steps, device=device)
    state = _State(model, optimizer, losses_S, dynamics)
    first = state.load(report.checkpoint(), device)
    watch = _Watch(losses_S, first, _LOOK_STEPS[device])

    for step, epoch, positions_n in batches(len(images), training.batch, run.seed, first, training.steps):
        _seed_layers(rng.torch_seed(run.seed, "layers", step), device)
        generator = rng.stream(run.seed, "augment", step)
        draws = augment.draw(training.augment, len(positions_n), images.side, generator)
        images_nCHW = augment.apply(images.read(positions_n), draws, run.mean, run.std)
        labels_n = images.labels_N[torch.from_numpy(positions_n).to(device)]

        with torch.autocast(device, dtype=torch.bfloat16, enabled=training.precision == "bf16"):
            logits_nK = model(images_nCHW).float()
            loss = run.loss(images_nCHW, logits_nK, labels_n, draws.mix)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()  # type: ignore[no-untyped-call]
        for group in optimizer.param_groups:
            group["lr"] = cosine(training.optimizer.lr, step, training.steps)
        optimizer.step()

        losses_S[step] = loss.detach()
        if dynamics is not None:
            dynamics.note(epoch, positions_n, logits_nK.detach(), labels_n)
        values = watch.after(step, len(positions_n))
        report.tick(step + 1, training.steps, state.saver(step + 1, watch), **values)
    return float(losses_S[-_LOSS_WINDOW_STEPS:].mean())


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


def epochs(count: int, training: Training) -> int:
    """Passes over `count` images that the training begins; the last may be cut short."""
    return ceil(training.steps / ceil(count / training.batch))


def cosine(lr: float, step: int, steps: int) -> float:
    """Learning rate of a step: half a cosine from `lr` at step 0 towards 0 at the end, no warm-up."""
    return 0.5 * lr * (1.0 + math.cos(math.pi * step / steps))


def make_optimizer(model: nn.Module, recipe: Optimizer) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum; no decay on norm parameters and biases (those of one dimension)."""
    weights = [p for p in model.parameters() if p.ndim > 1]
    others = [p for p in model.parameters() if p.ndim <= 1]
    groups = [{"params": weights, "weight_decay": recipe.weight_decay}, {"params": others, "weight_decay": 0.0}]
    if recipe.name == "adamw":
        betas = (recipe.momentum, recipe.beta2)
        return torch.optim.AdamW(groups, lr=recipe.lr, betas=betas, eps=_EPSILON, fused=True)
    return torch.optim.SGD(groups, lr=recipe.lr, momentum=recipe.momentum, nesterov=recipe.momentum > 0, fused=True)


def _seed_layers(seed: int, device: str) -> None:
    """For layers that draw, such as dropout. (`torch.manual_seed` asks every back-end, 0.14 ms a call.)"""
    torch.default_generator.manual_seed(seed)
    if device == "cuda":
        torch.cuda.manual_seed(seed)


def require_precision(precision: Precision, device: str) -> None:
    """Raise StageError for bf16 anywhere but on CUDA (on a CPU it is several times slower than fp32)."""
    if precision == "bf16" and device != "cuda":
        raise StageError(
            f'precision bf16 needs CUDA, this is {device}; run on a GPU or set precision = "fp32" in the manifest'
        )


def _require_possible(training: Training, device: str) -> None:
    require_precision(training.precision, device)
    if training.bn_group != training.batch:
        raise StageError(
            f"bn_group {training.bn_group} with batch {training.batch}: one device normalises over its whole batch; "
            "set them equal"
        )


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


class _Watch:
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


class _State:
    """All that a resume needs, beside what the step implies."""

    def __init__(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, losses_S: Tensor, dynamics: Dynamics | None
    ) -> None:
        self._model = model
        self._optimizer = optimizer
        self._losses_S = losses_S
        self._dynamics = dynamics

    def saver(self, step: int, watch: _Watch) -> Callable[[Path], None]:
        """Writes a checkpoint after `step` steps, unless the loss is not finite."""

        def save(path: Path) -> None:
            watch.look(step)
            torch.save(self._content(step), path)

        return save

    def load(self, path: Path | None, device: str) -> int:
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
        if self._dynamics is not None:
            self._dynamics.restore(held["dynamics"])
        return int(held["step"])

    def _content(self, step: int) -> dict[str, Any]:
        return {
            "step": step,
            "model": self._model.state_dict(),
            "optimizer": self._optimizer.state_dict(),
            "losses": self._losses_S,
            "dynamics": self._dynamics.state() if self._dynamics is not None else {},
        }


@dataclass(frozen=True)
class Score:
    """How a network does on a labelled split."""

    correct_N: NDArray[np.bool_]
    loss: float
    """Mean cross-entropy."""

    @property
    def top1_pct(self) -> float:
        """Share of images whose largest logit is the label's, percent."""
        return 100.0 * float(self.correct_N.mean())


def score(model: nn.Module, images: Images, mean: Sequence[float], std: Sequence[float], device: str) -> Score:
    """Test in eval mode, always in fp32 and always in batches of TEST_BATCH; the mode is left at eval."""
    models.placed(model, device).eval()
    correct_N: list[Tensor] = []
    loss_sum = torch.zeros((), dtype=torch.float64, device=device)
    with torch.inference_mode():
        for start in range(0, len(images), TEST_BATCH):
            positions_n = np.arange(start, min(start + TEST_BATCH, len(images)))
            logits_nK = model(augment.plain(images.read(positions_n), mean, std)).float()
            labels_n = images.labels_N[start : start + TEST_BATCH]
            correct_N.append(logits_nK.argmax(dim=1) == labels_n)
            loss_sum += functional.cross_entropy(logits_nK, labels_n, reduction="sum")
    return Score(torch.cat(correct_N).cpu().numpy(), float(loss_sum) / len(images))
