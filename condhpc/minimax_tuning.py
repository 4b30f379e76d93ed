"""Fine-tuning of Minimax Diffusion (Gu et al., CVPR 2024, arXiv 2311.15529): which weights, memories, and both terms.

Shapes: n images of a batch, D numbers of a flattened latent, M places of a memory.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from condhpc import diffusion, generator_training, models, sampling
from condhpc.device import to_device
from condhpc.errors import StageError
from condhpc.optimize import Average
from condhpc.phase_latents import PhaseLatents
from condhpc.spec import GeneratorTraining

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.generators import Generator
    from condhpc.methods.base import Unit, Work


State = dict[str, Any]
_LOOK_STEPS = {"cpu": 1, "cuda": 50}
"""Every so many steps the losses are looked at: on CUDA each look waits for the device."""
_TERMS = ("diffusion loss", "representativeness term", "diversity term")


class Memory:
    """The last vectors of each class, first in first out."""

    def __init__(self, labels: Sequence[int], places: int) -> None:
        self._places = places
        self._held: dict[int, Tensor] = {label: torch.zeros(0) for label in labels}

    def of(self, label: int) -> Tensor:
        """(m, D), oldest first; m grows up to the places there are."""
        return self._held[label]

    def push(self, label: int, vectors_nD: Tensor) -> None:
        """Add vectors in their order; what is too old goes."""
        held = self._held[label]
        kept = torch.cat([held, vectors_nD]) if len(held) else vectors_nD
        self._held[label] = kept[-self._places :].detach().clone()

    def state(self) -> dict[str, Tensor]:
        """All there is, by label."""
        return {str(label): held for label, held in self._held.items()}

    def restore(self, state: dict[str, Tensor], device: torch.device) -> None:
        """Go on from `state`."""
        self._held = {int(label): held.to(device) for label, held in state.items()}


class Terms(NamedTuple):
    """Means over the classes of a batch; 0 where no class has memories yet."""

    representative: Tensor
    """1 − the cosine of a prediction to the least similar real latent in memory: to be lowered."""
    diverse: Tensor
    """Cosine of a prediction to the most similar earlier prediction in memory: to be lowered."""


def terms(
    clean_nD: Tensor, label_n: NDArray[np.int64], real: Memory, made: Memory, fidelity: Literal["paper", "code"]
) -> Terms:
    """Both terms of predictions x̂0. `paper`: the extreme of each prediction, averaged; `code`: of a class's pairs."""
    labels = np.unique(label_n).tolist()
    zero = clean_nD.sum() * 0.0
    representative, diverse = zero, zero
    for label in labels:
        own_mD = clean_nD[to_device(np.flatnonzero(label_n == label), clean_nD.device)]
        if len(real.of(label)):
            nearness_m = cosines(own_mD, real.of(label)).amin(dim=1)
            representative = representative + 1.0 - (nearness_m.amin() if fidelity == "code" else nearness_m.mean())
        if len(made.of(label)):
            nearness_m = cosines(own_mD, made.of(label)).amax(dim=1)
            diverse = diverse + (nearness_m.amax() if fidelity == "code" else nearness_m.mean())
    return Terms(representative / len(labels), diverse / len(labels))


def cosines(first_nD: Tensor, second_mD: Tensor) -> Tensor:
    """(n, m) cosines of all pairs."""
    return functional.normalize(first_nD, dim=1) @ functional.normalize(second_mD, dim=1).T


def prepare(network: nn.Module) -> dict[str, nn.Parameter]:
    """Choose what is trained, as DiffFit does, and freeze the rest: biases, norms, embeddings of classes, and scales.

    Each attention and each feed-forward layer gets a scale (γ, a single number that starts at 1). Weights that
    modulate or embed steps, which stand under a norm's name in diffusers, are no norm's and stay frozen.
    """
    models.frozen(network)
    blocks: Any = network.transformer_blocks
    for block in blocks:
        for name in ("attn1", "ff"):
            layer = getattr(block, name)
            device = next(layer.parameters()).device
            layer.register_parameter("gamma", nn.Parameter(torch.ones((), device=device)))
            layer.register_forward_hook(_scaled)
    chosen = {name: p for name, p in network.named_parameters() if is_trained(network, name)}
    for parameter in chosen.values():
        parameter.requires_grad = True
    return chosen


def is_trained(network: nn.Module, name: str) -> bool:
    """Whether DiffFit trains a parameter."""
    owner, _, last = name.rpartition(".")
    norm = isinstance(network.get_submodule(owner), nn.LayerNorm | nn.GroupNorm)
    return last in {"bias", "gamma"} or norm or owner.endswith("embedding_table")


def _scaled(layer: nn.Module, _inputs: tuple[Any, ...], output: Tensor) -> Tensor:
    gamma: Tensor = layer.gamma  # type: ignore[assignment]
    return gamma * output


def images(work: Work, unit: Unit, guided_channels: int) -> NDArray[np.uint8]:
    """Images (n, R, R, 3) of a phase: the generator is tuned on its classes, then draws them.

    Raises StageError where a term of the loss, or an image, is not finite.
    """
    resumed = work.steps.resumed or {}
    tuning = Tuning(work, unit)
    wanted = [sampling.Wanted(*image) for image in zip(unit.labels, unit.places, strict=True)]
    sampler = sampling.Sampler(
        steps=work.params.steps,
        guidance=work.params.guidance,
        guided_channels=guided_channels,
        batch=work.params.sample_batch,
    )
    total = tuning.steps + sampling.total_steps(sampler, len(wanted))
    tuning.restore(resumed)
    tuning.run(total)
    tuned = tuning.tuned()

    def report(step: int, _of: int, state: Callable[[], sampling.State]) -> None:
        work.steps.tick(tuning.steps + step, total, lambda: {**tuning.state(), "sampling": state()})

    making = sampling.Making(
        generator=tuned, sampler=sampler, side=work.spec.resolution, stream=work.stream, report=report
    )
    return sampling.images(making, wanted, resumed.get("sampling"))


class Tuning:
    """The tuning of one phase: network, optimiser, average, memories, and how far it is."""

    def __init__(self, work: Work, unit: Unit) -> None:
        params, generator = work.params, work.generators["generator"]
        network = generator.own_copy()
        self.parameters = prepare(network)
        self._work, self._unit = work, unit
        self._generator: Generator = generator.with_network(network)
        self._labels = tuple(dict.fromkeys(unit.labels))
        self._positions_N = np.concatenate([work.train.of_class(label) for label in self._labels])
        batch = min(params.batch, len(self._positions_N))
        self.steps = params.epochs * -(-len(self._positions_N) // batch)
        training = GeneratorTraining(
            steps=self.steps,
            batch=batch,
            lr=params.lr,
            ema_decay=params.ema_decay,
            label_dropout=params.label_dropout,
            mirror=params.mirror,
            precision=work.spec.precision,
        )
        stream = partial(work.stream, unit.name)
        self._drawing = generator_training.Drawing(training, stream, len(self._positions_N), generator)
        self._latents = PhaseLatents(
            self._generator, work.train, self._positions_N, batch=params.batch, mirror=params.mirror
        )
        self._optimizer = torch.optim.AdamW(self.parameters.values(), lr=params.lr, weight_decay=0.0, fused=True)
        self._average = Average(nn.ParameterList(self.parameters.values()), params.ema_decay)
        self._real, self._made = Memory(self._labels, params.memory), Memory(self._labels, params.memory)
        self._losses = Losses(unit.name, self.steps)
        self._step = 0

    def run(self, total: int) -> None:
        """All steps that are left; `total` counts those of the drawing, too."""
        if self._step < self.steps:
            self._latents.fill(lambda: self._work.steps.tick(self._step, total))
        for step in range(self._step, self.steps):
            self._losses.add(step, self._one(step))
            self._step = step + 1
            if self._step % _LOOK_STEPS[self._work.device] == 0 or self._step == self.steps:
                self._losses.look()
            self._work.steps.tick(self._step, total, self.state, **self._losses.values)

    def tuned(self) -> Generator:
        """The generator with the average of the tuned weights. The last call: the tuning is over."""
        self._average.exchange()
        models.frozen(self._generator.network)
        return self._generator

    def state(self) -> State:
        """What `restore` goes on from."""
        self._losses.look()
        return {
            "step": self._step,
            "tuned": {name: p.detach() for name, p in self.parameters.items()},
            "average": list(self._average.values),
            "optimizer": self._optimizer.state_dict(),
            "real": self._real.state(),
            "made": self._made.state(),
        }

    def restore(self, state: State) -> None:
        """Go on from a state, if there is one; one of the drawing has the average in the weights' place."""
        if not state:
            return
        with torch.no_grad():
            for name, parameter in self.parameters.items():
                parameter.copy_(state["tuned"][name])
            for value, kept in zip(self._average.values, state["average"], strict=True):
                value.copy_(kept)
        if "sampling" in state:
            self._average.exchange()
        self._optimizer.load_state_dict(state["optimizer"])
        self._real.restore(state["real"], self._generator.device)
        self._made.restore(state["made"], self._generator.device)
        self._step = int(state["step"])

    def _one(self, step: int) -> Tensor:
        """One step; its terms, unweighted."""
        generator, params = self._generator, self._work.params
        drawn = self._drawing.at(step)
        label_n = self._work.train.labels_N[self._positions_N[drawn.positions_n]]
        latents_nCSS = self._latents.read(drawn.positions_n, drawn.mirrored_n)
        seen = generator_training.noised(generator, latents_nCSS, np.where(drawn.unlabelled_n, -1, label_n), drawn)
        error = diffusion.loss(generator.chain, seen)
        clean_nD = generator.chain.clean(seen.noisy_nCSS, seen.step_n, seen.predicted_nCSS).flatten(1)
        found = terms(clean_nD, label_n, self._real, self._made, params.fidelity)
        self._optimizer.zero_grad(set_to_none=True)
        loss = error + params.representative * found.representative + params.diverse * found.diverse
        loss.backward()
        self._optimizer.step()
        self._average.update()
        self._remember(label_n, latents_nCSS.flatten(1), clean_nD.detach())
        return torch.stack([error, *found]).detach()

    def _remember(self, label_n: NDArray[np.int64], real_nD: Tensor, made_nD: Tensor) -> None:
        for label in np.unique(label_n).tolist():
            own_m = to_device(np.flatnonzero(label_n == label), real_nD.device)
            self._real.push(label, real_nD[own_m])
            self._made.push(label, made_nD[own_m])


class Losses:
    """The terms of steps that have not been looked at yet."""

    def __init__(self, name: str, steps: int) -> None:
        self._name = name
        self._steps = steps
        self._waiting: list[tuple[int, Tensor]] = []
        self.values: dict[str, float] = {}
        """As of the last look, for people."""

    def add(self, step: int, terms_3: Tensor) -> None:
        """The terms of a step."""
        self._waiting.append((step, terms_3))

    def look(self) -> None:
        """Raise StageError for the first term that is not finite."""
        if not self._waiting:
            return
        found_S3 = torch.stack([terms_3 for _, terms_3 in self._waiting]).cpu().numpy()
        for (step, _), terms_3 in zip(self._waiting, found_S3, strict=True):
            for term, value in zip(_TERMS, terms_3.tolist(), strict=True):
                if not np.isfinite(value):
                    raise StageError(
                        f"{self._name}: the {term} is {value} at step {step} of {self._steps}: tuning diverged; "
                        "lower params.minimax.lr, or look at the generator"
                    )
        error, representative, diverse = found_S3[-1].tolist()
        self.values = {"loss": error, "representative": representative, "diverse": diverse}
        self._waiting = []
