"""A network's weights as named arrays, and back: the artefact `model` of a teacher, and files made elsewhere."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from condhpc import keys, published_weights
from condhpc.errors import CorruptArtefactError, StageError, first_few

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from condhpc.spec import WeightsSpec

PREFIX = "weights/"
_SHOWN = 3
_UNREADABLE = (RuntimeError, EOFError, ValueError, LookupError, TypeError, AttributeError, pickle.UnpicklingError)
"""What torch.load makes of files that others wrote."""


def to_arrays(model: nn.Module, prefix: str = "") -> dict[str, NDArray[Any]]:
    """The state dict under `weights/<prefix><name>`; scalars as arrays of one."""
    state = model.state_dict()
    return {PREFIX + prefix + name: np.atleast_1d(tensor.detach().cpu().numpy()) for name, tensor in state.items()}


def load_arrays(model: nn.Module, arrays: Mapping[str, NDArray[Any]], path: Path, prefix: str = "") -> None:
    """Fill a network of the same architecture; raises CorruptArtefactError where names or shapes differ."""
    start = PREFIX + prefix
    found = {name.removeprefix(start): array for name, array in arrays.items() if name.startswith(start)}
    own = model.state_dict()
    wrong = _differences(own, {name: array.size for name, array in found.items()})
    if wrong:
        raise CorruptArtefactError(f"{path}: not this network's weights: {wrong}; delete its task and submit")
    model.load_state_dict({name: torch.from_numpy(a).reshape(own[name].shape) for name, a in found.items()})


def load_file(model: nn.Module, path: Path, spec: WeightsSpec) -> None:
    """Fill a network from a state dict saved by torch, whose digest the task names.

    Raises StageError where the file is missing, another one, not a plain state dict, or of another architecture.
    """
    advice = "give the profile the right file, or the manifest this digest, and submit again"
    keys.require_sha256(f"weights '{spec.name}'", path, spec.sha256, advice)
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except _UNREADABLE as error:
        raise StageError(f"weights '{spec.name}': {path} is not a file of plain tensors ({error})") from error
    try:
        state = published_weights.unwrapped(state)
    except ValueError as error:
        raise StageError(f"weights '{spec.name}': {path} {error}; save the one you mean, and name that file") from error
    if not _is_state_dict(state):
        raise StageError(f"weights '{spec.name}': {path} holds no state dict (name to tensor); save one and name it")
    state = published_weights.under_own_names(state, model.state_dict())
    _require_classes(model, state, path, spec)
    _require_finite(state, path, spec)
    wrong = _differences(model.state_dict(), {name: value.numel() for name, value in state.items()})
    if wrong:
        raise StageError(f"weights '{spec.name}': {path} does not fit {type(model).__name__}: {wrong}")
    try:
        model.load_state_dict(state)
    except RuntimeError as error:
        raise StageError(f"weights '{spec.name}': {path} does not fit {type(model).__name__}: {error}") from error


def _is_state_dict(state: object) -> bool:
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        return False
    return all(isinstance(value, torch.Tensor) and not value.is_complex() for value in state.values())


def _require_finite(state: Mapping[str, Tensor], path: Path, spec: WeightsSpec) -> None:
    bad = sorted(name for name, value in state.items() if not torch.isfinite(value).all())
    if bad:
        raise StageError(f"weights '{spec.name}': {path} holds NaN or infinite numbers, in {first_few(bad, _SHOWN)}")


def _require_classes(model: nn.Module, state: Mapping[str, Tensor], path: Path, spec: WeightsSpec) -> None:
    """A head for another number of classes is the likeliest misfit, and worth words of its own."""
    matrices = [(name, p) for name, p in model.state_dict().items() if name.endswith("weight") and p.ndim == 2]
    name, own = matrices[-1]
    found = state.get(name)
    if found is not None and found.ndim == 2 and found.shape[0] != own.shape[0]:
        raise StageError(
            f"weights '{spec.name}': {path} tells {found.shape[0]} classes apart, the dataset has {own.shape[0]}; "
            "use weights trained on this dataset's classes"
        )


def _differences(own: Mapping[str, Tensor], found_sizes: Mapping[str, int]) -> str:
    """What is missing, too much or of another size; empty where all fits."""
    parts = []
    for what, names in (
        ("lacks", own.keys() - found_sizes.keys()),
        ("has unknown", found_sizes.keys() - own.keys()),
        ("other sizes of", {n for n in own.keys() & found_sizes.keys() if own[n].numel() != found_sizes[n]}),
    ):
        if names:
            parts.append(f"{what} {first_few(sorted(names), _SHOWN)}")
    return "; ".join(parts)
