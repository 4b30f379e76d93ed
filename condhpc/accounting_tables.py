"""The tables of what a run cost: reads its accounts, diaries and records once, and has the rows made."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

from condhpc import accounts, runs, student_costs, tries, waste
from condhpc import profile as profiles
from condhpc.attempts_table import ATTEMPTS, WASTE, attempt_rows, queue_s, waste_rows
from condhpc.charges import Charge
from condhpc.cost_table import COST, CostTable
from condhpc.errors import InputError, first_few
from condhpc.findings import Row
from condhpc.layout import RunFolder
from condhpc.spec import STAGES, Stage
from condhpc.student_costs import Student, Students
from condhpc.study import Study
from condhpc.tables import Cell, Table
from condhpc.task_costs import Cost, TaskCosts, task_costs
from condhpc.tries import Try
from condhpc.waste import Spent


class Books:
    """What was charged, and for which stages; asks nobody, see `accounts.refresh`."""

    def __init__(self, run: RunFolder) -> None:
        self._alone = _exclusive_stages(run)
        self._stages = {name: stage or "" for name, stage in runs.stages(run).items()}
        self.accounts = accounts.read(run)

    def stage_of(self, charge: Charge) -> str:
        """The stage that was charged; empty where it is not known."""
        return self._stages.get(charge.submission, "")

    def exclusive(self, charge: Charge) -> bool:
        """Whether its nodes were its own."""
        return self.stage_of(charge) in self._alone


class Account(NamedTuple):
    """What the tables of a run's cost are made of."""

    costs: list[tuple[Cell, ...]]
    """Columns COST."""
    spent: list[Spent]
    attempts: list[tuple[Cell, ...]]
    """Columns ATTEMPTS, one per `spent`."""
    own: list[Try]
    """Attempts in elements of this run."""
    productive: Mapping[str, Cost]
    """What recorded tasks cost, by key."""
    students: Mapping[str, Students]
    """By set."""
    is_odd: bool
    """Whether something cannot be, which `Study.problems` says."""

    def tables(self) -> list[Table]:
        """Costs of sets, attempts as they were charged, and waste."""
        return [
            Table("cost", COST, self.costs),
            Table("attempts", ATTEMPTS, self.attempts),
            Table("waste", WASTE, waste_rows(self.spent)),
        ]


class Part(NamedTuple):
    """What of a run is asked for, and what of it a study of a part does not have."""

    sets: Collection[str]
    """Keys."""
    added: Mapping[str, Students]
    """Students of these sets, as they were added up before."""
    students: Mapping[str, Sequence[Student]]
    """Of those of which that is no longer true."""
    costs: Mapping[str, Cost]
    """Of these students, as far as they are not in the study."""
    elements: Collection[str]


def own_tries(run: RunFolder, found: Iterable[Try]) -> list[Try]:
    """Those in elements of this run."""
    return [one for one in found if one.run == run.name and one.element]


def account(study: Study, books: Books, part: Part | None = None) -> Account:
    """All of it, or a part of it."""
    run, entries = study.run, study.entries
    tried = (p for p in study.plan if p.key in entries or may_have_diaries(study.states.get(p.key)))
    found = tries.read(study.layout, tried, entries)
    own, charges = own_tries(run, found.tries), books.accounts.charges
    if part is not None:
        own = [one for one in own if one.element in part.elements]
        charges = [charge for charge in charges if charge.element in part.elements]
    spent, strays = waste.spent(charges, own)
    negative = dict.fromkeys(key for key, entry in entries.items() if min(entry.cost.values(), default=0.0) < 0.0)
    usable = {key: entry for key, entry in entries.items() if key not in negative} if negative else entries
    told, students = task_costs(study.plan, usable, found.tries), None
    if part is not None:
        told = TaskCosts({**part.costs, **told.productive}, told.wasted)
        costs_of = told.productive  # a student whose cost is odd is in none of them
        anew = {
            of: student_costs.of_set([one for one in held if one.key in costs_of], costs_of)
            for of, held in part.students.items()
        }
        students = {**part.added, **anew}
    costs = CostTable(study.plan, study.lineage, usable, told, students)
    named = [f"{entries[key].stage} {key}" for key in negative]
    odd = _oddities(run, spent, found.tries, strays, named)
    study.problems.extend(books.accounts.problems + found.problems + odd)
    rows = costs.rows(study.declared, study.states, None if part is None else part.sets)
    attempts = attempt_rows(spent, books.stage_of, books.exclusive)
    return Account(list(rows), spent, list(attempts), own, told.productive, costs.students, bool(odd))


def tables(study: Study) -> list[Table]:
    """All three tables of a whole run."""
    return account(study, Books(study.run)).tables()


def may_have_diaries(row: Row | None) -> bool:
    """Not so for what waits or was never sent: asking the disk for each would take longer than all tables."""
    return row is None or row.attempts is not None or row.state not in {"queued", "new"}


def _exclusive_stages(run: RunFolder) -> frozenset[Stage]:
    """Stages whose elements have whole nodes, as far as the run's profile says."""
    try:
        profile = profiles.of_run(run.profile)
    except InputError:
        return frozenset()
    return frozenset(stage for stage in STAGES if profile.stage(stage).sbatch.get("exclusive"))


def _oddities(
    run: RunFolder, spent: Sequence[Spent], found: Sequence[Try], strays: Sequence[Try], negative: Sequence[str]
) -> list[str]:
    """One line for each kind of thing that cannot be."""
    problems = []
    if negative:
        problems.append(
            f"{first_few(negative, 3)}: records with costs below 0, made by other code or by hand; they have no "
            "part in cost.csv and in the costs of sets.csv; delete their folders and submit again to measure anew"
        )
    back = [one for one in found if one.end_s is not None and one.end_s < one.start_s]
    if back:
        problems.append(
            f"{back[0].stage} {back[0].key} and {len(back) - 1} more attempts ended before they started: a node's "
            "clock was set; their time counts as idle"
        )
    if strays:
        problems.append(
            f"{run.accounting}: {len(strays)} attempts at tasks are in no charge (first: {strays[0].stage} "
            f"{strays[0].key}, element {strays[0].element}); their accounting was purged before it was read, "
            "or clocks disagree"
        )
    early = [one.charge for one in spent if one.charge.start_s is not None and queue_s(one.charge) is None]
    early = [charge for charge in early if charge.eligible_s is not None]
    if early:
        problems.append(
            f"{run.accounting}: {early[0].element} and {len(early) - 1} more started before they were eligible: "
            "a clock was set; their wait in the queue is left out"
        )
    return problems
