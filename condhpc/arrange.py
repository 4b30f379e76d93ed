"""From tasks to arrays: which tasks share an element, which elements an array, and what each array waits for.

Pure: no disk, no clock, no Slurm. A dependant waits for exactly the elements that hold its inputs.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

import msgspec

from condhpc.resources import StageResources
from condhpc.spec import STAGES, AnalyzeSpec, CondenseSpec, PrepareSpec, Stage, Task

_MAX_IDS = 60
"""Element ids in one dependency before an array is named whole (with `afterany`, never `afterok`)."""


class Ref(NamedTuple):
    """An element to wait for: of an array of this plan (`array` ≥ 0), or a live one by its Slurm id."""

    array: int
    element: int
    live: str = ""


class After(NamedTuple):
    """One condition of a dependency."""

    kind: Literal["afterok", "afterany"]
    ref: Ref


class Array(msgspec.Struct, frozen=True, kw_only=True):
    """One sbatch call: packs by element, and what they wait for."""

    stage: Stage
    packs: tuple[tuple[str, ...], ...]
    after: tuple[After, ...] = ()
    resources: StageResources | None = None
    """Of each element; None: what the profile gives the stage."""
    why: str = ""
    """Why these are more than the profile and the plan say."""


class Limits(NamedTuple):
    """What bounds an arrangement."""

    max_submissions: int
    elements_per_array: int
    elements_now: int | None
    """Elements that may be queued now; None: no bound known."""


class Arrangement(msgspec.Struct, frozen=True):
    """Arrays in the order of their submission, and tasks that a limit keeps back."""

    arrays: list[Array]
    kept_back: tuple[str, ...]


class _Group(NamedTuple):
    stage: Stage
    refs: frozenset[Ref]
    keys: list[str]
    grouped: bool
    """Merged with others: its tasks need only some of `refs`."""


def arrange(
    tasks: Mapping[str, Task],
    live: Mapping[str, str],
    pack_of: Callable[[Stage], int],
    limits: Limits,
    apart: Callable[[str], Hashable] = lambda _: None,
) -> Arrangement:
    """Arrange `tasks` (to be sent). `live` maps keys that others compute to their element's id.

    Inputs in neither are recorded. What exceeds `elements_now`, with all that depends on it, is kept back. Keys of
    which `apart` says something different never share an array.
    """
    builder = _Builder(tasks, live, pack_of, limits, apart)
    waves = _waves(tasks)
    share = _shares({wave: builder.group_count(keys) for wave, keys in waves.items()}, limits.max_submissions)
    for wave, keys in waves.items():
        builder.add(wave.stage, keys, share[wave])
    return Arrangement(builder.arrays, tuple(builder.kept_back))


class _Wave(NamedTuple):
    """Tasks of a stage none of which waits for another of them."""

    stage: Stage
    gathers: bool
    """Whether these wait for shards, which are of their own stage."""


def _waves(tasks: Mapping[str, Task]) -> dict[_Wave, list[str]]:
    """Keys by wave; whatever a task waits for is in an earlier one."""
    waves: dict[_Wave, list[str]] = {_Wave(stage, gathers): [] for stage in STAGES for gathers in (False, True)}
    for key, task in tasks.items():
        waves[_Wave(task.stage, bool(task.shards))].append(key)
    return {wave: keys for wave, keys in waves.items() if keys}


def _shares(wanted: Mapping[_Wave, int], total: int) -> dict[_Wave, int]:
    """Submissions that each wave may use: small wants first, the rest shared equally, at least one each."""
    shares: dict[_Wave, int] = {}
    left, waves = total, sorted(wanted, key=lambda wave: wanted[wave])
    for position, wave in enumerate(waves):
        fair = max(1, left // (len(waves) - position))
        shares[wave] = min(wanted[wave], fair)
        left -= shares[wave]
    return shares


class _Builder:
    def __init__(
        self,
        tasks: Mapping[str, Task],
        live: Mapping[str, str],
        pack_of: Callable[[Stage], int],
        limits: Limits,
        apart: Callable[[str], Hashable],
    ) -> None:
        self._tasks = tasks
        self._apart = apart
        self._live = live
        self._pack_of = pack_of
        self._limits = limits
        self._room = limits.elements_now
        self._placed: dict[str, Ref] = {}
        self._held: set[str] = set()
        self.arrays: list[Array] = []
        self.kept_back: list[str] = []

    def group_count(self, keys: Iterable[str]) -> int:
        """Arrays that a stage wants: one per set of inputs that are still to come, and per share of resources."""
        pending = (
            (self._apart(k), frozenset(i for i in self._tasks[k].waits_for if i in self._tasks or i in self._live))
            for k in keys
        )
        return len(set(pending))

    def add(self, stage: Stage, keys: Sequence[str], share: int) -> None:
        """Place tasks of a stage; all that they wait for is placed."""
        ready = [key for key in keys if not self._waits_for_held(key)]
        kinds: dict[Hashable, dict[frozenset[Ref], list[str]]] = defaultdict(lambda: defaultdict(list))
        for key in ready:
            kinds[self._apart(key)][self._refs(key)].append(key)
        total = sum(map(len, kinds.values()))
        for groups in kinds.values():
            for group in _merged(stage, groups, max(1, share * len(groups) // total)):
                self._place(group)

    def _waits_for_held(self, key: str) -> bool:
        if not self._held.intersection(self._tasks[key].waits_for):
            return False
        self._keep_back(key)
        return True

    def _keep_back(self, key: str) -> None:
        self._held.add(key)
        self.kept_back.append(key)

    def _refs(self, key: str) -> frozenset[Ref]:
        inputs = self._tasks[key].waits_for
        placed = {self._placed[k] for k in inputs if k in self._placed}
        return frozenset(placed | {Ref(-1, 0, self._live[k]) for k in inputs if self._live.get(k)})

    def _place(self, group: _Group) -> None:
        packs = self._packs(group)
        size = self._limits.elements_per_array
        for start in range(0, len(packs), size):
            part = packs[start : start + size]
            if self._room is not None and len(part) > self._room:
                for key in (k for pack in part[self._room :] for k in pack):
                    self._keep_back(key)
                part = part[: self._room]
            if not part:
                continue
            if self._room is not None:
                self._room -= len(part)
            self._append(group, part)

    def _append(self, group: _Group, packs: list[tuple[str, ...]]) -> None:
        after = tuple(sorted((self._condition(group, packs, ref) for ref in group.refs), key=lambda a: a.ref))
        number = len(self.arrays)
        self.arrays.append(Array(stage=group.stage, packs=tuple(packs), after=after))
        for element, pack in enumerate(packs):
            self._placed.update(dict.fromkeys(pack, Ref(number, element)))

    def _packs(self, group: _Group) -> list[tuple[str, ...]]:
        """Short tasks of one kind share an element."""
        kinds: dict[str, list[str]] = defaultdict(list)
        for key in group.keys:
            kinds[_kind(self._tasks[key])].append(key)
        size = self._pack_of(group.stage)
        return [tuple(keys[i : i + size]) for keys in kinds.values() for i in range(0, len(keys), size)]

    def _condition(self, group: _Group, packs: list[tuple[str, ...]], ref: Ref) -> After:
        """`afterok` only where the failure of any task of that element dooms every task here; else the node looks."""
        if group.grouped or ref.live:
            return After("afterany", ref)
        needed = set(self.arrays[ref.array].packs[ref.element])
        dooms_all = all(needed <= set(self._tasks[key].waits_for) for pack in packs for key in pack)
        return After("afterok" if dooms_all else "afterany", ref)


def _kind(task: Task) -> str:
    if isinstance(task.spec, CondenseSpec):
        return task.spec.condenser + (" shard" if task.spec.is_shard else "")
    if isinstance(task.spec, PrepareSpec):
        return task.spec.method
    return task.spec.metric if isinstance(task.spec, AnalyzeSpec) else ""


def _merged(stage: Stage, groups: Mapping[frozenset[Ref], list[str]], share: int) -> list[_Group]:
    """At most `share` groups: neighbours are merged, to wait for the union of their elements."""
    found = list(groups.items())
    if len(found) <= share:
        return [_Group(stage, refs, keys, grouped=False) for refs, keys in found]
    size = -(-len(found) // share)
    parts = [found[i : i + size] for i in range(0, len(found), size)]
    return [
        _Group(
            stage,
            frozenset().union(*(refs for refs, _ in part)),
            [key for _, keys in part for key in keys],
            grouped=len(part) > 1,
        )
        for part in parts
    ]


def raised(arrays: Iterable[Array]) -> list[str]:
    """`12 evaluate with 24 GB: out of memory`: tasks that get more than the profile and the plan say."""
    counts: Counter[tuple[Stage, str]] = Counter()
    for array in arrays:
        if array.why:
            counts[array.stage, array.why] += sum(map(len, array.packs))
    return [f"{count} {stage} with {why}" for (stage, why), count in counts.items()]


def dependency(after: Sequence[After], job_of: Sequence[str]) -> str:
    """The sbatch text of conditions, `afterok:608_3,afterany:609_0:609_1`; `job_of` gives the id of each array.

    Many elements of one array are named as the whole array, which needs `afterany`.
    """
    by_kind: dict[str, dict[str, list[str]]] = {"afterok": defaultdict(list), "afterany": defaultdict(list)}
    for kind, ref in after:
        job = ref.live.partition("_")[0] if ref.live else job_of[ref.array]
        by_kind[kind][job].append(ref.live or f"{job}_{ref.element}")
    crowded = sum(len(ids) for jobs in by_kind.values() for ids in jobs.values()) > _MAX_IDS
    ok = [i for ids in by_kind["afterok"].values() for i in ids]
    any_ids = [i for job, ids in by_kind["afterany"].items() for i in ([job] if crowded and len(ids) > 1 else ids)]
    texts = (":".join(["afterok", *ok]) if ok else "", ":".join(["afterany", *any_ids]) if any_ids else "")
    return ",".join(text for text in texts if text)
