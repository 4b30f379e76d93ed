"""Tables made anew where few records changed: their rows from a study of these and of what shares a row with them.

All other rows are as they were kept. A row's cell, set and elements say which records it is made of, and the plan says
which sets rest on a changed task; what their students cost is kept beside the rows. Where that is not enough (something
is odd, a set is gone while its students are there, other code, another plan) the whole run is read.
"""

from __future__ import annotations

from array import array
from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain
from typing import NamedTuple

import msgspec

from condhpc import accounting_tables, files, kept_rows, ledger_cache, study, tries, waste
from condhpc.accounting_tables import Account, Books, Part, may_have_diaries
from condhpc.accounts import Accounts
from condhpc.cell_statistics import Evaluation
from condhpc.cells_tables import Cells
from condhpc.comparisons import CellResult
from condhpc.findings import Row
from condhpc.kept_costs import CostColumns
from condhpc.kept_lines import KeptLines
from condhpc.kept_rows import NONE, VALUES, KeptCharge, KeptRows
from condhpc.layout import Layout, RunFolder
from condhpc.ledger import Ledger
from condhpc.ledger_cache import ABSENT, Opened, Read, numbers
from condhpc.runs import PlanLine
from condhpc.sets_table import Kinds
from condhpc.spec import STAGES
from condhpc.student_costs import Student
from condhpc.study import Study
from condhpc.task_state import BAD

_FEW = 4
"""Where one in so many records changed, reading all of them takes no longer."""
_line_decoder = msgspec.json.Decoder(PlanLine)
_BLOCK = 256
"""Looks that are compared at a time."""
_MANY = 1_000
"""New records that are read again each time, rather than written into the ledger with all others."""


class Renewed(NamedTuple):
    """All that tables are written from."""

    study: Study
    """Of some of the tasks."""
    kinds: Kinds
    cells: Cells
    account: Account
    accounts: Accounts
    kept: KeptRows | None
    """To be kept from now on."""
    keys: Sequence[str]
    """Of all tasks."""
    stages: bytes
    """Their numbers in STAGES."""
    known: Sequence[int]
    """0, ENTRY or VALUES for each of them."""


def renewed(run: RunFolder, layout: Layout, rows: Iterable[Row]) -> Renewed | None:
    """The tables of a run as it is now; None where that takes a look at all records."""
    kept = kept_rows.load(run)
    if kept is None:
        return None
    found = _Changed(run, layout, kept, {row.key: row for row in rows})
    return found.renewed() if found.is_small else None


class _Changed:
    """What changed since rows were kept; tasks are named by their place in the plan."""

    def __init__(self, run: RunFolder, layout: Layout, kept: KeptRows, states: dict[str, Row]) -> None:
        self._run, self._layout, self._kept, self._states = run, layout, kept, states
        self._skeleton = skeleton = kept.skeleton
        self._keys = skeleton.keys
        self._tasks = list(zip(map(STAGES.__getitem__, skeleton.stages), self._keys, strict=True))
        self._looks = ledger_cache.look(layout, self._tasks)
        self._changed = list(self._differing())
        self._costs = CostColumns(kept.of_tasks)
        self._elements = array("i")
        self._elements.frombytes(kept.elements)

    def _differing(self) -> Iterator[int]:
        """Records that look otherwise, and those that could not be used: that is said again each time."""
        now, then, known = self._looks, numbers(self._kept.looks), self._kept.known
        all_known = bytes([VALUES]) * _BLOCK
        for first in range(0, len(known), _BLOCK):
            block = slice(2 * first, 2 * (first + _BLOCK))
            if now[block] == then[block] and all_known.startswith(known[first : first + _BLOCK]):
                continue
            for i in range(first, min(first + _BLOCK, len(known))):
                one = slice(2 * i, 2 * i + 2)
                if now[one] != then[one] or (known[i] != VALUES and now[2 * i] != ABSENT):
                    yield i

    @property
    def is_small(self) -> bool:
        """Whether most records are as they were."""
        return len(self._changed) * _FEW <= len(self._keys)

    def renewed(self) -> Renewed | None:
        """Rows of what changed among all the others."""
        self._opened = Opened(self._run, self._layout, self._tasks, self._looks)
        self._plan = files.mapped(self._run.plan)
        self._starts = numbers(self._skeleton.starts)
        self._of_set = numbers(self._skeleton.sets)
        books = Books(self._run)
        silent = [i for i, mtime_ns in enumerate(self._looks[::2]) if mtime_ns == ABSENT]
        asked = sorted({*self._changed, *self._to_ask(silent)})
        tried = self._tried(asked)
        was = (self._kept.tried[self._elements[i]] for i in chain(self._changed, silent))
        elements = self._recharged(books).union(*(told.split(" ") for told in chain(was, tried.values()) if told))
        said_anew = sorted({*self._changed, *self._readers()})
        held = self._study(sorted({*asked, *numbers(self._skeleton.always), *self._sharing(elements), *said_anew}))
        kinds = Kinds(held)
        self._learn(held)
        if not self._are_of_kinds(kinds) or not self._sets_are_recorded(held):
            return None
        part = accounting_tables.account(held, books, self._part(held, silent, elements))
        if part.is_odd:
            return None
        self._renew_cells(held, numbers(self._skeleton.cells))
        charges = list(self._charges(part, books, elements))
        account = self._account(part, books, charges)
        lines = dict(kept_rows.rendered(held, kinds, list(map(self._line, said_anew))))
        exchanged = self._kept.lines.exchanged({i: lines.get(self._keys[i], b"") for i in said_anew})
        self._note_elements({i: tried.get(self._keys[i], "") for i in chain(asked, silent)})
        kept = self._kept_now(kinds, account, charges, exchanged)
        cells = Cells({one.cell: one.result() for one in kept.cells})
        return Renewed(held, kinds, cells, account, books.accounts, kept, self._keys, self._skeleton.stages, kept.known)

    # -- what has a part in rows that are to be made -----------------------------------------------------------------

    def _to_ask(self, silent: Sequence[int]) -> Iterator[int]:
        """Tasks without a record that may have been tried, and those that failed for a look that saw no record."""
        yield from (i for i in silent if may_have_diaries(self._states.get(self._keys[i])))
        bad = {key for key, row in self._states.items() if row.state in BAD}
        yield from (i for i, key in enumerate(self._keys) if key in bad) if bad else ()

    def _tried(self, asked: Sequence[int]) -> dict[str, str]:
        """Elements of the attempts at these tasks, as records and diaries tell them now."""
        plan = [self._line(i) for i in asked]
        found = tries.read(self._layout, plan, self._opened.entries(asked))
        return kept_rows.elements_of(accounting_tables.own_tries(self._run, found.tries))

    def _recharged(self, books: Books) -> set[str]:
        """Elements whose charges are others now."""
        then, now = defaultdict[str, list[bytes]](list), defaultdict[str, list[bytes]](list)
        for one in self._kept.charges:
            then[one.element].append(one.made_of)
        for charge in books.accounts.charges:
            now[charge.element].append(kept_rows.made_of(charge, books))
        return {element for element in then.keys() | now.keys() if then.get(element) != now.get(element)}

    def _sharing(self, elements: set[str]) -> Iterator[int]:
        """Recorded tasks of these elements."""
        wanted = {n for n, told in enumerate(self._kept.tried) if not elements.isdisjoint(told.split(" "))}
        yield from (i for i, n in enumerate(self._elements) if n in wanted and self._looks[2 * i] != ABSENT)

    def _readers(self) -> list[int]:
        """Students that read labels whose record changed: their rows say what these cost."""
        fixed = {i for i in self._changed if self._skeleton.fixed[i]}
        return [i for i, of in enumerate(numbers(self._skeleton.labels)) if of in fixed] if fixed else []

    def _part(self, held: Study, silent: Sequence[int], elements: set[str]) -> Part:
        """Sets whose costs may be others now, and what their students cost."""
        of = map(self._of_set.__getitem__, (*self._changed, *self._readers()))
        students: dict[str, list[Student]] = {self._keys[i]: [] for i in of if i != NONE}
        found = list(self._students(students.keys()))
        for i, one in found:
            students[self._keys[self._of_set[i]]].append(one)
        changed = set(self._changed)
        known = [i for i, _ in found if i not in changed]
        costs = {self._keys[i]: cost for i, cost in zip(known, self._costs.costs(known), strict=True)}
        return Part(self._stale(held, silent) | students.keys(), self._kept.students, students, costs, elements)

    def _students(self, sets: Collection[str]) -> Iterator[tuple[int, Student]]:
        """The recorded students of these sets, with their places."""
        of_cell, of_labels = numbers(self._skeleton.cells), numbers(self._skeleton.labels)
        which = [(one.cell.dataset, one.cell.protocol, one.cell.student) for one in self._kept.cells]
        wanted = {i for i in set(self._of_set) if i != NONE and self._keys[i] in sets}
        for i in (i for i, of in enumerate(self._of_set) if of in wanted):
            if of_cell[i] != NONE and self._known[i]:
                labels = "" if of_labels[i] == NONE else self._keys[of_labels[i]]
                yield i, Student(self._keys[i], labels, which[of_cell[i]])

    def _stale(self, held: Study, silent: Sequence[int]) -> set[str]:
        """Sets that rest on what changed or are compared with it, and those that attempts alone tell of."""
        fixed = {self._keys[i] for i in self._changed if self._skeleton.fixed[i]}
        absent = {self._keys[i] for i in silent}
        compared = {p.label.dataset for p in held.plan if p.key in fixed and p.stage in {"teacher", "evaluate"}}
        found = set()
        for line in (line for line in held.plan if line.stage == "condense" and line.label.shard is None):
            parts = {line.key, *(key for role, key in line.inputs.items() if role.startswith("shard."))}
            rests_on = held.lineage.ancestors(line.key) | {line.key}
            if line.label.dataset in compared or not (fixed.isdisjoint(rests_on) and absent.isdisjoint(parts)):
                found.add(line.key)
        return found

    def _study(self, part: list[int]) -> Study:
        plan = [self._line(i) for i in part]
        entries = self._opened.entries(part)
        held = Read(Ledger(entries, self._opened.problems), self._looks, self._opened.keep(_MANY))
        return study.of(self._run, self._layout, plan, self._states, held)

    def _line(self, i: int) -> PlanLine:
        return _line_decoder.decode(self._plan[self._starts[i] : self._starts[i + 1]])

    def _learn(self, held: Study) -> None:
        """What is known of the tasks now."""
        self._known = bytearray(self._kept.known)
        for i in self._changed:
            self._known[i] = kept_rows.known(held, self._keys[i])

    def _are_of_kinds(self, kinds: Kinds) -> bool:
        """Whether every name that rows have is of the kind that it was."""
        was, now = self._kept.kinds, kinds.told()
        new = now.keys() - was.keys()
        rows = (one for one in self._kept.cells if one.statistics.n)
        return all(now.get(name) == kind for name, kind in was.items()) and not any(
            r.cell.condenser in new for r in rows
        )

    def _sets_are_recorded(self, held: Study) -> bool:
        """Also where only the set's record changed."""
        gone = {i for i in self._changed if self._skeleton.fixed[i] and not self._known[i]}
        left = (i for i, of in enumerate(self._of_set) if of in gone and self._known[i] == VALUES) if gone else ()
        cells = numbers(self._skeleton.cells)
        return kept_rows.sets_are_recorded(held) and not any(cells[i] != NONE for i in left)

    # -- rows among the others ---------------------------------------------------------------------------------------

    def _renew_cells(self, held: Study, of_cell: Sequence[int]) -> None:
        """Of the students that changed."""
        changed: dict[int, list[int]] = defaultdict(list)
        for i in (i for i in self._changed if of_cell[i] != NONE):
            changed[of_cell[i]].append(i)
        seeds = {line.key: line.label.set_seed for line in held.plan}
        for number, places in changed.items():
            kept = self._kept.cells[number]
            students = dict(kept_rows.students_of(kept))
            for i in places:
                students.pop(i, None)
                found = held.evaluations.get(self._keys[i])
                if found is not None:
                    students[i] = Evaluation(seeds[self._keys[i]], found.top1_pct)
            ordered = sorted(students.items())
            result = CellResult(kept.planned, [one for _, one in ordered])
            self._kept.cells[number] = kept_rows.kept_cell(kept.cell, result, ordered)

    def _charges(self, part: Account, books: Books, elements: set[str]) -> Iterator[KeptCharge]:
        """Of all charges, in their order."""
        new, old = defaultdict[str, list[KeptCharge]](list), defaultdict[str, list[KeptCharge]](list)
        for one in kept_rows.kept_charges(part, books):
            new[one.element].append(one)
        for one in self._kept.charges:
            old[one.element].append(one)
        for element in dict.fromkeys(charge.element for charge in books.accounts.charges):
            yield from new[element] if element in elements else old[element]

    def _account(self, part: Account, books: Books, charges: Sequence[KeptCharge]) -> Account:
        costs = {row[-1]: row for row in part.costs}
        every = waste.by_element(books.accounts.charges)
        return Account(
            costs=[costs.get(row[-1], row) for row in self._kept.costs],
            spent=[kept_rows.spent_again(charge, one) for charge, one in zip(every, charges, strict=True)],
            attempts=[],
            own=part.own,
            productive=part.productive,
            students=part.students,
            is_odd=False,
        )

    def _note_elements(self, told: Mapping[int, str]) -> None:
        numbers_of = {elements: number for number, elements in enumerate(self._kept.tried)}
        for i, elements in told.items():
            self._elements[i] = numbers_of.setdefault(elements, len(numbers_of))
        self._kept.tried[:] = numbers_of

    def _kept_now(self, kinds: Kinds, account: Account, charges: list[KeptCharge], lines: KeptLines) -> KeptRows:
        for i in self._changed:
            self._costs.put(i, account.productive.get(self._keys[i]))
        return msgspec.structs.replace(
            self._kept,
            looks=self._looks.tobytes(),
            known=bytes(self._known),
            lines=lines,
            elements=self._elements.tobytes(),
            kinds=kinds.told(),
            costs=account.costs,
            of_tasks=self._costs.kept(),
            students=dict(account.students),
            charges=charges,
        )
