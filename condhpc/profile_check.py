"""What a profile must not say although each field for itself is right."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.resources import RANKED, StageBlock, StageResources
from condhpc.spec import STAGES, Stage
from condhpc.typed_toml import Reader, dotted

if TYPE_CHECKING:
    from condhpc.profile import Profile

_OURS = frozenset({
    "array", "chdir", "dependency", "error", "input", "job-name", "kill-on-invalid-dep", "no-requeue", "open-mode",
    "output", "parsable", "requeue", "signal", "wait", "wrap",
})  # fmt: skip
"""sbatch options that recovery depends on; a profile must not set them."""
_FIELD_OF = {
    "account": "account", "cpus-per-task": "cpus", "gpus": "gpus", "mem": "mem_gb", "nodes": "nodes",
    "ntasks": "ranks_per_node", "ntasks-per-node": "ranks_per_node", "partition": "partition", "qos": "qos",
    "time": "time_min",
}  # fmt: skip
_SOURCES = (
    ("pue", "pue_source"), ("carbon_g_per_kwh", "carbon_source"), ("gpu_tdp_w", "gpu_tdp_source"),
    ("cpu_w_per_core", "cpu_w_source"), ("dram_w_per_gb", "dram_w_source"),
)  # fmt: skip
"""Numbers, and where they are from."""


def check(reader: Reader, profile: Profile) -> None:
    """Report every contradiction to the reader."""
    for number, source in _SOURCES:
        if getattr(profile.energy, number) not in (None, {}) and not getattr(profile.energy, source):
            reader.problem(f"energy.{source}", f"missing, expected where {number} is from")
    if profile.lease_stale_s < 3 * profile.pulse_s:
        text = f"expected at least three pulses ({3 * profile.pulse_s:g} s), or live tasks are taken over"
        reader.wrong("lease_stale_s", profile.lease_stale_s, text)
    _check_sbatch(reader, profile)
    for stage in STAGES:
        found = profile.stage(stage)
        if getattr(profile.stages, stage).gpu_type and found.gpus == 0:
            reader.problem(f"stages.{stage}.gpu_type", "is given, but this stage has no `gpus`")
        _check_sharing(reader, stage, found)
        reserved_s = profile.signal_s + profile.margin_s
        if found.time_min is not None and found.time_min * 60 <= reserved_s:
            text = f"expected more than signal_s + margin_s = {reserved_s:g} s, or no task would ever start"
            reader.wrong(f"stages.{stage}.time_min", found.time_min, text)


def _check_sharing(reader: Reader, stage: Stage, found: StageResources) -> None:
    """How processes share a task, or tasks an element."""
    if found.ranks > 1 and stage not in RANKED:
        text = f"expected 1: of all stages only {' and '.join(RANKED)} share a task between ranks; write it under these"
        wrong = "nodes" if found.nodes > 1 else "ranks_per_node"
        reader.wrong(f"stages.{stage}.{wrong}", getattr(found, wrong), text)
    if found.shards > 1 and stage != "condense":
        reader.wrong(
            f"stages.{stage}.shards", found.shards, "expected 1: only sets are made in shards; write it under condense"
        )
    if found.concurrent > 1 and found.ranks > 1:
        reader.wrong(
            f"stages.{stage}.concurrent", found.concurrent, f"expected 1 where {found.ranks} ranks share a task"
        )
    if found.concurrent > found.pack:
        text = f"expected at most `pack` ({found.pack}): an element has no more tasks than that"
        reader.wrong(f"stages.{stage}.concurrent", found.concurrent, text)


def _check_sbatch(reader: Reader, profile: Profile) -> None:
    for stage in ("default", *STAGES):
        block: StageBlock = getattr(profile.stages, stage)
        for option in block.sbatch:
            where, plain = dotted(f"stages.{stage}.sbatch", option), option.lstrip("-").replace("_", "-")
            if plain in _OURS:
                reader.problem(where, "condhpc sets this option itself; remove it")
            elif plain in _FIELD_OF:
                reader.problem(where, f"has a field of its own; write stages.{stage}.{_FIELD_OF[plain]}")
