"""Rows of what Slurm charged: one per attempt of an element, and their hours by purpose. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from datetime import UTC, datetime

from condhpc import energy_sums
from condhpc.accounts import Charge
from condhpc.energy_sums import Used
from condhpc.tables import Cell, printable
from condhpc.tres import is_mig
from condhpc.waste import PURPOSES, Spent, hours, is_waste

ATTEMPTS = (
    "submission", "stage", "element", "restart", "state", "cause", "tasks", "recorded", "submitted_utc", "eligible_utc",
    "started_utc", "ended_utc", "queue_s", "elapsed_s", "suspended_s", "gpu_type", "gpus", "gpus_are", "shards",
    "gpu_h", "suspended_gpu_h", "productive_gpu_h", "idle_gpu_h", "waste_gpu_h", "cpus", "cpu_h", "productive_cpu_h",
    "waste_cpu_h", "nodes", "mem_gib_h", "energy_kwh", "energy_grade", "energy_of", "energy_source", "source",
)  # fmt: skip
WASTE = ("gpu_type", "purpose", "is_waste", "attempts", "gpu_h", "gpu_h_pct", "cpu_h", "cpu_h_pct")
UNKNOWN = "n/a"
_DECIMALS = 6
_HOUR_S = 3600.0


def attempt_rows(
    found: Sequence[Spent], stage_of: Callable[[Charge], str], exclusive: Callable[[Charge], bool]
) -> Iterator[tuple[Cell, ...]]:
    """One row per Slurm attempt; `exclusive` tells whether its nodes were its own."""
    for one in found:
        charge = one.charge
        productive_s = one.seconds.get("productive", 0.0)
        wasted_s = sum(s for purpose, s in one.seconds.items() if is_waste(purpose))
        used, source = _energy(one, exclusive=exclusive(charge))
        yield (
            charge.submission, stage_of(charge), charge.element, charge.restart, printable(charge.state), one.cause,
            len(one.tries), sum(held.outcome == "recorded" for held in one.tries), _utc(charge.submit_s),
            _utc(charge.eligible_s), _utc(charge.start_s), _utc(charge.end_s), queue_s(charge), charge.elapsed_s,
            charge.suspended_s, charge.gpu_type, charge.gpus, _gpus_are(charge),
            charge.shards, _h(charge.gpus * charge.elapsed_s), _h(charge.gpus * charge.suspended_s),
            _h(charge.gpus * productive_s), _h(charge.gpus * one.seconds.get("idle_in_pack", 0.0)),
            _h(charge.gpus * wasted_s), charge.cpus, _h(charge.cpus * charge.elapsed_s), _h(charge.cpus * productive_s),
            _h(charge.cpus * wasted_s), charge.nodes, _mem_gib_h(charge), _rounded(used.kwh), used.grade, used.of,
            source, charge.source,
        )  # fmt: skip


def waste_rows(found: Sequence[Spent]) -> Iterator[tuple[Cell, ...]]:
    """Hours by GPU type and purpose with their share of that type's; the GPU type of CPU-only work is empty."""
    gpu_h, cpu_h = hours(found, gpus=True), hours(found, gpus=False)
    for kind in cpu_h:
        for purpose in PURPOSES:
            of_gpu, of_cpu = gpu_h.get(kind, {}), cpu_h[kind]
            if purpose not in of_cpu:
                continue
            count = sum(1 for one in found if one.charge.gpu_type == kind and one.seconds.get(purpose))
            yield (
                kind, purpose, "yes" if is_waste(purpose) else "no", count,
                _rounded(of_gpu.get(purpose, 0.0)), _pct(of_gpu.get(purpose, 0.0), sum(of_gpu.values())),
                _rounded(of_cpu[purpose]), _pct(of_cpu[purpose], sum(of_cpu.values())),
            )  # fmt: skip


def queue_s(charge: Charge) -> int | None:
    """Seconds in the queue since it could have started: not since its submission, it may have waited for others."""
    if charge.start_s is None or charge.eligible_s is None or charge.start_s < charge.eligible_s:
        return None
    return charge.start_s - charge.eligible_s


def _energy(one: Spent, *, exclusive: bool) -> tuple[Used, str]:
    """Slurm's figure of the nodes, else the sum of what the tasks' own meters said."""
    if one.charge.energy_j is not None:
        used = Used(one.charge.energy_j, "B" if exclusive else "C", energy_sums.NODE)
        return used, "ConsumedEnergyRaw" if exclusive else "ConsumedEnergyRaw, of nodes that others may share"
    if not one.tries:
        return energy_sums.UNKNOWN, ""
    gpus = one.charge.gpus > 0
    used = energy_sums.total((energy_sums.of_task(held.energy, gpus=gpus), 1.0) for held in one.tries)
    return used, "" if used.joules is None else "meters of its tasks, without the time between them"


def _gpus_are(charge: Charge) -> str:
    if charge.requested:
        return "requested"
    return "slices" if is_mig(charge.gpu_type) else "allocated"


def _mem_gib_h(charge: Charge) -> float | None:
    return None if charge.mem_mb is None else _h(charge.mem_mb / 1024 * charge.elapsed_s)


def _h(seconds: float) -> float:
    return round(seconds / _HOUR_S, _DECIMALS)


def _rounded(value: float | None) -> Cell:
    return UNKNOWN if value is None else round(value, _DECIMALS)


def _pct(part: float, whole: float) -> float | None:
    return round(100 * part / whole, 3) if whole else None


def _utc(epoch_s: int | None) -> str:
    return "" if epoch_s is None else f"{datetime.fromtimestamp(epoch_s, UTC).isoformat()[:19]}Z"
