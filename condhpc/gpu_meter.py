"""From looks at one task's GPUs to an energy figure, utilisation and memory. Clock and driver are handed in."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import NamedTuple

from condhpc.allotment import Allotment
from condhpc.counters import Counter
from condhpc.energy import Energy, Grade, Power, tdp_w, worst
from condhpc.gpu_match import OwnGpu
from condhpc.power_sources import GpuSample

MEASURED_WINDOW_S = 10.0
"""Below it boards' counters, which move about ten times a second, are no measurement of grade A."""
_SHORTEST_S = 1.0
_WHOLE = 0.95
"""Share of an attempt that a counter must have covered to speak for all of it …"""
_OPENING_S = 2.0
"""… or all but the time in which the driver is opened."""
_SLACK = 1.2
"""A board exceeds its power limit for moments."""
MAX_BOARD_W = 2000.0
"""No board draws more: what is believed where its limit is not known."""
IDLE_W = 10.0
"""No board with a counter idles much below it; half of it is the least that is believed."""


class Sharing(NamedTuple):
    """What part of a GPU was this task's in an interval, and by which measure."""

    share: float
    measure: str = ""
    """Empty: the GPU was its own."""


def sharing(sample: GpuSample, own: Collection[int], neighbours: Collection[int], allotment: Allotment) -> Sharing:
    """Split a GPU by kernel time, else by memory, else equally.

    It is shared where tasks of one element run at a time, and where the driver lists `neighbours` (processes that live
    beside us) or ours beside others, unless these are ranks of the same task. Others alone say nothing: in a container
    the driver has other pids for our own processes.
    """
    lanes = allotment.lanes
    others = sample.processes.keys() - set(own)
    ours = sample.processes.keys() & set(own)
    if lanes == 1 and (allotment.ranks > 1 or not (neighbours or (ours and others))):
        return Sharing(1.0)
    busy = {pid: pct for pid, pct in sample.process_util_pct.items() if pct > 0}
    for weights, measure in ((busy, "kernel time"), (_known(sample.processes), "memory")):
        mine, all_ = (sum(w for pid, w in weights.items() if pid in chosen) for chosen in (set(own), set(weights)))
        if mine or (weights and (ours or neighbours)):
            return Sharing(mine / all_, measure)
    return Sharing(1.0 / lanes if lanes > 1 else len(ours) / (len(ours) + len(others)), "equal parts")


def _known(processes: Mapping[int, int | None]) -> dict[int, int]:
    return {pid: held for pid, held in processes.items() if held}


class GpuTrack:
    """One GPU over the time of an attempt."""

    def __init__(self, gpu: OwnGpu, allotment: Allotment) -> None:
        self.gpu = gpu
        self.allotment = allotment
        self.counter = Counter(1e-3)
        self.joules = 0.0
        """This task's part of what the counter counted."""
        self.util_s = 0.0
        """Seconds of full utilisation."""
        self.seen_s = 0.0
        """Seconds that utilisation is known of."""
        self.peak_bytes: int | None = None
        self.measures: set[str] = set()
        self._last_s: float | None = None

    def note(
        self, at_s: float, sample: GpuSample | None, own: Collection[int], neighbours: Collection[int] = ()
    ) -> None:
        """One look at `at_s`, or none where the device does not answer; it tells of the time since the last one.

        `own` are pids of the task, `neighbours` those of other living processes that compute there.
        """
        last_s, self._last_s = self._last_s, at_s
        if sample is None:
            return
        split = self._sharing(sample, own, neighbours)
        if split.measure:
            self.measures.add(split.measure)
        step_j = self.counter.note(at_s, sample.energy_mj)
        self.joules += (step_j or 0.0) * split.share * self.gpu.share
        util_pct = self._util(sample, own, split)
        if util_pct is not None and last_s is not None:
            self.util_s += util_pct / 100.0 * (at_s - last_s)
            self.seen_s += at_s - last_s
        used = self._memory(sample, own)
        if used is not None:
            self.peak_bytes = max(used, self.peak_bytes or 0)

    def _sharing(self, sample: GpuSample, own: Collection[int], neighbours: Collection[int]) -> Sharing:
        """Processes that the driver lists may be of other instances: lanes share one equally."""
        lanes = self.allotment.lanes
        if not self.gpu.mig:
            return sharing(sample, own, neighbours, self.allotment)
        return Sharing(1.0 / lanes, "equal parts") if lanes > 1 else Sharing(1.0)

    def _util(self, sample: GpuSample, own: Collection[int], split: Sharing) -> float | None:
        """Ours: of a shared GPU only what the driver tells of our processes; of an instance nothing is told."""
        if self.gpu.mig:
            return None
        if not split.measure:
            return sample.util_pct
        if not sample.process_util_pct:
            return None
        return min(100.0, sum(pct for pid, pct in sample.process_util_pct.items() if pid in own))

    def _memory(self, sample: GpuSample, own: Collection[int]) -> int | None:
        """Of our processes where the driver lists them, else of the GPU unless it is shared."""
        mine = [held for pid, held in sample.processes.items() if pid in own and held is not None]
        if mine and self.allotment.ranks == 1:
            return sum(mine)
        return sample.memory_bytes if self.allotment.lanes == 1 and not self.gpu.mig else None


class Part(NamedTuple):
    """What is known of one GPU's energy."""

    joules: float | None
    grade: Grade
    how: str
    window_s: float


def energy(tracks: Sequence[GpuTrack], wall_s: float, power: Power, how: str) -> Energy:
    """One figure for all GPUs of a task, no better than its worst part; `how` says how they were found."""
    parts = [_part(track, wall_s, power) for track in tracks]
    grade = worst([part.grade for part in parts])
    words = "; ".join(dict.fromkeys(part.how for part in parts if part.grade == grade))
    count = "1 GPU" if len(parts) == 1 else f"{len(parts)} GPUs"
    window_s = round(min(part.window_s for part in parts), 3)
    joules = [part.joules for part in parts if part.joules is not None]
    total = round(sum(joules), 3) if grade != "none" else None
    return Energy("gpu", total, grade, f"{words}; {count} {how}", window_s)


def nominal(gpus: float, wall_s: float, power: Power, why: str) -> Energy:
    """Where no GPU can be looked at: full power of what was allocated, if the profile says what that is."""
    watts = tdp_w(power, power.gpu_type)
    if watts is None:
        return Energy("gpu", None, "none", f"{why}; no TDP of '{power.gpu_type}' in the profile", round(wall_s, 3))
    source = f"{why}; {gpus:g} × {watts:g} W ({power.gpu_tdp_source})"
    return Energy("gpu", round(gpus * watts * wall_s, 3), "D", source, round(wall_s, 3))


def _part(track: GpuTrack, wall_s: float, power: Power) -> Part:
    """The best that is known: the counter, utilisation, full power, nothing."""
    counter, device = track.counter, track.gpu.device
    limit_w = device.limit_w or tdp_w(power, device.name)
    if counter.span_s >= _SHORTEST_S:
        if absurd := _absurdity(counter, limit_w):
            return Part(None, "none", f"NVML counter refused: {absurd}", counter.span_s)
        doubts = _doubts(track, wall_s)
        words = "NVML energy counter" + "".join(f", {doubt}" for doubt in doubts)
        return Part(track.joules, "C" if doubts else "A", words, counter.span_s)
    if limit_w is None:
        return Part(None, "none", "no NVML counter, and no power limit is known", wall_s)
    where = "board's power limit" if device.limit_w else power.gpu_tdp_source
    if track.seen_s > 0:
        words = f"utilisation × {limit_w:g} W ({where})"
        return Part(track.util_s * limit_w * track.gpu.share, "C", words, track.seen_s)
    share = track.gpu.share / track.allotment.lanes
    return Part(share * limit_w * wall_s, "D", f"time × {limit_w:g} W ({where})", wall_s)


def _absurdity(counter: Counter, limit_w: float | None) -> str:
    """Why a counter is not believed; empty where it is."""
    watts = counter.joules / counter.span_s
    if limit_w is not None and watts > _SLACK * limit_w:
        return f"{watts:.0f} W on average, more than {_SLACK} × {limit_w:g} W"
    if watts > MAX_BOARD_W:
        return f"{watts:.0f} W on average, more than any board draws"
    if watts <= 0.0 or (counter.span_s >= MEASURED_WINDOW_S and watts < IDLE_W / 2):
        return f"{watts:.1f} W on average, less than any board idles at"
    return ""


def _doubts(track: GpuTrack, wall_s: float) -> list[str]:
    """What makes a counter's figure less than a measurement of one's own whole GPU."""
    counter, found = track.counter, []
    if track.gpu.mig:
        found.append(f"{track.gpu.share:.3g} of the GPU for a MIG instance")
    if track.measures:
        found.append(f"shared by {' or '.join(sorted(track.measures))}")
    if counter.restarts:
        found.append(f"restarted {counter.restarts} ×")
    if counter.span_s < min(_WHOLE * wall_s, wall_s - _OPENING_S):
        found.append(f"{counter.span_s:.1f} of {wall_s:.1f} s seen")
    if counter.span_s < MEASURED_WINDOW_S:
        found.append("a short window")
    return found
