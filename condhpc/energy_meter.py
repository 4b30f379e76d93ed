"""One task's energy: opens the sources, looks at them when told to, and says what came of it."""

from __future__ import annotations

import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import NamedTuple

from condhpc import gpu_match, gpu_meter, node_meter
from condhpc.allotment import Allotment
from condhpc.counters import Counter
from condhpc.energy import Energy, Power, worst
from condhpc.gpu_match import Match
from condhpc.gpu_meter import GpuTrack
from condhpc.node_meter import NodePart, NodeTrack
from condhpc.nvml import Nvml
from condhpc.power_sources import GpuDevice, GpuSample, GpuSource, NodeSource, Unreadable
from condhpc.rapl import Rapl


class Sources(NamedTuple):
    """What opens each source."""

    gpus: Callable[[], GpuSource] = Nvml
    node: Callable[[], NodeSource] = Rapl


class EnergyMeter:
    """Not for several threads at a time, but for `sees`."""

    def __init__(self, allotment: Allotment, power: Power, environ: Mapping[str, str], sources: Sources) -> None:
        self._allotment = allotment
        self._power = power
        self._environ = environ
        self._sources = sources
        self._gpus = _Gpus(allotment, environ)
        self._node = _Node()
        self._uuids: tuple[str, ...] = ()

    def sees(self, uuids: Sequence[str]) -> None:
        """GPUs as the computing library names them: surer than what the environment says."""
        self._uuids = tuple(uuids)

    def look(self, at_s: float, own: Collection[int]) -> None:
        """Read all sources at an instant, for the processes `own`. Never raises."""
        if self._allotment.gpus or self._uuids:
            self._gpus.look(at_s, own, self._uuids, self._sources.gpus)
        self._node.look(at_s, self._sources.node)

    def figures(self, wall_s: float, cpu_s: float, byte_s: float) -> tuple[Energy, ...]:
        """Each part's best figure for the `wall_s` so far, with CPU time and resident memory × time to model from."""
        allotment, power, tracks, node = self._allotment, self._power, self._gpus.tracks, self._node
        found: list[Energy] = []
        if tracks:
            found.append(self._of_all_nodes(gpu_meter.energy(tracks, wall_s, power, self._gpus.how)))
        elif allotment.gpus:
            found.append(gpu_meter.nominal(allotment.gpus / allotment.lanes, wall_s, power, self._gpus.why))
        cpu = node_meter.energy("cpu", node.counters("cpu"), allotment, wall_s)
        dram = node_meter.energy("dram", node.counters("dram"), allotment, wall_s)
        found.append(self._of_all_nodes(cpu) if cpu else node_meter.modelled_cpu(cpu_s, wall_s, power, node.why))
        why = node.why or "no RAPL domain of DRAM"
        dram = dram or node_meter.modelled_dram(allotment, byte_s, wall_s, power, why)
        return (*found, self._of_all_nodes(dram))

    def gpu_cost(self) -> dict[str, float]:
        """`gpu_util_pct` and `peak_gpu_bytes`, as far as they were measured."""
        tracks = self._gpus.tracks
        seen_s, peaks = (
            sum(track.seen_s for track in tracks),
            [t.peak_bytes for t in tracks if t.peak_bytes is not None],
        )
        found = {"gpu_util_pct": round(100.0 * sum(t.util_s for t in tracks) / seen_s, 2)} if seen_s > 0 else {}
        return {**found, "peak_gpu_bytes": float(sum(peaks))} if peaks else found

    def _of_all_nodes(self, figure: Energy) -> Energy:
        """Ranks on several nodes do the same work: what one node used, times the nodes."""
        nodes = self._allotment.nodes
        if nodes == 1 or figure.joules is None:
            return figure
        source = f"{figure.source}; × {nodes} nodes, of which the first is looked at"
        return Energy(figure.part, figure.joules * nodes, worst([figure.grade, "C"]), source, figure.window_s)


class _Gpus:
    """The GPUs of the task, once they are opened."""

    def __init__(self, allotment: Allotment, environ: Mapping[str, str]) -> None:
        self.tracks: list[GpuTrack] = []
        self.how = ""
        self.why = "not looked at yet"
        """Why there are no tracks."""
        self._allotment = allotment
        self._environ = environ
        self._source: GpuSource | None = None
        self._devices: list[GpuDevice] = []
        self._matched: tuple[str, ...] | None = None
        self._is_closed = False

    def look(self, at_s: float, own: Collection[int], uuids: tuple[str, ...], opener: Callable[[], GpuSource]) -> None:
        """One look at each GPU of the task."""
        if self._source is None and not self._is_closed:
            self._open(opener)
        if self._source is None:
            return
        if uuids != self._matched:
            self._match(uuids)
        for track in self.tracks:
            track.note(at_s, self._sample(track), own)

    def _open(self, opener: Callable[[], GpuSource]) -> None:
        self._is_closed = True
        try:
            source = opener()
            self._devices = source.devices()
        except Exception as error:  # a driver in trouble must not end a task that computes
            self.why = _told("GPUs", error)
        else:
            self._source = source

    def _match(self, uuids: tuple[str, ...]) -> None:
        """Find our GPUs; those already under watch go on where nothing changed."""
        self._matched = uuids
        by_library = gpu_match.by_uuid(self._devices, uuids)
        matched = (
            Match(tuple(by_library), "by torch's UUIDs")
            if by_library and len(by_library) == len(uuids)
            else gpu_match.by_environment(self._devices, self._environ)
        )
        held = {track.gpu: track for track in self.tracks}
        self.tracks = [held.get(gpu) or GpuTrack(gpu, self._allotment) for gpu in matched.gpus]
        self.how = matched.how
        self.why = f"none of {len(self._devices)} listed GPUs is known to be ours"

    def _sample(self, track: GpuTrack) -> GpuSample | None:
        assert self._source is not None
        try:
            return self._source.sample(track.gpu.device.uuid)
        except Unreadable:
            return None
        except Exception as error:
            _told("a GPU", error)
            return None


class _Node:
    """Counters of the node, once they are opened."""

    def __init__(self) -> None:
        self.why = "not looked at yet"
        """Why nothing was counted; empty where something was."""
        self._source: NodeSource | None = None
        self._track = NodeTrack(())
        self._names: list[str] = []
        self._is_closed = False

    def counters(self, part: NodePart) -> list[Counter]:
        """Counters of a part of the node."""
        return self._track.counters(part)

    def look(self, at_s: float, opener: Callable[[], NodeSource]) -> None:
        """One look at each domain; one that does not answer is tried again the next time."""
        if not self._is_closed:
            self._open(opener)
        if self._source is None:
            return
        values: dict[str, int] = {}
        for name in self._names:
            try:
                values[name] = self._source.read_uj(name)
            except Unreadable:
                continue
            except Exception as error:
                _told(name, error)
        self._track.note(at_s, values)

    def _open(self, opener: Callable[[], NodeSource]) -> None:
        self._is_closed = True
        try:
            source = opener()
            domains = source.domains()
        except Exception as error:
            self.why = _told("the node", error)
            return
        self._source, self.why = source, ""
        self._track = NodeTrack(domains)
        self._names = [domain.name for domain in domains]


def _told(what: str, error: Exception) -> str:
    """A reason in words; the unforeseen gets a line in the log, too."""
    if isinstance(error, Unreadable):
        return str(error)
    reason = f"{type(error).__name__}: {error}"
    print(f"metering: {what} cannot be read ({reason}); the task goes on", file=sys.stderr, flush=True)
    return reason
