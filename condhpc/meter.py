"""What an attempt used so far: a thread beside the stage looks now and then, totals can be had at any time."""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence

from condhpc import process_usage
from condhpc.allotment import Allotment
from condhpc.energy import Energy, Part, Power
from condhpc.energy_meter import EnergyMeter, Sources
from condhpc.process_usage import Look, Tree

SAMPLE_S = 5.0
"""Between looks: counters of processors wrap within minutes, and a look costs milliseconds."""
_LAST_LOOK_S = 5.0
"""How long the end of a task waits for a driver that hangs."""
_NOTHING = Look(0.0, None, None, 0)


class Meter:
    """Running totals of the calling process and all that it starts, since construction.

    The thread alone touches the sources of energy: a driver that hangs holds up neither pulses nor the task.
    """

    def __init__(
        self,
        allotment: Allotment,
        power: Power | None = None,
        sources: Sources | None = None,
        environ: Mapping[str, str] | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._allotment = allotment
        self._energy = EnergyMeter(
            allotment, power or Power(), os.environ if environ is None else environ, sources or Sources()
        )
        self._clock = clock
        self._began_s = self._looked_s = clock()
        self.elsewhere_cpu_s = 0.0
        """CPU seconds that processes of other nodes used for the attempt; they tell it themselves."""
        self._tree = Tree()
        self._lock = threading.Lock()
        """Of all that a look at processes changes."""
        self._seen = _NOTHING
        self._peak_rss_bytes = 0
        self._byte_s = 0.0
        parts: tuple[Part, ...] = ("gpu", "cpu", "dram") if allotment.gpus else ("cpu", "dram")
        self._figures = tuple(Energy(part, None, "none", "the sources have not answered", 0.0) for part in parts)
        self._gpu_cost: dict[str, float] = {}
        self._has_complained = False
        self._end = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="meter", daemon=True)
        self._look()

    def start(self) -> None:
        """Begin to look, at once and then every SAMPLE_S."""
        try:
            self._thread.start()
        except RuntimeError as error:  # no more threads here: without
            self._complain(error)

    def stop(self) -> None:
        """Look a last time; a second call does nothing."""
        if not self._end.is_set() and self._thread.is_alive():
            self._end.set()
            self._thread.join(_LAST_LOOK_S)

    def sees(self, uuids: Sequence[str]) -> None:
        """GPUs that the stage computes on, as its library names them."""
        self._energy.sees(uuids)

    def totals(self) -> dict[str, float]:
        """`wall_s`, `cpu_s`, `gpu_s` (allotted share × wall), `peak_rss_bytes`; where they could be measured
        `read_bytes`, `written_bytes`, `gpu_util_pct` and `peak_gpu_bytes`, too.
        """
        seen = self._look()
        wall_s = self._clock() - self._began_s
        found = {
            "wall_s": round(wall_s, 3),
            "cpu_s": round(seen.cpu_s + self.elsewhere_cpu_s, 3),
            "gpu_s": round(wall_s * self._allotment.gpus / self._allotment.lanes, 3),
            "peak_rss_bytes": float(self._peak_rss_bytes),
        }
        if seen.read_bytes is not None and seen.written_bytes is not None:
            found |= {"read_bytes": float(seen.read_bytes), "written_bytes": float(seen.written_bytes)}
        return found | self._gpu_cost

    def energy(self) -> tuple[Energy, ...]:
        """Figures as of the latest look at the sources."""
        return self._figures

    def sample(self) -> None:
        """One look at everything; what goes wrong is a line in the log, once."""
        try:
            seen = self._look()
            self._energy.look(self._clock(), self._tree.pids)
            wall_s = self._clock() - self._began_s
            self._figures = self._energy.figures(wall_s, seen.cpu_s + self.elsewhere_cpu_s, self._byte_s)
            self._gpu_cost = self._energy.gpu_cost()
        except Exception as error:
            self._complain(error)

    def _watch(self) -> None:
        while not self._end.is_set():
            self.sample()
            self._end.wait(SAMPLE_S)
        self.sample()

    def _look(self) -> Look:
        """Look at the processes; after an error what was seen last holds."""
        with self._lock:
            try:
                self._seen = self._tree.note(process_usage.look(self._tree.pids))
            except Exception as error:
                self._complain(error)
            now_s = self._clock()
            self._byte_s += self._seen.rss_bytes * (now_s - self._looked_s)
            self._looked_s = now_s
            self._peak_rss_bytes = max(self._peak_rss_bytes, self._seen.rss_bytes, process_usage.peak_rss_bytes())
            return self._seen

    def _complain(self, error: Exception) -> None:
        if not self._has_complained:
            self._has_complained = True
            print(f"metering: {type(error).__name__}: {error}; the task goes on", file=sys.stderr, flush=True)
