"""The one training loop, for teachers and students.

A checkpoint is weights, optimiser and step, because everything random comes from named streams (see `feed`); a
resumed run on the CPU ends in the very same bits. Shapes: N images of the source, n of a batch, H × W pixels,
C channels, K classes, S steps.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

from condhpc import models, rng
from condhpc.errors import StageError
from condhpc.feed import Plan, feed
from condhpc.optimize import Average, learning_rate, make_optimizer, set_learning_rate
from condhpc.ranks import Alone
from condhpc.training_state import State, Watch

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from torch import nn

    from condhpc.dynamics import Dynamics
    from condhpc.feed import Batch
    from condhpc.images import Images
    from condhpc.labels import Loss
    from condhpc.methods.base import Reporter
    from condhpc.spec import Precision, Probes, Training

_LOOK_STEPS = {"cpu": 1, "cuda": 50}
"""Every so many steps the losses are looked at: on CUDA each look waits for the device."""
_LOSS_WINDOW_STEPS = 50
_ALONE = Alone()


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
class Probe:
    """Tests on the way. They only look: nothing is selected by them."""

    probes: Probes
    top1_pct: Callable[[nn.Module], float]

    def due(self, steps: int) -> frozenset[int]:
        """Numbers of steps after which to test, evenly spaced, the end included."""
        start, count = self.probes.after * steps, self.probes.count
        return frozenset(round(start + (steps - start) * (i + 1) / count) for i in range(count))


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
    probe: Probe | None = None
    compile: str = ""
    """Mode of torch.compile for the network's forward pass; empty: none."""
    team: Alone = _ALONE
    """The ranks that train together."""

    def plan(self) -> Plan:
        """Its batches."""
        training = self.training
        return Plan(training.steps, training.batch, training.augment, self.seed, self.mean, self.std)


@dataclass(frozen=True)
class Trained:
    """What a training says of itself."""

    loss_last: float
    """Mean loss of the last 50 steps."""
    probed_top1_pct: tuple[float, ...]
    """Accuracies of the tests on the way, percent."""


def train(model: nn.Module, images: Images, run: Run, dynamics: Dynamics | None = None) -> Trained:
    """Train in place for exactly `training.steps` steps; ends with the averaged weights where they are averaged.

    Resumes from `report.checkpoint()`. Raises StageError where the loss stops being finite or the device cannot
    do what the training asks for, and whatever `report.tick` raises, after a checkpoint.
    """
    training, device, report, team = run.training, run.device, run.report, run.team
    _require_possible(training, device, team)
    models.placed(model, device).train()
    team.prepare(model)
    forward = models.compiled(model, run.compile)
    optimizer = make_optimizer(model, training.optimizer)
    average = Average(model, training.ema_decay)
    losses_S = torch.zeros(training.steps, device=device)
    state = State(model, optimizer, average, losses_S, dynamics)
    first = state.load(team.handed(report.checkpoint()), device)
    watch = Watch(losses_S, first, _LOOK_STEPS[device])
    probe_after = run.probe.due(training.steps) if run.probe is not None else frozenset()

    for batch in feed(images, run.plan(), first, team.place):
        step = batch.step
        team.begin(batch)
        _seed_layers(rng.torch_seed(run.seed, "layers", step), device)
        with torch.autocast(device, dtype=torch.bfloat16, enabled=training.precision == "bf16"):
            if training.extra_forward:
                _move_statistics(forward, batch)
            logits_nK = forward(batch.images_nCHW).float()
            loss = _share_of_loss(run.loss, batch, logits_nK)
        (loss / training.accumulate).backward()  # type: ignore[no-untyped-call]
        loss = team.reduced(model, loss.detach())
        if (step + 1) % training.accumulate == 0 or step + 1 == training.steps:
            set_learning_rate(optimizer, learning_rate(training.optimizer, step, training.steps))
            optimizer.step()
            optimizer.zero_grad(set_to_none=True)
            average.update()

        losses_S[step] = loss
        if dynamics is not None:
            whole_NK = team.gathered(logits_nK.detach(), batch)
            dynamics.note(batch.epoch, batch.whole_positions_N, whole_NK, batch.whole_labels_N)
        values = watch.after(step, len(batch.whole_positions_N))
        if step + 1 in probe_after and run.probe is not None:
            state.probed.append(_probed(model, average, run.probe))
        report.tick(step + 1, training.steps, state.saver(step + 1, watch), **values)
    average.exchange()
    return Trained(float(losses_S[-_LOSS_WINDOW_STEPS:].mean()), tuple(state.probed))


def _share_of_loss(loss: Loss, batch: Batch, logits_nK: torch.Tensor) -> torch.Tensor:
    """What a part adds to the mean over the whole batch. A rank without images in a short batch adds nothing."""
    if not len(batch.positions_n):
        return logits_nK.sum()
    return loss(batch, logits_nK) if batch.share == 1.0 else loss(batch, logits_nK) * batch.share


def _move_statistics(forward: Callable[..., torch.Tensor], batch: Batch) -> None:
    with torch.no_grad():
        forward(batch.unmixed_nCHW)


def _probed(model: nn.Module, average: Average, probe: Probe) -> float:
    """Accuracy now, with the weights that would be tested at the end; training goes on as if nothing had been."""
    average.exchange()
    top1_pct = probe.top1_pct(model)
    average.exchange()
    model.train()
    return top1_pct


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


def _require_possible(training: Training, device: str, team: Alone) -> None:
    require_precision(training.precision, device)
    if team.place.ranks > 1 and training.accumulate > 1:
        raise StageError(
            f"accumulate {training.accumulate} with {team.place.ranks} ranks: ranks hold the parts of a batch already; "
            "set nodes and ranks_per_node to 1 in the profile"
        )
    if training.bn_group != training.batch:
        raise StageError(
            f"bn_group {training.bn_group} with batch {training.batch}: batch norm is over the whole batch; "
            "set them equal"
        )
