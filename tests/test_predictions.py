"""What plans are going to cost, with and without records."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_runs import DATASET, MadeRun

from condhpc import keys, predictions, sharding
from condhpc import recorded as store_records
from condhpc.cost_model import Effort
from condhpc.efforts import Efforts
from condhpc.energy import Energy
from condhpc.errors import StoreError
from condhpc.file_index import Index, SplitIndex
from condhpc.ledger import Entry
from condhpc.planned import Label, Plan, Planned
from condhpc.predictions import CostRow, Recorded, cost_rows
from condhpc.profile import Profile
from condhpc.resources import StageBlock, Stages
from condhpc.spec import CondenseSpec, Task

H100, A100 = "NVIDIA H100 80GB HBM3", "NVIDIA A100-SXM4-80GB"
INDEX = Index(
    class_names=tuple("0123456789"),
    splits={
        name: SplitIndex(paths=tuple(map(str, range(n))), labels=(0,) * n, sizes=(1,) * n)
        for name, n in (("train", 1000), ("test", 200))
    },
)


@pytest.fixture
def made(root: Path) -> MadeRun:
    """A root that knows the dataset's index."""
    found = MadeRun(root)
    path = found.layout.index(DATASET.index)
    path.parent.mkdir(parents=True)
    path.write_bytes(keys.encode(INDEX))
    return found


def rows(made: MadeRun, device: str = "auto", **stage: Any) -> dict[str, CostRow]:
    """Rows of everything that has no record, by `stage condenser`."""
    tasks = [Planned(line.key, made.tasks[line.key], line.label) for line in made.lines]
    new = {key for key in made.tasks if not made.folder(key).record.exists()}
    given = StageBlock(**{"gpus": 1, **stage})
    profile = Profile(name="site", backend="local", device=device, stages=Stages(default=given))
    found = cost_rows(Plan("made", tasks, [], (), provisional=False), new, {}, profile, made.layout)
    return {f"{row.stage} {row.condenser}".strip(): row for row in found}


def recorded(made: MadeRun, key: str, seconds: float, gpu: str = H100) -> None:
    """A record of so many GPU seconds; of CPU seconds where `gpu` is empty."""
    environment = {"gpu": gpu, "threads": 1} if gpu else {"threads": 1}
    made.record(
        key, environment=environment, cost={"wall_s": seconds, "cpu_s": seconds, "gpu_s": seconds if gpu else 0.0}
    )


def test_without_records_the_model_speaks_alone(made: MadeRun) -> None:
    """One row per stage and condenser; every task counts, equal ones are predicted once."""
    teacher = made.teacher()
    for seed in range(3):
        made.evaluate(made.condense(seed=seed))
    made.condense("herding", seed=None, inputs={"embedding": made.embed(teacher)})
    found = rows(made)
    assert list(found) == ["teacher", "embed", "condense random", "condense herding", "evaluate"]
    random = found["condense random"]
    assert (random.tasks, random.device, random.gpu, random.records, random.unknown) == (3, "gpu", "H100", 0, 0)
    assert random.predicted_h == random.expected_h == pytest.approx(3 * (3.0 + 10 / 10_000) / 3600)


def test_records_of_the_kind_on_that_gpu_calibrate(made: MadeRun) -> None:
    """The ratio of what they took to what is predicted; other GPUs and other condensers have no say."""
    first, second, *_ = [made.condense(seed=seed) for seed in range(4)]
    other = made.condense(seed=9)
    herding = made.condense("herding", seed=None, inputs={"embedding": made.embed(made.teacher())})
    recorded(made, first, 6.002)
    recorded(made, second, 12.004)
    recorded(made, other, 1000.0, gpu=A100)
    recorded(made, herding, 1000.0)
    row = rows(made, gpu_type="h100")["condense random"]
    assert (row.tasks, row.records, row.gpu) == (2, 2, "h100")
    assert row.recorded_h == pytest.approx(18.006 / 3600)
    assert row.recorded_predicted_h == pytest.approx(2 * 3.001 / 3600)
    assert row.predicted_h is not None
    assert row.expected_h == pytest.approx(3 * row.predicted_h)


def test_a_profile_without_a_type_takes_the_gpu_of_most_records(made: MadeRun) -> None:
    """Rather than one that nobody here has."""
    sets = [made.condense(seed=seed) for seed in range(4)]
    recorded(made, sets[0], 5.0, gpu=A100)
    recorded(made, sets[1], 5.0, gpu=A100)
    recorded(made, sets[2], 5.0)
    row = rows(made)["condense random"]
    assert (row.gpu, row.records) == (A100, 2)


def test_on_a_cpu_only_records_tell(made: MadeRun) -> None:
    """Without any it is not known; with records of alike tasks their CPU seconds count, those on GPUs do not."""
    sets = [made.condense(seed=seed) for seed in range(4)]
    recorded(made, sets[0], 5.0)
    for found in (rows(made, gpus=0), rows(made, device="cpu")):
        row = found["condense random"]
        assert (row.device, row.gpu, row.predicted_h, row.expected_h, row.unknown, row.records) == (
            "cpu", "", None, None, 3, 0,
        )  # fmt: skip
    recorded(made, sets[1], 7.0, gpu="")
    row = rows(made, gpus=0)["condense random"]
    assert (row.expected_h, row.unknown, row.records) == (pytest.approx(2 * 7.0 / 3600), 0, 1)
    assert row.recorded_predicted_h is None


def test_on_a_cpu_much_larger_tasks_are_not_extrapolated(made: MadeRun) -> None:
    """More than ten times the work of anything recorded is another matter; up to that it scales."""
    recorded(made, made.condense(), 7.0, gpu="")
    made.condense(ipc=5)
    made.condense(ipc=50)
    row = rows(made, gpus=0)["condense random"]
    assert (row.tasks, row.unknown) == (2, 1)
    assert row.expected_h == pytest.approx(5 * 7.0 / 3600)


def test_what_nobody_predicts_is_counted_apart(made: MadeRun) -> None:
    """A teacher of an architecture that the model does not know."""
    made.teacher()
    key = made.teacher(seed=1)
    made.tasks[key] = msgspec.structs.replace(
        made.tasks[key], spec=msgspec.structs.replace(made.tasks[key].spec, arch="theirs")
    )
    row = rows(made)["teacher"]
    assert (row.tasks, row.unknown) == (2, 1)
    assert row.predicted_h is not None


def test_tasks_that_cannot_be_read_do_not_stop_a_plan(made: MadeRun) -> None:
    """A torn task.json, a record of a plug-in that is gone."""
    first, second, *_ = [made.condense(seed=seed) for seed in range(3)]
    gone = made.condense("no_longer", seed=5)
    for key in (first, second, gone):
        recorded(made, key, 6.0)
    made.folder(first).task.write_text("{")
    held = Recorded(made.layout)
    assert held.task("condense", first) is None
    assert rows_without(made, first)["condense random"].records == 1


def rows_without(made: MadeRun, torn: str) -> dict[str, CostRow]:
    """Rows, where the folder of one task cannot be written anew."""
    with pytest.raises(StoreError):
        made.folder(torn)
    made.tasks.pop(torn)
    made.lines = [line for line in made.lines if line.key != torn]
    return rows(made)


def test_tasks_that_differ_in_seeds_alone_are_predicted_once(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """A plan of 100,000 tasks has a few hundred different ones; looking at each would take longer than all the rest."""
    asked: list[str] = []
    of = Efforts.of

    def noted(self: Efforts, task: Task) -> Effort | None:
        asked.append(task.stage)
        return of(self, task)

    monkeypatch.setattr(Efforts, "of", noted)
    for seed in range(20):
        for ipc in (1, 2):
            set_key = made.condense(seed=seed, ipc=ipc)
            for student in range(3):
                made.evaluate(set_key, student)
    found = rows(made)
    assert (found["condense random"].tasks, found["evaluate"].tasks) == (40, 120)
    assert asked == ["condense", "condense", "evaluate", "evaluate"]


def test_records_of_the_plan_itself_are_heard(made: MadeRun, monkeypatch: pytest.MonkeyPatch) -> None:
    """However small the sample of a large store is."""
    monkeypatch.setattr(store_records, "_SAMPLED", 0)
    recorded(made, made.condense(seed=0), 6.002)
    made.condense(seed=1)
    assert rows(made)["condense random"].records == 1


def test_shards_are_told_apart_from_their_set(made: MadeRun) -> None:
    """The set only joins them: it costs its start, and the shards the work."""
    spec = CondenseSpec(
        dataset=DATASET, kind="method", condenser="rded", params={}, ipc=1, seed=0, resolution=8, precision="fp32"
    )
    observer = made.teacher()
    whole = Task(stage="condense", spec=spec, inputs={"observer": observer}, version=(1, 1))
    label = Label(dataset="digits", condenser="rded", ipc=1, set_seed=0)
    tasks = [Planned(observer, made.tasks[observer], label), Planned(keys.key(whole), whole, label)]
    plan = Plan("made", tasks, [], (), provisional=False)
    profile = Profile(name="site", backend="local", stages=Stages(default=StageBlock(gpus=1)))
    rows_of = [
        cost_rows(spread, {item.key for item in spread.tasks}, {}, profile, made.layout)
        for spread in (sharding.spread(plan, count, lambda _: False) for count in (1, 4))
    ]
    (_, one), (_, four) = rows_of
    assert (one.tasks, four.tasks) == (1, 5)
    assert one.predicted_h is not None
    assert four.predicted_h is not None
    assert four.predicted_h - one.predicted_h == pytest.approx(4 * 3.0 / 3600, abs=1e-5)


def test_a_recorded_set_is_predicted_on_its_own_gpu(made: MadeRun) -> None:
    """An older one is expected to take longer; on a CPU there is no such number."""
    teacher, found = made.teacher(), {}
    made.folder(teacher)
    training = msgspec.structs.replace(made.tasks[teacher].spec.training, steps=10**6, batch=1000)
    spec = msgspec.structs.replace(made.tasks[teacher].spec, training=training)
    key = made.add("teacher", spec, made.lines[0].label)
    made.folder(key)
    for gpu in (H100, A100, ""):
        entry = Entry(key, "teacher", 1, {}, {}, {"gpu": gpu, "threads": 1})
        found[gpu] = Recorded(made.layout).gpu_s(entry)
    assert found[""] is None
    assert found[A100] > 1.5 * found[H100]
    assert found[H100] > 100


def test_each_dataset_has_its_row_and_its_own_records_where_they_suffice(made: MadeRun) -> None:
    """Five of its own speak alone; fewer share with those of other datasets."""
    for seed in range(4):
        recorded(made, made.condense(seed=seed), 6.002)
    elsewhere = msgspec.structs.replace(DATASET, name="others")
    for seed in range(6):
        key = made.condense(seed=10 + seed)
        task = made.tasks.pop(key)
        spec = msgspec.structs.replace(task.spec, dataset=elsewhere)
        line = made.lines.pop()
        key = made.add("condense", spec, msgspec.structs.replace(line.label, dataset="others"))
        if seed:
            recorded(made, key, 30.01)
    made.condense(seed=20)
    other, row = rows_of(made)
    assert (row.dataset, row.of_dataset, row.records, row.tasks) == ("digits", False, 9, 1)
    assert (other.dataset, other.of_dataset, other.records, other.tasks) == ("others", True, 5, 1)
    assert [other.low_h, other.expected_h, other.high_h] == pytest.approx([30.01 / 3600] * 3)
    assert row.high_h == pytest.approx(30.01 / 3600)
    assert row.off == pytest.approx((4 * 6.002 + 5 * 30.01) / (9 * 3.001))


def rows_of(made: MadeRun) -> list[CostRow]:
    """All rows."""
    tasks = [Planned(line.key, made.tasks[line.key], line.label) for line in made.lines]
    new = {key for key in made.tasks if not made.folder(key).record.exists()}
    profile = Profile(name="site", backend="local", stages=Stages(default=StageBlock(gpus=1)))
    return cost_rows(Plan("made", tasks, [], (), provisional=False), new, {}, profile, made.layout)


def test_recorded_energy_of_the_kind_gives_kwh(made: MadeRun) -> None:
    """Joules per GPU-second times the hours; without any the GPU's rated power, which is more."""
    made.condense(seed=9)
    (rated,) = rows_of(made)
    assert rated.high_kwh == pytest.approx(rated.high_h * (700 + 8) / 1000)  # type: ignore[operator]
    for seed in range(5):
        environment = {"gpu": H100, "threads": 1}
        energy = (Energy("gpu", 600.2, "A", "counter", 6.0), Energy("cpu", 60.02, "A", "counter", 6.0))
        cost = {"wall_s": 6.002, "cpu_s": 6.0, "gpu_s": 6.002}
        made.record(made.condense(seed=seed), environment=environment, cost=cost, energy=energy)
    (row,) = rows_of(made)
    assert row.expected_h is not None
    assert [row.low_kwh, row.expected_kwh, row.high_kwh] == pytest.approx([row.expected_h * 0.11] * 3)
    assert row.power_source == "recorded energy of 5 tasks"


def test_time_limits_rest_on_the_upper_end(made: MadeRun) -> None:
    """Of one task with all GPUs of its element, shared by tasks that run at a time; on a CPU by recorded wall time."""
    key = made.condense()
    tasks = [Planned(line.key, made.tasks[line.key], line.label) for line in made.lines]
    plan = Plan("made", tasks, [], (), provisional=False)

    def wall_s(**stage: Any) -> float | None:
        profile = Profile(name="site", backend="slurm", stages=Stages(default=StageBlock(**stage)))
        return predictions.forecast(plan, {key}, {}, profile, made.layout).needs[key].wall_s

    assert wall_s(gpus=1) == pytest.approx(3 * 3.001)
    assert wall_s(gpus=2, pack=4, concurrent=4) == pytest.approx(3 * 3.001 * 4 / 2)
    assert wall_s() is None
    recorded(made, made.condense(seed=1), 5.0, gpu="")
    assert wall_s() == pytest.approx(5.0 * 2)
