"""An attempt's signs of life: progress and cost in its diary, a line in its log now and then."""

from __future__ import annotations

import sys
import threading
import time

from condhpc.context import Context
from condhpc.lease import Lease
from condhpc.meter import Meter
from condhpc.tables import progress_text

_LOG_SHARE = 0.1


class Pulse:
    """Thread that appends to the diary and notices a takeover."""

    def __init__(self, context: Context, held: Lease, meter: Meter) -> None:
        self._context = context
        self._held = held
        self._meter = meter
        self._end = threading.Event()
        self._started_s = time.monotonic()
        self._next_log_s = 0.0
        self._logged_step = 0
        self._thread = threading.Thread(target=self._beat, name="pulse", daemon=True)

    def start(self) -> None:
        """Begin to beat."""
        self._thread.start()

    def stop(self) -> None:
        """No beat after this."""
        self._end.set()
        if self._thread.is_alive():
            self._thread.join()

    def _log(self, step: int, total: int, values: dict[str, float]) -> None:
        """A line of progress now and then: as often as the attempt grows by a tenth, so that logs stay short."""
        now_s = time.monotonic()
        if step == self._logged_step or now_s < self._next_log_s:
            return
        task = self._context.task
        print(f"{task.stage} {self._context.key[:12]}: {progress_text(step, total, values)}", flush=True)
        self._logged_step = step
        self._next_log_s = now_s + (now_s - self._started_s) * _LOG_SHARE

    def _beat(self) -> None:
        while not self._end.wait(self._context.site.pulse_s):
            progress = self._context.progress
            pace = progress.now
            energy, cost = self._meter.energy(), self._meter.totals()
            try:
                values = pace.told(progress.clock())
                self._held.pulse(step=pace.step, total=pace.total, values=values, cost=cost, energy=energy)
                self._log(pace.step, pace.total, values)
                if self._held.is_overtaken():
                    self._context.lost.set()
            except OSError as error:  # a full disk may have room again at the next beat
                print(f"{self._held.folder.path}: no sign of life could be written ({error})", file=sys.stderr)
