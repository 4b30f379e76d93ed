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


class _Sums(msgspec.Struct, frozen=True, gc=False):
    """Of one element; taken from the run's sums before it is looked at again. Small: a run has thousands."""

    cpu_h: float
    names: tuple[tuple[str, str], ...]
    """Which sum, and of what: shared by elements that have the same."""
    hours: tuple[float, ...]


class ChargeSums:
    """Follows `accounting.jsonl`, to which lines are only ever added."""

    def __init__(self, run: RunFolder, tried: Callable[[str], tuple[Tried, ...]]) -> None:
        """`tried`: attempts at a task by its key, as of the last `change`."""
        self._run = run
        self._name = run.name
        self._tried = tried
        self._offset = 0
        self._lines = 1
        self._charges: dict[str, tuple[Charge, ...]] = {}
        """By element; most have one."""
        self._keys: dict[str, tuple[str, ...]] = {}
        """By element the tasks that were tried in it."""
        self._names: dict[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]] = {}
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
            self._charges[held.element] = _with(self._charges.get(held.element, ()), held)
            self._dirty[held.element] = None
            self._sources.add(held.source)
        self._offset += len(data)
        self._lines += data.count(b"\n")
        return bool(data)

    def change(self, key: str, before: Sequence[Tried], after: tuple[Tried, ...]) -> None:
        """The attempts at a task are others now; those of other runs are left out."""
        for one in before:
            held = self._keys.get(one.element, ())
            if key in held:
                self._keys[one.element] = tuple(other for other in held if other != key)
                self._dirty[one.element] = None
        own = self._name
        for element in dict.fromkeys([one.element for one in after if one.element and one.run == own]):
            self._keys[element] = (*self._keys.get(element, ()), key)
            self._dirty[element] = None

    def sum_up(self, until_s: float = float("inf"), clock: Callable[[], float] = time.monotonic) -> bool:
        """Bring the sums up to date until this time of the clock; whether all are."""
        while self._dirty and clock() < until_s:
            element = next(iter(self._dirty))
            del self._dirty[element]
            self._add(self._sums.pop(element, None), -1.0)
            charges = self.of_element(element)
            if charges:
                tried = {key: self._tried(key) for key in self._keys.get(element, ())}
                self._sums[element] = self._summed(charges, _tries(tried, self._run.name, element))
                self._add(self._sums[element], 1.0)
        if not self._dirty:
            self._dirty = {}  # one that was emptied is as large as ever
        return not self._dirty

    def of_element(self, element: str) -> list[Charge]:
        """Charges of an element in the order of its starts; own attempts only where sacct says nothing more."""
        found = of_element(self._charges.get(element, ()))
        if len(found) == 1:
            return found
        found.sort(key=began)
        return [msgspec.structs.replace(charge, restart=number) for number, charge in enumerate(found)]

    def _add(self, sums: _Sums | None, sign: float) -> None:
        if sums is None:
            return
        self.cpu_h += sign * sums.cpu_h
        of = {"gpu": self.gpu_h, "waste_gpu": self.waste_gpu_h, "waste_cpu": self.waste_cpu_h}
        for (which, name), hours in zip(sums.names, sums.hours, strict=True):
            whole = of[which]
            whole[name] += sign * hours
            if abs(whole[name]) < _NOTHING:
                del whole[name]

    def _summed(self, charges: Sequence[Charge], tries: Sequence[Try]) -> _Sums:
        hours: dict[tuple[str, str], float] = defaultdict(float)
        for gpu_type, gpu_h in accounts.charged_gpu_h(charges).items():
            hours["gpu", gpu_type] = gpu_h
        spent, _ = waste.spent(charges, tries)
        for one in spent:
            for purpose, seconds in one.seconds.items():
                if waste.is_waste(purpose):
                    if one.charge.gpus:
                        hours["waste_gpu", purpose] += seconds * one.charge.gpus / 3600
                    hours["waste_cpu", purpose] += seconds * one.charge.cpus / 3600
        names = tuple(hours)
        return _Sums(sum(c.cpu_h for c in charges), self._names.setdefault(names, names), tuple(hours.values()))


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


def _with(held: tuple[Charge, ...], new: Charge) -> tuple[Charge, ...]:
    """A later word on the same start takes the place of an earlier one."""
    which = accounts.identity(new)
    for place, one in enumerate(held):
        if accounts.identity(one) == which:
            return (*held[:place], new, *held[place + 1 :])
    return (*held, new)


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
