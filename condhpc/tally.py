"""Counts and problems of a run, kept as single rows change: 100,000 rows are not counted again for one."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator

from condhpc.findings import Row, Summary
from condhpc.spec import STAGES, Stage
from condhpc.task_state import BAD, MOVING, STATES, State

_GROUPS = 10
_DETAIL_CHARS = 200
_FAILED: tuple[State, ...] = ("failed", "lost", "blocked")
_ORDINARY = frozenset(
    {"", "None", "Priority", "Resources", "Dependency", "BeginTime", "JobArrayTaskLimit", "Cleaning", "Prolog"}
)
"""Why elements wait where all is well: others are before them, inputs are missing, our own throttle."""


class Tally:
    """What a run's rows say together; `put` tells it of each row that is new or another one."""

    def __init__(self) -> None:
        self._counts: Counter[tuple[Stage, State]] = Counter()
        self._alike: dict[tuple[State, Stage, str], set[int]] = defaultdict(set)
        """State that needs a person, or in which a limit holds it, stage, detail to places of such rows in the plan."""
        self._why: dict[int, tuple[Stage, str]] = {}
        """Place in the plan of what is not recorded and was sent with more to stage and reason."""

    def put(self, at: int, before: Row | None, row: Row, why: str) -> None:
        """The row at this place in the plan is another one now; `why` is why it was sent with more, if so."""
        if before is not None:
            self._counts[before.stage, before.state] -= 1
            self._group(before).discard(at)
        self._counts[row.stage, row.state] += 1
        self._group(row).add(at)
        if why and row.state != "recorded":
            self._why[at] = row.stage, why
        else:
            self._why.pop(at, None)

    def _group(self, row: Row) -> set[int]:
        is_held_up = row.state == "queued" and row.detail.strip("()") not in _ORDINARY
        if row.state not in BAD and row.state != "over_budget" and not is_held_up:
            return set()
        return self._alike[row.state, row.stage, row.detail]

    def counts(self) -> dict[Stage, dict[State, int]]:
        """Every state of every stage that the plan has."""
        stages = {stage for stage, _ in self._counts}
        return {stage: {s: self._counts[stage, s] for s in STATES} for stage in STAGES if stage in stages}

    def summary(self) -> Summary:
        """The state of a run: what goes on by itself outranks what went wrong."""
        states = {state for (_, state), count in self._counts.items() if count}
        if states & MOVING:
            return "running"
        if states == {"recorded"}:
            return "done"
        return "failed" if states & BAD else "stopped"

    def raised(self) -> list[str]:
        """`3 evaluate with 24 GB: out of memory`, of tasks that are not recorded."""
        counts = Counter(self._why[at] for at in sorted(self._why))
        return [f"{count} {stage} with {why}" for (stage, why), count in counts.items()]

    def problems(self, rows: list[Row], run: str) -> list[str]:
        """Failures grouped by their reason, most frequent first, then what is blocked, lost, held up or not sent."""
        if not rows:
            return ["it has no plan: its submission was interrupted; submit the manifest again"]
        found = [line for state in _FAILED for line in self._of(state, rows)]
        count_of = {state: sum(self._counts[stage, state] for stage in STAGES) for state in STATES}
        if count_of["over_budget"]:
            _, detail = self._groups("over_budget")[0]
            why = f"{count_of['over_budget']} over_budget: {detail[1]}"
            found.append(f"{why}; `condhpc budget {run}` shows it and raises it")
        if count_of["new"] and not any(count_of[state] for state in MOVING):
            found.append(
                f"{count_of['new']} tasks are not sent, or were stopped: "
                f"`condhpc submit --continue {run}` goes on with them"
            )
        found += self._of("queued", rows)
        if any(count_of[state] for state in BAD):
            found.append(f"`condhpc logs {run} --failed` shows more, `condhpc retry {run}` tries again")
        return found

    def _groups(self, state: State) -> list[tuple[set[int], tuple[Stage, str]]]:
        """Of rows in one state that are alike: most frequent first, then by their first row."""
        found = [(held, key[1:]) for key, held in self._alike.items() if key[0] == state and held]
        return sorted(found, key=lambda group: (-len(group[0]), min(group[0])))

    def _of(self, state: State, rows: list[Row]) -> Iterator[str]:
        groups = self._groups(state)
        for places, (stage, detail) in groups[:_GROUPS]:
            shown = detail[:_DETAIL_CHARS] or "no reason known"
            yield f"{len(places)} {stage} {state}: {shown} (task {rows[min(places)].key[:12]})"
        if len(groups) > _GROUPS:
            yield f"… and {len(groups) - _GROUPS} more reasons for {state} tasks"
