"""Fine-tuning of Minimax Diffusion (Gu et al., CVPR 2024, arXiv 2311.15529): which weights, memories, and both terms.

Shapes: n images of a batch, D numbers of a flattened latent, M places of a memory.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from condhpc import models

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor


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
        own_mD = clean_nD[torch.from_numpy(np.flatnonzero(label_n == label)).to(clean_nD.device)]
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


class Average:
    """Exponential moving average of some parameters."""

    def __init__(self, parameters: dict[str, nn.Parameter], decay: float) -> None:
        self._parameters = parameters
        self._decay = decay
        self.values = {name: p.detach().clone() for name, p in parameters.items()}

    @torch.no_grad()
    def update(self) -> None:
        """Take in the parameters as they are."""
        values = list(self.values.values())
        torch._foreach_lerp_(values, [p.detach() for p in self._parameters.values()], 1.0 - self._decay)

    @torch.no_grad()
    def apply(self) -> None:
        """Put the average in the parameters' place."""
        for name, parameter in self._parameters.items():
            parameter.copy_(self.values[name])


def loaded(parameters: dict[str, nn.Parameter], state: dict[str, Tensor]) -> None:
    """Fill parameters in place."""
    with torch.no_grad():
        for name, parameter in parameters.items():
            parameter.copy_(state[name])
