"""What runs may be charged and what is set aside for what they sent: append-only, written under the root's lock.

A run's `budget.jsonl` holds its own budget, or the name of one that several runs share, and one reservation per
submission. `budgets/<name>.jsonl` holds a shared budget and names its runs. The newest word on a budget counts.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec

from condhpc import runs
from condhpc.budget import Amounts, Budget
from condhpc.errors import StoreError
from condhpc.files import ends_line
from condhpc.layout import Layout, RunFolder


class Limit(msgspec.Struct, frozen=True, omit_defaults=True, kw_only=True, tag="limit"):
    """A budget from now on; None lifts it."""

    budget: Budget | None
    said: str = ""
    """The text of a manifest or of `submit --budget`; empty where it was set by hand."""
    hard: bool = False
    """When it is used up, what runs is ended, too."""
    time: float


class Share(msgspec.Struct, frozen=True, kw_only=True, tag="share"):
    """The run's budget is the one of this name."""

    name: str
    time: float


class Member(msgspec.Struct, frozen=True, kw_only=True, tag="member"):
    """A run that shares this budget."""

    run: str
    time: float


class Reserve(msgspec.Struct, frozen=True, kw_only=True, tag="reserve"):
    """Upper estimates for what one submission sends; written before it is sent."""

    name: str
    """Unique name of the submission."""
    amounts: tuple[Amounts, ...]
    """Each different one once."""
    packs: tuple[tuple[int, ...], ...]
    """Of each task of each element, which of `amounts`."""
    time: float

    def of(self, element: int, task: int) -> Amounts:
        """What is set aside for one task."""
        return self.amounts[self.packs[element][task]]


Event = Limit | Share | Member | Reserve
_decoder = msgspec.json.Decoder(Event)


class Pot(msgspec.Struct, frozen=True, kw_only=True):
    """One budget, of a run or shared by several."""

    path: Path
    budget: Budget | None
    """None: lifted."""
    said: str
    hard: bool
    runs: tuple[str, ...]
    """Names of the runs that are charged to it."""


def pot_of(run: RunFolder, layout: Layout) -> Pot | None:
    """The budget that a run is charged to; None where it never had one."""
    events = _events(run.budget)
    shares = [event for event in events if isinstance(event, Share)]
    if shares:
        return shared(layout, shares[-1].name)
    return _pot(run.budget, events, (run.name,))


def shared(layout: Layout, name: str) -> Pot | None:
    """The budget of a name; None where no run has named it."""
    path = layout.shared_budget(name)
    events = _events(path)
    return _pot(path, events, tuple(dict.fromkeys(e.run for e in events if isinstance(e, Member))))


def _pot(path: Path, events: Sequence[Event], members: tuple[str, ...]) -> Pot | None:
    limits = [event for event in events if isinstance(event, Limit)]
    if not limits:
        return None
    said = next((limit.said for limit in reversed(limits) if limit.said), "")
    return Pot(path=path, budget=limits[-1].budget, said=said, hard=limits[-1].hard, runs=members)


def reserved(run: RunFolder) -> dict[str, Reserve]:
    """Reservations of a run by the submission that they are for."""
    return {event.name: event for event in _events(run.budget) if isinstance(event, Reserve)}


def join(run: RunFolder, layout: Layout, budget: Budget, said: str, *, hard: bool) -> None:
    """Charge a run to a budget as a manifest or an option says it. What was said before is no news.

    So a budget that was raised by hand stays raised while the manifest says what it said.
    """
    pot = shared(layout, budget.name) if budget.name else pot_of(run, layout)
    path = layout.shared_budget(budget.name) if budget.name else run.budget
    if pot is None or pot.said != said or (hard and not pot.hard):
        _append(path, Limit(budget=budget, said=said, hard=hard, time=runs.now()))
    if budget.name and (pot is None or run.name not in pot.runs):
        _append(path, Member(run=run.name, time=runs.now()))
        _append(run.budget, Share(name=budget.name, time=runs.now()))


def set_limit(pot: Pot, budget: Budget | None, *, hard: bool) -> None:
    """Another bound for all runs of a budget; None lifts it."""
    _append(pot.path, Limit(budget=budget, hard=hard, time=runs.now()))


def reserve(run: RunFolder, name: str, packs: Sequence[Sequence[str]], upper: Mapping[str, Amounts]) -> None:
    """Set aside for a submission what its tasks may take at most."""
    wanted = [[upper.get(key, Amounts()) for key in pack] for pack in packs]  # without one: another run's
    distinct = {amounts: number for number, amounts in enumerate(dict.fromkeys(a for pack in wanted for a in pack))}
    numbers = tuple(tuple(distinct[amounts] for amounts in pack) for pack in wanted)
    _append(run.budget, Reserve(name=name, amounts=tuple(distinct), packs=numbers, time=runs.now()))


def _events(path: Path) -> list[Event]:
    """All lines; a torn one (its writer was killed) is left out. Raises StoreError for one of another version."""
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return []
    found: list[Event] = []
    for number, line in enumerate(data[: data.rfind(b"\n") + 1].split(b"\n"), 1):
        try:
            if line:
                found.append(_decoder.decode(line))
        except msgspec.ValidationError as error:
            raise StoreError(
                f"{path}:{number}: not a line that this condhpc knows ({error}), and a budget must be read whole"
            ) from error
        except ValueError:  # malformed: torn
            continue
    return found


def _append(path: Path, event: Event) -> None:
    """One line, on disk before what it bounds is sent."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("a+b", buffering=0) as file:
        line = msgspec.json.encode(event) + b"\n"
        file.write(line if ends_line(file) else b"\n" + line)
        os.fsync(file.fileno())
