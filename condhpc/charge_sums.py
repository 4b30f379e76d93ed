"""What a run was charged, and its waste by cause, kept up to date: only elements with news are looked at again."""

from __future__ import annotations

import sys
import time
from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence

import msgspec

from condhpc import accounts, waste
from condhpc.briefs import Tried
from condhpc.charges import Charge, began, of_element
from condhpc.layout import RunFolder
from condhpc.tries import Try

_NOTHING = 1e-9
"""Hours that are left of sums of which all was taken away."""


class _Sums(msgspec.Struct):
    """Of one element; taken from the run's sums before it is looked at again."""

    gpu_h: dict[str, float]
    cpu_h: float
    waste_gpu_h: dict[str, float]
    waste_cpu_h: dict[str, float]


class ChargeSums:
    """Follows `accounting.jsonl`, to which lines are only ever added."""

    def __init__(self, run: RunFolder) -> None:
        self._run = run
        self._offset = 0
        self._lines = 1
        self._charges: dict[str, dict[tuple[str, str, int | None], Charge]] = defaultdict(dict)
        """By element."""
        self._tried: dict[str, dict[str, tuple[Tried, ...]]] = defaultdict(dict)
        """By element and key."""
        self._sources: set[str] = set()
        self._sums: dict[str, _Sums] = {}
        self._dirty: dict[str, None] = {}
        self.gpu_h: dict[str, float] = defaultdict(float)
        """By GPU type."""
        self.cpu_h = 0.0
        self.waste_gpu_h: dict[str, float] = defaultdict(float)
        """By cause, like the next."""
        self.waste_cpu_h: dict[str, float] = defaultdict(float)
        self.problems: list[str] = []

    @property
    def source(self) -> str:
        """`sacct` where it has said anything, else `attempts`; empty without charges."""
        return "sacct" if "sacct" in self._sources else "attempts" if self._sources else ""

    def read(self) -> bool:
        """Take in lines that were added since; whether there were any."""
        try:
            with self._run.accounting.open("rb") as file:
                file.seek(self._offset)
                data = file.read()
        except FileNotFoundError:
            return False
        except OSError as error:
            self.problems = [f"{self._run.accounting}: cannot be read ({error.strerror}); nothing counts as charged"]
            return False
        data = data[: data.rfind(b"\n") + 1]
        for charge in accounts.parsed(data, f"{self._run.accounting}:", self.problems, self._lines):
            held = _shared(charge)
            self._charges[held.element][accounts.identity(held)] = held
            self._dirty[held.element] = None
            self._sources.add(held.source)
        self._offset += len(data)
        self._lines += data.count(b"\n")
        return bool(data)

    def change(self, key: str, before: Sequence[Tried], after: tuple[Tried, ...]) -> None:
        """The attempts at a task are others now; those of other runs are left out."""
        for one in before:
            if self._tried.get(one.element, {}).pop(key, None) is not None:
                self._dirty[one.element] = None
        for element in dict.fromkeys(one.element for one in after if one.element and one.run == self._run.name):
            self._tried[element][key] = after
            self._dirty[element] = None

    def sum_up(self, until_s: float = float("inf"), clock: Callable[[], float] = time.monotonic) -> bool:
        """Bring the sums up to date until this time of the clock; whether all are."""
        while self._dirty and clock() < until_s:
            element = next(iter(self._dirty))
            del self._dirty[element]
            self._add(self._sums.pop(element, None), -1.0)
            charges = self.of_element(element)
            if charges:
                self._sums[element] = _summed(charges, _tries(self._tried.get(element, {}), self._run.name, element))
                self._add(self._sums[element], 1.0)
        return not self._dirty

    def of_element(self, element: str) -> list[Charge]:
        """Charges of an element in the order of its starts; own attempts only where sacct says nothing more."""
        found = of_element(self._charges.get(element, {}).values())
        if len(found) == 1:
            return found
        found.sort(key=began)
        return [msgspec.structs.replace(charge, restart=number) for number, charge in enumerate(found)]

    def _add(self, sums: _Sums | None, sign: float) -> None:
        if sums is None:
            return
        self.cpu_h += sign * sums.cpu_h
        for whole, part in (
            (self.gpu_h, sums.gpu_h),
            (self.waste_gpu_h, sums.waste_gpu_h),
            (self.waste_cpu_h, sums.waste_cpu_h),
        ):
            for name, hours in part.items():
                whole[name] += sign * hours
                if abs(whole[name]) < _NOTHING:
                    del whole[name]


def _tries(tried: Mapping[str, Sequence[Tried]], run: str, element: str) -> list[Try]:
    """As `waste` takes them, without what it does not look at."""
    return [
        Try(
            key=key,
            stage="evaluate",
            number=0,
            run=run,
            element=element,
            restarts=one.restarts,
            host="",
            start_s=one.start_s,
            end_s=one.end_s,
            outcome=one.outcome,
            reason="",
            productive=one.productive,
            cost={},
            energy=(),
        )
        for key, of_key in tried.items()
        for one in of_key
        if (one.run, one.element) == (run, element)
    ]


def _summed(charges: Sequence[Charge], tries: Sequence[Try]) -> _Sums:
    gpu_h = accounts.charged_gpu_h(charges)
    waste_gpu_h: dict[str, float] = defaultdict(float)
    waste_cpu_h: dict[str, float] = defaultdict(float)
    spent, _ = waste.spent(charges, tries)
    for one in spent:
        for purpose, seconds in one.seconds.items():
            if waste.is_waste(purpose):
                if one.charge.gpus:
                    waste_gpu_h[purpose] += seconds * one.charge.gpus / 3600
                waste_cpu_h[purpose] += seconds * one.charge.cpus / 3600
    return _Sums(gpu_h, sum(charge.cpu_h for charge in charges), dict(waste_gpu_h), dict(waste_cpu_h))


def _shared(charge: Charge) -> Charge:
    """With equal texts once in memory."""
    return msgspec.structs.replace(
        charge,
        element=sys.intern(charge.element),
        submission=sys.intern(charge.submission),
        state=sys.intern(charge.state),
        gpu_type=sys.intern(charge.gpu_type),
        source=sys.intern(charge.source),
    )
