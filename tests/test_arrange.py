"""From tasks to arrays: every task once, after its inputs, behind no more than it needs."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterable, Mapping

import msgspec
import pytest
from made_tasks import DATASET, analyze, condense
from made_tasks import embed as embed_task

from condhpc import keys
from condhpc.arrange import After, Arrangement, Array, Limits, Ref, arrange, dependency, raised
from condhpc.spec import STAGES, CondenseSpec, Stage, Task

ROOMY = Limits(max_submissions=1000, elements_per_array=1000, elements_now=None)


def _keyed(*tasks: Task) -> dict[str, Task]:
    return {keys.key(task): task for task in tasks}


def _arranged(
    tasks: Iterable[Task],
    live: Mapping[str, str] | None = None,
    pack: int | Callable[[Stage], int] = 1,
    limits: Limits = ROOMY,
) -> Arrangement:
    size = pack if callable(pack) else lambda _: pack
    return arrange(_keyed(*tasks), live or {}, size, limits)


def _method(name: str, number: int, inputs: dict[str, str] | None = None) -> Task:
    task = condense(number, inputs)
    return msgspec.structs.replace(task, spec=msgspec.structs.replace(task.spec, condenser=name))


def _metrics_of(task: Task, count: int = 1, **inputs: str) -> list[Task]:
    return [analyze({"set": keys.key(task), **inputs}, k=k) for k in range(count)]


def _place_of(found: Arrangement) -> dict[str, tuple[int, int]]:
    return {k: (a, e) for a, array in enumerate(found.arrays) for e, pack in enumerate(array.packs) for k in pack}


def _waits(array: Array) -> list[tuple[str, int, int]]:
    return [(after.kind, after.ref.array, after.ref.element) for after in array.after]


def test_tasks_without_inputs_are_one_array() -> None:
    """Independent tasks of a stage share one submission that waits for nothing."""
    found = _arranged([condense(number) for number in range(5)])
    assert [(len(array.packs), array.after) for array in found.arrays] == [(5, ())]
    assert found.kept_back == ()


def test_a_set_comes_after_its_shards() -> None:
    """Shards of two sets share an array; each set waits for its own, in an array of its own."""
    shards = [condense(number) for number in range(4)]
    sets = [
        msgspec.structs.replace(condense(10 + i), shards=tuple(keys.key(s) for s in shards[2 * i : 2 * i + 2]))
        for i in range(2)
    ]
    first, *rest = _arranged([*shards, *sets]).arrays
    assert len(first.packs) == 4
    assert [_waits(array) for array in rest] == [
        [("afterok", 0, 0), ("afterok", 0, 1)],
        [("afterok", 0, 2), ("afterok", 0, 3)],
    ]


def test_one_array_per_set_of_inputs() -> None:
    """The dependants of each condensed set wait for its element alone; those of recorded sets for nothing."""
    sets, recorded = [condense(number) for number in range(3)], condense(9)
    tasks = [*sets, *(metric for held in [*sets, recorded] for metric in _metrics_of(held, 2))]
    first, *rest = _arranged(tasks).arrays
    assert len(first.packs) == 3
    assert [_waits(array) for array in rest] == [[("afterok", 0, 0)], [("afterok", 0, 1)], [("afterok", 0, 2)], []]
    assert [len(array.packs) for array in rest] == [2, 2, 2, 2]


def test_the_order_of_the_mapping_does_not_matter() -> None:
    """Stages go in the order of the pipeline, also when a dependant is named first."""
    source = condense()
    found = _arranged([*_metrics_of(source), source])
    assert [array.stage for array in found.arrays] == ["condense", "analyze"]
    assert _waits(found.arrays[1]) == [("afterok", 0, 0)]


def test_several_inputs_are_all_waited_for() -> None:
    """A metric of a set and an embedding waits for both elements, in the order of their arrays."""
    source, vectors = condense(), embed_task()
    found = _arranged([vectors, source, *_metrics_of(source, embedding=keys.key(vectors))])
    assert [array.stage for array in found.arrays] == ["embed", "condense", "analyze"]
    assert _waits(found.arrays[2]) == [("afterok", 0, 0), ("afterok", 1, 0)]


def test_packs_never_mix_condensers_or_metrics() -> None:
    """Short tasks share an element with their own kind only."""
    sets = [_method(name, number) for number in range(5) for name in ("random", "herding")]
    coverage = [analyze({"set": "0"}, k=k) for k in range(3)]
    vendi = [msgspec.structs.replace(t, spec=msgspec.structs.replace(t.spec, metric="vendi")) for t in coverage]
    of_sets, of_metrics = _arranged([*sets, *coverage, *vendi], pack=4).arrays
    by_key = _keyed(*sets, *coverage, *vendi)
    kinds = [{_kind(by_key[key]) for key in pack} for array in (of_sets, of_metrics) for pack in array.packs]
    assert all(len(kind) == 1 for kind in kinds)
    assert sorted(len(pack) for pack in of_sets.packs) == [1, 1, 4, 4]
    assert sorted(len(pack) for pack in of_metrics.packs) == [3, 3]


def _kind(task: Task) -> str:
    return task.spec.condenser if isinstance(task.spec, CondenseSpec) else getattr(task.spec, "metric", "")


def test_afterok_only_where_a_failure_dooms_all() -> None:
    """In a pack of sets the failure of one does not doom the dependants of another: the node looks for itself."""
    sets = [condense(number) for number in range(2)]
    shared = _arranged([*sets, *_metrics_of(sets[0]), *_metrics_of(sets[1])], pack=2)
    assert [_waits(array) for array in shared.arrays] == [[], [("afterany", 0, 0)]]
    both = analyze({"set": keys.key(sets[0]), "other": keys.key(sets[1])})
    assert _waits(_arranged([*sets, both], pack=2).arrays[1]) == [("afterok", 0, 0)]


def test_live_inputs_are_waited_for_by_their_slurm_id() -> None:
    """Work of another run is waited for with `afterany`; local work, which has no id, with nothing."""
    first, second = condense(0), condense(1)
    tasks = [*_metrics_of(first), *_metrics_of(second)]
    found = _arranged(tasks, live={keys.key(first): "608_3", keys.key(second): ""})
    assert [array.after for array in found.arrays] == [(After("afterany", Ref(-1, 0, "608_3")),), ()]
    assert dependency(found.arrays[0].after, []) == "afterany:608_3"


def test_too_many_submissions_are_grouped() -> None:
    """Beyond the limit neighbours share an array that waits for the union of their elements with `afterany`."""
    sets = [condense(number) for number in range(10)]
    tasks = [*sets, *(metric for held in sets for metric in _metrics_of(held, 3))]
    first, *rest = _arranged(tasks, limits=Limits(5, 1000, None)).arrays
    assert len(first.packs) == 10
    assert [len(array.packs) for array in rest] == [9, 9, 9, 3]
    assert _waits(rest[0]) == [("afterany", 0, 0), ("afterany", 0, 1), ("afterany", 0, 2)]
    assert _waits(rest[3]) == [("afterok", 0, 9)]


def test_arrays_are_split_at_the_clusters_size() -> None:
    """More elements than an array may have go into several; dependants find the right one."""
    sets = [condense(number) for number in range(7)]
    found = _arranged([*sets, *_metrics_of(sets[6])], limits=Limits(100, 3, None))
    assert [len(array.packs) for array in found.arrays] == [3, 3, 1, 1]
    assert _waits(found.arrays[3]) == [("afterok", 2, 0)]


def test_what_exceeds_the_room_is_kept_back_with_its_dependants() -> None:
    """No element is sent that waits for one that was not; a dependant of kept-back work takes no room."""
    sets = [condense(number) for number in range(4)]
    metrics = [metric for held in sets for metric in _metrics_of(held)]
    far = condense(20, {"set": keys.key(metrics[3])})
    found = _arranged([*sets, *metrics, far], limits=Limits(100, 1000, 3))
    assert [array.packs for array in found.arrays] == [tuple((keys.key(held),) for held in sets[:3])]
    assert set(found.kept_back) == set(_keyed(sets[3], *metrics, far))
    none = _arranged([*sets, *metrics], limits=Limits(100, 1000, 0))
    assert none.arrays == []
    assert len(none.kept_back) == 8


def test_room_is_counted_in_elements_not_tasks() -> None:
    """Two packs of four tasks take two places."""
    found = _arranged([condense(number) for number in range(8)], pack=4, limits=Limits(100, 1000, 2))
    assert [len(array.packs) for array in found.arrays] == [2]
    assert found.kept_back == ()


@pytest.mark.parametrize(
    ("after", "text"),
    [
        ([], ""),
        ([After("afterok", Ref(0, 3))], "afterok:608_3"),
        ([After("afterok", Ref(0, 3)), After("afterok", Ref(1, 0))], "afterok:608_3:609_0"),
        ([After("afterany", Ref(1, 4)), After("afterok", Ref(0, 3))], "afterok:608_3,afterany:609_4"),
        ([After("afterany", Ref(-1, 0, "77")), After("afterany", Ref(1, 2))], "afterany:77:609_2"),
    ],
)
def test_dependency_text(after: list[After], text: str) -> None:
    """What sbatch is given: one term per kind, elements by id."""
    assert dependency(after, ["608", "609"]) == text


def test_a_crowded_dependency_names_arrays_but_never_with_afterok() -> None:
    """Many elements of one array are named as the array, a single one of another stays itself."""
    many = [After("afterany", Ref(0, element)) for element in range(60)]
    assert dependency(many, ["608"]).count("_") == 60
    crowded = [*many, After("afterany", Ref(1, 4)), After("afterany", Ref(-1, 0, "77_1"))]
    assert dependency(crowded, ["608", "609"]) == "afterany:608:609_4:77_1"
    needed = [After("afterok", Ref(0, element)) for element in range(70)]
    assert dependency(needed, ["608"]).split(":")[1:] == [f"608_{element}" for element in range(70)]


# -- any plan at all ---------------------------------------------------------------------------------------


def _random_plan(draw: random.Random) -> tuple[dict[str, Task], dict[str, str], dict[str, set[str]]]:
    """A shuffled plan of all stages with inputs from earlier ones; (to send, live, pending inputs by key)."""
    made: dict[Stage, list[str]] = {stage: [] for stage in STAGES}
    tasks: dict[str, Task] = {}
    for stage in STAGES:
        earlier = [key for held in STAGES[: STAGES.index(stage)] for key in made[held]]
        for number in range(draw.randrange(12)):
            chosen = draw.sample(earlier, min(len(earlier), draw.randrange(4)))
            inputs = {f"teacher.{i}": key for i, key in enumerate(chosen)}
            spec = condense(number).spec if stage == "condense" else analyze({}, k=number).spec
            task = Task(stage=stage, spec=spec, inputs=inputs, version=(1, 1))
            if isinstance(spec, CondenseSpec):
                spec = msgspec.structs.replace(spec, dataset=DATASET, condenser=draw.choice(["random", "herding"]))
                plain = [key for key in made[stage] if not tasks[key].shards]
                shards = draw.sample(plain, min(len(plain), draw.choice([0, 0, 1, 3])))
                task = msgspec.structs.replace(task, spec=spec, shards=tuple(shards))
            made[stage].append(keys.key(task))
            tasks[keys.key(task)] = task
    fates = {key: draw.choice(["send", "send", "send", "live", "recorded"]) for key in tasks}
    order = [key for key, fate in fates.items() if fate == "send"]
    draw.shuffle(order)
    live = {key: draw.choice(["", f"70{i}_{i}"]) for i, (key, fate) in enumerate(fates.items()) if fate == "live"}
    pending = {key: {k for k in tasks[key].waits_for if fates[k] != "recorded"} for key in order}
    return {key: tasks[key] for key in order}, live, pending


@pytest.mark.parametrize("seed", range(60))
def test_any_plan_is_placed_once_and_after_its_inputs(seed: int) -> None:
    """Whatever the plan, packs and limits: each task once, no wait for later or unsent work, no input unwaited for."""
    draw = random.Random(seed)
    tasks, live, pending = _random_plan(draw)
    limits = Limits(draw.choice([1, 3, 8, 100]), draw.choice([1, 2, 5, 100]), draw.choice([None, 0, 4, 12, 1000]))
    sizes = {stage: draw.choice([1, 2, 7]) for stage in STAGES}
    found = arrange(tasks, live, lambda stage: sizes[stage], limits)

    placed = [key for array in found.arrays for pack in array.packs for key in pack]
    assert sorted([*placed, *found.kept_back]) == sorted(tasks)
    place = _place_of(found)
    for number, array in enumerate(found.arrays):
        assert 1 <= len(array.packs) <= limits.elements_per_array
        assert len({after.ref for after in array.after}) == len(array.after)
        assert all(after.ref.live or after.ref.array < number for after in array.after)
        wanted = _wanted(array, place, live, pending)
        refs = {after.ref for after in array.after}
        assert wanted == refs if limits.max_submissions == 100 else wanted <= refs  # else arrays are grouped
        _assert_dooms_all(array, place, pending)
        for pack in array.packs:
            assert 1 <= len(pack) <= sizes[array.stage]
            assert {tasks[key].stage for key in pack} == {array.stage}
            assert len({_kind(tasks[key]) for key in pack}) == 1
    elements = sum(len(array.packs) for array in found.arrays)
    assert limits.elements_now is None or elements <= limits.elements_now
    if limits.elements_now is None or elements < limits.elements_now:
        assert found.kept_back == ()


def _wanted(
    array: Array, place: Mapping[str, tuple[int, int]], live: Mapping[str, str], pending: Mapping[str, set[str]]
) -> set[Ref]:
    """The elements that hold an input of any task of the array."""
    inputs = {needed for pack in array.packs for key in pack for needed in pending[key]}
    of_live = {Ref(-1, 0, live[key]) for key in inputs if live.get(key)}
    return of_live | {Ref(*place[key]) for key in inputs if key not in live}


def _assert_dooms_all(array: Array, place: Mapping[str, tuple[int, int]], pending: Mapping[str, set[str]]) -> None:
    """`afterok` only if the failure of any task of that element leaves no task of this array to run."""
    for after in array.after:
        if after.kind == "afterok":
            assert not after.ref.live
            held = {key for key, where in place.items() if where == (after.ref.array, after.ref.element)}
            assert all(held <= pending[key] for pack in array.packs for key in pack)


def test_tasks_that_get_different_resources_share_no_array() -> None:
    """However few submissions are left; equal ones go together, and dependants still wait for exactly their inputs."""
    sets = [condense(number) for number in range(6)]
    metrics = [metric for source in sets for metric in _metrics_of(source)]
    large = {keys.key(sets[1]), keys.key(sets[4])}
    found = arrange(_keyed(*sets, *metrics), {}, lambda _: 2, Limits(1, 1000, None), lambda key: key in large)
    made = [array for array in found.arrays if array.stage == "condense"]
    assert sorted(sum(map(len, array.packs)) for array in made) == [2, 4]
    assert {key for array in made for pack in array.packs for key in pack} == set(map(keys.key, sets))
    assert all(len({key in large for pack in array.packs for key in pack}) == 1 for array in made)


def test_reasons_are_told_by_stage() -> None:
    """Tasks are counted over arrays and packs."""
    some = Array(stage="evaluate", packs=(("a", "b"), ("c",)), why="24 GB: out of memory")
    plain = Array(stage="evaluate", packs=(("d",),))
    assert raised([some, plain, some]) == ["6 evaluate with 24 GB: out of memory"]
