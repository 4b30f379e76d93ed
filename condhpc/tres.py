"""What Slurm allocated, from its TRES texts (`cpu=8,mem=64G,node=1,gres/gpu=2,gres/gpu:h100=2`); pure."""

from __future__ import annotations

import re
from collections.abc import Mapping

import msgspec

MIXED = "+"
"""Between the types of an allocation that has several: `a100+h100`, a type of its own."""
UNTYPED = "untyped"
_MIB_OF = {"K": 1 / 1024, "M": 1.0, "G": 1024.0, "T": 1024.0**2, "P": 1024.0**3}
_MEMORY = re.compile(r"(\d+(?:\.\d+)?)([KMGTP]?)[cn]?$")
_MIG = re.compile(r"(?:^|[_.-])\d+g\.\d+gb")


class Tres(msgspec.Struct, frozen=True, gc=False):
    """What is charged of an allocation."""

    gpus: int = 0
    """Whole GPUs, or MIG slices where `gpu_type` names one."""
    gpu_type: str = ""
    """Empty where Slurm does not say; several are joined by `+`."""
    shards: int = 0
    """`gres/shard`: parts of a GPU that others use too; never added to GPUs."""
    mem_mb: int | None = None


def parse(text: str) -> Tres:
    """An AllocTRES or ReqTRES text.

    `gres/gpu=N` is the number of GPUs where it stands; else typed ones are added up. Never both: they are the same.
    """
    held = dict(part.partition("=")[::2] for part in text.split(",") if "=" in part)
    total, typed = _counted(held, "gres/gpu")
    shards, _ = _counted(held, "gres/shard")
    types = sorted(typed) + ([UNTYPED] if typed and total > sum(typed.values()) else [])
    return Tres(
        gpus=total,
        gpu_type=MIXED.join(types) if total else "",
        shards=shards,
        mem_mb=_mebibytes(held.get("mem", "")),
    )


def _counted(held: Mapping[str, str], name: str) -> tuple[int, dict[str, int]]:
    """How many of a generic resource, and how many of each of its types."""
    prefix = f"{name}:"
    counts = {key.removeprefix(prefix): _count(value) for key, value in held.items() if key.startswith(prefix)}
    typed = {key: count for key, count in counts.items() if count}
    return (_count(held[name]) if name in held else sum(typed.values())), typed


def is_mig(gpu_type: str) -> bool:
    """Whether a type is a slice of a GPU (`1g.10gb`, `a100_3g.20gb`)."""
    return _MIG.search(gpu_type.lower()) is not None


def _count(text: str) -> int:
    return int(text) if text.isdigit() else 0


def _mebibytes(text: str) -> int | None:
    match = _MEMORY.match(text.strip())
    return None if match is None else round(float(match[1]) * _MIB_OF[match[2] or "M"])
