"""State dicts as they were published, under the names that networks have today."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from torch import Tensor

_DENSE_LAYER = re.compile(r"(denselayer\d+\.(?:norm|conv))\.([12]\.)")
_COUNTER = "num_batches_tracked"
_WRAPPERS, _PARALLEL = ("state_dict", "model"), "module."


def unwrapped(held: Any) -> Any:
    """The state dict inside a training checkpoint (`state_dict`, `model`), without DataParallel's `module.` prefix.

    Raises ValueError for a checkpoint with both: they may differ, and nothing here can tell which one is meant.
    """
    inside = [name for name in _WRAPPERS if isinstance(held, dict) and isinstance(held.get(name), dict)]
    if len(inside) > 1:
        raise ValueError(f"holds networks under {' and '.join(map(repr, inside))}")
    for name in inside:
        held = held[name]
    if isinstance(held, dict) and held and all(str(name).startswith(_PARALLEL) for name in held):
        return {name.removeprefix(_PARALLEL): value for name, value in held.items()}
    return held


def under_own_names(found: Mapping[str, Tensor], own: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """`found` with what years have changed put right; whatever else differs from `own` is left for the caller to see.

    torchvision's DenseNet files say `denselayer1.norm.1` for today's `denselayer1.norm1`, and files from before
    torch 0.4.1 lack the batch-norm counters, which take the network's own value: no result depends on them.
    """
    state = {_DENSE_LAYER.sub(r"\1\2", name): tensor for name, tensor in found.items()}
    for name, tensor in own.items():
        layer, _, last = name.rpartition(".")
        if last == _COUNTER and f"{layer}.running_mean" in state:
            state.setdefault(name, tensor)
    return state
