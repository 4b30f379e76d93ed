"""Imported once per element, before tasks are forked: pays for what all tasks import; no CUDA context, no threads."""

from __future__ import annotations

from typing import Any

import torch
import torchvision
import torchvision.models

import condhpc.arrays  # and with it h5py
import condhpc.train  # noqa: F401  # the same
from condhpc.errors import StageError


def pick_device(wanted: str) -> str:
    """`cpu` or `cuda` for the profile's `auto`, `cpu` or `cuda`.

    Looks for a GPU, so it is called in the forked child only. Raises StageError where CUDA is insisted on in vain.
    """
    if wanted == "cpu":
        return "cpu"
    if torch.cuda.is_available():
        return "cuda"
    if wanted == "cuda":
        raise StageError(
            f'the profile says device = "cuda", but torch {torch.__version__} sees no GPU here; ask for one '
            '(gres), install a torch for its driver, or say device = "auto"'
        )
    return "cpu"


def gpu_uuids(device: str) -> tuple[str, ...]:
    """UUIDs of the GPUs that torch sees, for the meter; none on a CPU, and of a torch that does not tell them."""
    if device != "cuda":
        return ()
    try:
        seen = [torch.cuda.get_device_properties(index) for index in range(torch.cuda.device_count())]
    except RuntimeError:  # the stage will meet it, too, and say more
        return ()
    return tuple(str(held.uuid) for held in seen if hasattr(held, "uuid"))


def gpu_type(device: str) -> str:
    """As CUDA calls it; empty on a CPU, and where CUDA fails, which the stage will meet, too."""
    if device != "cuda":
        return ""
    try:
        return torch.cuda.get_device_name()
    except RuntimeError:
        return ""


def environment(device: str) -> dict[str, Any]:
    """What decided rounding and speed, for the record."""
    found: dict[str, Any] = {
        "torch": str(torch.__version__),
        "torchvision": str(torchvision.__version__),
        "cpu_capability": torch.backends.cpu.get_cpu_capability(),
    }
    if device == "cuda":
        found["cuda"] = torch.version.cuda
        found["cudnn"] = torch.backends.cudnn.version()  # type: ignore[no-untyped-call]
        found["gpu"] = torch.cuda.get_device_name()
    return found
