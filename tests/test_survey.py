"""A plan against the store and the queue, and a profile against a cluster's limits written down literally."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_runs import FakeQueue, MadeRun, squeue_row

from condhpc import attempt, store, survey
from condhpc.arrange import Arrangement
from condhpc.errors import InputError
from condhpc.planned import Plan, Planned
from condhpc.profile import Profile
from condhpc.resources import StageBlock, Stages
from condhpc.slurm_limits import Association, Limits, Partition
from condhpc.spec import EvaluateSpec

LIMITS = Limits(
    slurm_version="22.05.8",
    cluster="c",
    max_array_size=1001,
    max_array_tasks=None,
    max_job_count=10_000,
    min_job_age_s=300,
    partitions=(
        Partition("cpu", is_default=True, is_up=True, max_time_min=60, nodes=2, gres={}),
        Partition("gpu", is_default=False, is_up=True, max_time_min=None, nodes=2, gres={"gpu:h100": 4, "gpu:a100": 8}),
    ),
    associations=(),
    qos=(),
    jobs_queued=0,
)


class FakeSlurm(FakeQueue):
    """Recorded squeue rows and literal limits."""

    def __init__(self, *rows: str, **limits: Any) -> None:
        super().__init__(*rows)
        self.held = msgspec.structs.replace(LIMITS, **limits)

    def limits(self, user: Any = None, partitions: Any = None) -> Limits:
        """As written down."""
        del user, partitions
        return self.held


@pytest.fixture
def made(root: Path) -> MadeRun:
    """Three sets with two evaluations each."""
    found = MadeRun(root)
    for seed in range(3):
        set_key = found.condense(seed=seed)
        for student in range(2):
            found.evaluate(set_key, student)
    return found.write()


def _plan(made: MadeRun) -> Plan:
    order = sorted(made.lines, key=lambda line: line.stage)  # condense before evaluate
    tasks = [Planned(line.key, made.tasks[line.key], line.label) for line in order]
    return Plan("made", tasks, [], ("a warning",), provisional=True)


def _keys(made: MadeRun, stage: str) -> list[str]:
    return [line.key for line in made.lines if line.stage == stage]


def _profile(backend: str = "slurm", **fields: Any) -> Profile:
    blocks = {name: StageBlock(**block) for name, block in fields.pop("stages", {}).items()}
    return Profile(**{"name": "site", "backend": backend, "workers": 2, "stages": Stages(**blocks), **fields})


def _rows(
    made: MadeRun, slurm: FakeSlurm | None, profile: Profile
) -> tuple[dict[str, tuple[int, ...]], survey.Overview]:
    planned = _plan(made)
    taken = survey.take(planned, made.layout, slurm, 900.0)
    arrangement, misfits = survey.arranged(taken, profile, slurm)
    found = survey.overview(planned, taken, arrangement, profile, misfits, [])
    return {row.stage: msgspec.structs.astuple(row)[1:6] for row in found.rows}, found


def test_the_overview_counts_by_stage_on_slurm(made: MadeRun) -> None:
    """New, cached and live add up to the plan; arrays and elements are those that would be sent now."""
    first, second, _ = _keys(made, "condense")
    made.record(first)
    made.submit([second], job="608")
    slurm = FakeSlurm(squeue_row("608_0", "RUNNING"))
    rows, found = _rows(made, slurm, _profile(stages={"evaluate": {"pack": 2}}))
    assert rows["condense"] == (1, 1, 1, 1, 1)  # the third alone is new
    assert rows["evaluate"][:3] == (6, 0, 0)
    assert rows["evaluate"][3:] == (3, 3)  # behind nothing, the live element, the new one: a pack of two each
    assert (found.kept_back, found.provisional, found.warnings) == (0, True, [])


def test_the_overview_counts_by_stage_on_this_machine(made: MadeRun) -> None:
    """Workers share one list: there are never more elements than workers."""
    for key in _keys(made, "condense"):
        made.record(key)
    rows, _ = _rows(made, None, _profile("local"))
    assert rows == {"condense": (0, 3, 0, 0, 0), "evaluate": (6, 0, 0, 1, 2)}


@pytest.mark.parametrize(
    ("limits", "fields", "sent"),
    [
        ({}, {}, 9),
        ({}, {"submit_limit": 4}, 4),
        ({"jobs_queued": 3}, {"submit_limit": 4}, 1),
        ({"jobs_queued": 9}, {"submit_limit": 4}, 0),
        ({"max_job_count": 5}, {"submit_limit": 8}, 5),
        ({"associations": (Association("c", "a", "", None, 2, None, "", ()),)}, {}, 2),
    ],
)
def test_the_tightest_limit_keeps_tasks_back(
    made: MadeRun, limits: dict[str, Any], fields: dict[str, Any], sent: int
) -> None:
    """Whoever bounds the queue, what is queued already counts against it."""
    _, found = _rows(made, FakeSlurm(**limits), _profile(**fields))
    assert sum(row.elements for row in found.rows) == sent
    assert found.kept_back == 9 - sent


def test_arrays_are_no_larger_than_cluster_and_profile_allow(made: MadeRun) -> None:
    """The smaller of MaxArraySize and the profile's own cap counts."""
    taken = survey.take(_plan(made), made.layout, None, 900.0)
    for limits, fields, sizes in (({}, {"max_array": 2}, [2, 1]), ({"max_array_size": 1}, {"max_array": 2}, [1, 1, 1])):
        arrangement, _ = survey.arranged(taken, _profile(**fields), FakeSlurm(**limits))
        assert [len(a.packs) for a in arrangement.arrays if a.stage == "condense"] == sizes


@pytest.mark.parametrize(
    ("block", "said"),
    [
        ({"partition": "cpu", "time_min": 60}, ""),
        ({"partition": "gpu", "gpus": 4, "gpu_type": "h100", "time_min": 10**6}, ""),
        ({"partition": "gpu", "gpus": 8}, ""),
        ({"partition": "gone,gpu", "gpus": 1}, ""),
        ({}, ""),
        ({"partition": "gone"}, "stage condense: no partition 'gone'; there are ['cpu', 'gpu']"),
        ({"partition": "gone,lost"}, "no partition 'gone,lost'"),
        ({"time_min": 61}, "time_min 61 is above the 60 min of cpu"),
        ({"partition": "cpu,gpu", "time_min": 61}, "time_min 61 is above the 60 min of cpu"),
        ({"gpus": 1}, "wants 1 gpu per node, cpu has 0"),
        ({"partition": "gpu", "gpus": 9}, "wants 9 gpu per node, gpu has 8"),
        ({"partition": "gpu", "gpus": 5, "gpu_type": "h100"}, "wants 5 gpu:h100 per node, gpu has 4"),
        ({"partition": "gpu", "gpus": 1, "gpu_type": "h10"}, "wants 1 gpu:h10 per node, gpu has 0"),
    ],
)
def test_what_will_not_fit_is_said_at_plan_time(made: MadeRun, block: dict[str, Any], said: str) -> None:
    """Partition, time and GPUs of a stage against the partition that it names, or the default one."""
    _, found = _rows(made, FakeSlurm(), _profile(stages={"condense": block}))
    assert len(found.warnings) == (1 if said else 0)
    assert said in "".join(found.warnings)


def test_only_stages_with_new_tasks_are_held_against_the_limits(made: MadeRun) -> None:
    """What is recorded asks for nothing more."""
    for key in _keys(made, "condense"):
        made.record(key)
    _, found = _rows(made, FakeSlurm(), _profile(stages={"condense": {"partition": "gone"}}))
    assert found.warnings == []


def test_a_cluster_without_a_default_partition_wants_one_named(made: MadeRun) -> None:
    """The profile's silence is a misfit then."""
    slurm = FakeSlurm(partitions=LIMITS.partitions[1:])
    _, misfits = survey.arranged(survey.take(_plan(made), made.layout, slurm, 900.0), _profile(), slurm)
    assert [text.partition(": ")[2] for text in misfits] == ["no partition '(default)'; there are ['gpu']"] * 2


def test_this_machine_has_no_limits(made: MadeRun) -> None:
    """Without Slurm nothing is arranged and nothing asked."""
    taken = survey.take(_plan(made), made.layout, None, 900.0)
    assert survey.arranged(taken, _profile("local"), None) == (Arrangement([], ()), [])


def test_what_others_compute_is_live_and_not_new(made: MadeRun) -> None:
    """Live tasks stay unrecorded, so that local workers can take over should their owners die."""
    first, second, third = _keys(made, "condense")
    made.submit([first, second], [third], job="608")
    taken = survey.take(_plan(made), made.layout, FakeSlurm(squeue_row("608_0", "PENDING", "Priority")), 900.0)
    assert taken.live == {first: "608_0", second: "608_0"}
    assert third in taken.new
    assert {first, second} < taken.unrecorded.keys()
    assert not {first, second} & taken.new.keys()


def _record_code(made: MadeRun, digest: Callable[[str], str]) -> Plan:
    for key in _keys(made, "condense"):
        made.record(key, environment={"plugin_code": digest(attempt.plugin_digest(made.tasks[key]))})
    return _plan(made)


def test_changed_plugin_code_at_an_equal_version_is_refused(made: MadeRun) -> None:
    """The plug-in is named once, with the number of its records and both ways out."""
    planned = _record_code(made, lambda digest: digest[::-1])
    taken = survey.take(planned, made.layout, None, 900.0)
    with pytest.raises(InputError, match=r"random \(3 records\).*Bump `version`.*--accept-code"):
        survey.require_same_code(planned, taken, made.layout)


def test_unchanged_plugin_code_is_accepted(made: MadeRun) -> None:
    """Equal digests are no reason to stop, and what is not recorded is not asked."""
    planned = _record_code(made, str)
    made.layout.task("condense", _keys(made, "condense")[0]).record.unlink()
    taken = survey.take(planned, made.layout, None, 900.0)
    survey.require_same_code(planned, taken, made.layout)
    assert len(taken.cached) == 2


def test_a_record_without_its_artefact_is_new(made: MadeRun) -> None:
    """Scratch file systems are purged: what is gone is computed again."""
    key = _keys(made, "condense")[0]
    made.record(key, artefacts={"set": store.Artefact("set.0001.h5", 4, "0" * 64)})
    assert key in survey.take(_plan(made), made.layout, None, 900.0).new


def _wanting(made: MadeRun, precision: str) -> survey.Survey:
    """Everything is new; evaluations have that precision."""
    taken = survey.take(_plan(made), made.layout, None, 900.0)
    changed = dict(taken.unrecorded)
    for key, task in taken.unrecorded.items():
        if isinstance(task.spec, EvaluateSpec):
            training = msgspec.structs.replace(task.spec.training, precision=precision)
            changed[key] = msgspec.structs.replace(task, spec=msgspec.structs.replace(task.spec, training=training))
    return msgspec.structs.replace(taken, unrecorded=changed)


@pytest.mark.parametrize(
    ("profile", "gpu_here", "why"),
    [
        (_profile("local"), False, "this machine shows no GPU"),
        (_profile("local"), True, ""),
        (_profile("local", device="cpu"), True, "its device is 'cpu'"),
        (_profile(), True, "their `gpus` are 0"),
        (_profile(stages={"evaluate": {"gpus": 1}}), False, ""),
        (_profile(stages={"condense": {"gpus": 1}}), False, "their `gpus` are 0"),
        (_profile(stages={"evaluate": {"sbatch": {"gres": "gpu:1"}}}), False, ""),
        (_profile(device="cpu", stages={"evaluate": {"gpus": 1}}), False, "its device is 'cpu'"),
    ],
)
def test_bf16_without_a_gpu_is_said(made: MadeRun, profile: Profile, gpu_here: bool, why: str) -> None:  # noqa: FBT001
    """Before the tasks fail on their nodes; fp32 never is."""
    found = survey.on_cpus(_wanting(made, "bf16"), profile, gpu_here=gpu_here)
    expected = (
        f"precision = \"bf16\" needs CUDA, and profile 'site' has none for evaluate: {why}; "
        'give them a GPU, or set precision = "fp32" in the manifest'
    )
    assert found == ([expected] if why else [])
    assert survey.on_cpus(_wanting(made, "fp32"), profile, gpu_here=gpu_here) == []


def test_a_gpu_shows_by_its_device_file(tmp_path: Path) -> None:
    """Unless the environment hides it."""
    assert not survey.gpu_here(tmp_path, {})
    (tmp_path / "nvidiactl").touch()
    assert not survey.gpu_here(tmp_path, {})
    (tmp_path / "nvidia0").touch()
    assert survey.gpu_here(tmp_path, {})
    assert survey.gpu_here(tmp_path, {"CUDA_VISIBLE_DEVICES": "1"})
    assert not survey.gpu_here(tmp_path, {"CUDA_VISIBLE_DEVICES": ""})
