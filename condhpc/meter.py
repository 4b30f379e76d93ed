"""What an attempt used so far, measured from inside its own process."""

from __future__ import annotations

import resource
import time


class Meter:
    """Running totals of the calling process and its waited-for children since construction."""

    def __init__(self, gpus: float) -> None:
        self._gpus = gpus
        self._start = time.monotonic()
        self.elsewhere_cpu_s = 0.0
        """CPU seconds that processes of other nodes used for the attempt; they tell it themselves."""
        self._cpu_start_s = _cpu_s()

    def totals(self) -> dict[str, float]:
        """`wall_s`, `cpu_s`, `gpu_s` (allocated share × wall), `peak_rss_bytes`."""
        wall_s = time.monotonic() - self._start
        return {
            "wall_s": round(wall_s, 3),
            "cpu_s": round(_cpu_s() - self._cpu_start_s + self.elsewhere_cpu_s, 3),
            "gpu_s": round(wall_s * self._gpus, 3),
            "peak_rss_bytes": float(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024),
        }


def _cpu_s() -> float:
    own = resource.getrusage(resource.RUSAGE_SELF)
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return own.ru_utime + own.ru_stime + children.ru_utime + children.ru_stime
