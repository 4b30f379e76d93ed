"""From tasks to images through networks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from made_runs import DATASET, TRAINING, MadeRun, protocol

from condhpc import keys, registry, sharding
from condhpc.cost_model import FORWARD, TRAINED, Effort, network
from condhpc.efforts import Efforts, precision_of
from condhpc.methods.base import Preparation, Preparing
from condhpc.spec import (
    CondenseSpec,
    DatasetSpec,
    EmbedSpec,
    NetworkSpec,
    PrepareSpec,
    RelabelSpec,
    Rows,
    Task,
    TeacherLabels,
)

SIZES = {"train": 1000, "test": 200}


@pytest.fixture
def made(root: Any) -> MadeRun:
    """Tasks that refer to each other."""
    return MadeRun(root)


class Means(Preparation):
    """A preparation that says nothing of its cost."""

    def prepare(self, work: Preparing) -> dict[str, Any]:
        """Not called: predictions compute nothing."""
        raise AssertionError(work)


@pytest.fixture
def tiny_method(monkeypatch: pytest.MonkeyPatch) -> None:
    """A method `tiny` with the preparation `means`."""
    monkeypatch.setattr(registry, "preparation", lambda method, name: {("tiny", "means"): Means()}[method, name])


def effort(made: MadeRun, key: str, **changes: Any) -> Effort | None:
    """What a task has to do, with some fields of its spec changed."""
    task = made.tasks[key]
    task = msgspec.structs.replace(task, spec=msgspec.structs.replace(task.spec, **changes))
    return _of(made, task)


def _of(made: MadeRun, task: Task) -> Effort | None:
    def images(dataset: DatasetSpec, split: str) -> int:
        del dataset
        return SIZES[split]

    return Efforts(lambda whose, role: made.tasks.get(whose.inputs[role]), images).of(task)


def passed(found: Effort | None) -> list[tuple[float, float, float]]:
    """(images, steps, passes of each) through each network, in order."""
    assert found is not None
    return [(part.images, part.steps, part.each) for part in found.passes]


def test_a_teacher_is_trained_and_tested(made: MadeRun) -> None:
    """Steps × batch images, then the test split; small splits are decoded once, and never more than are seen."""
    found = effort(made, made.teacher(), training=msgspec.structs.replace(TRAINING, steps=500))
    assert passed(found) == [(5000, 500, TRAINED), (200, 1, FORWARD)]
    assert found is not None
    assert found.decoded == 1000 + 200
    few = effort(made, made.teacher())
    assert few is not None
    assert few.decoded == 50 + 200


def test_a_teacher_made_elsewhere_is_only_tested(made: MadeRun) -> None:
    """Nothing is trained."""
    assert passed(effort(made, made.teacher(), training=None)) == [(200, 1, FORWARD)]


def test_a_split_that_does_not_fit_is_decoded_anew_each_time(made: MadeRun) -> None:
    """1,000 images of 1,200 px are more than 4 GiB."""
    large = msgspec.structs.replace(DATASET, resolution=1200)
    training = msgspec.structs.replace(TRAINING, steps=500)
    found = effort(made, made.teacher(), dataset=large, training=training)
    assert found is not None
    assert found.decoded == 5000 + 200


def test_an_architecture_of_others_is_not_predicted(made: MadeRun) -> None:
    """Nor what asks a teacher of that kind."""
    strange = made.teacher()
    made.tasks[strange] = msgspec.structs.replace(
        made.tasks[strange], spec=msgspec.structs.replace(made.tasks[strange].spec, arch="theirs")
    )
    assert _of(made, made.tasks[strange]) is None
    assert _of(made, made.tasks[made.embed(strange)]) is None


def test_embeddings_are_a_forward_pass_of_the_split_or_of_its_part(made: MadeRun) -> None:
    """Pixels pass through nothing."""
    key = made.embed(made.teacher())
    assert passed(effort(made, key)) == [(1000, 100, FORWARD)]
    assert passed(effort(made, key, rows=Rows(first=200, count=300))) == [(300, 30, FORWARD)]
    pixels = effort(made, key, encoder="pixels")
    assert pixels == Effort((), 1000, 8)


def test_an_encoder_of_another_resolution_sees_images_of_that_size(made: MadeRun) -> None:
    """224 px for torchvision's own weights."""
    other = NetworkSpec(
        library="torchvision", arch="resnet50", weights="r50", sha256="0" * 64, resolution=224, mean=(0.5,) * 3,
        std=(0.5,) * 3,
    )  # fmt: skip
    spec = EmbedSpec(
        dataset=DATASET, split="train", encoder="network", network=other, batch=10, precision="bf16", rows=None
    )
    found = _of(made, Task(stage="embed", spec=spec, inputs={}, version=(1, 1)))
    assert found is not None
    assert [(part.network, part.resolution) for part in found.passes] == [(network("resnet50"), 224)]


def test_a_student_is_trained_and_tested(made: MadeRun) -> None:
    """On a set that is in memory; tests on the way count."""
    key = made.evaluate(made.condense())
    found = effort(made, key)
    assert passed(found) == [(50, 5, TRAINED), (200, 1, FORWARD)]
    assert found is not None
    assert found.decoded == 200


def test_a_reference_line_decodes_the_training_split(made: MadeRun) -> None:
    """As many of its images as it sees."""
    found = effort(made, made.reference("full_schedule", None))
    assert found is not None
    assert found.decoded == 50 + 200


def test_teachers_that_are_asked_online_see_every_batch(made: MadeRun) -> None:
    """All members; cached labels cost the student nothing."""
    members = {f"committee.{i}": made.teacher(f"committee.{i}", seed=i) for i in range(2)}
    asking = msgspec.structs.replace(protocol("multi"), labels="teacher", teacher=TeacherLabels(form="softmax"))
    key = made.evaluate(made.condense(), inputs=members)
    assert passed(effort(made, key, protocol=asking))[1:3] == [(50, 5, FORWARD)] * 2
    cached = msgspec.structs.replace(asking, source="cached")
    assert len(passed(effort(made, key, protocol=cached))) == 2


def test_labels_in_a_file_are_a_forward_pass_of_each_teacher(made: MadeRun) -> None:
    """Of every image of every batch."""
    spec = RelabelSpec(
        dataset=DATASET,
        teacher=TeacherLabels(form="softmax"),
        steps=30,
        batch=10,
        augment=TRAINING.augment,
        seed=0,
        precision="fp32",
    )
    inputs = {"set": made.condense(), "single": made.teacher()}
    task = Task(stage="relabel", spec=spec, inputs=inputs, version=(1, 1))
    assert passed(_of(made, task)) == [(300, 30, FORWARD)]


def _condense(condenser: str, kind: Any, params: dict[str, Any], inputs: dict[str, str]) -> Task:
    spec = CondenseSpec(
        dataset=DATASET, kind=kind, condenser=condenser, params=params, ipc=5, seed=0, resolution=8, precision="fp32"
    )
    return Task(stage="condense", spec=spec, inputs=inputs, version=(1, 1))


def test_rded_scores_its_crops(made: MadeRun) -> None:
    """Five crops of at most mipc images of each class."""
    task = _condense("rded", "method", {"mipc": 30, "score_batch": 50}, {"observer": made.teacher()})
    found = _of(made, task)
    assert passed(found) == [(300 * 5, 30, FORWARD)]
    assert found is not None
    assert found.decoded == 300


def test_shards_share_the_work_of_their_set(made: MadeRun) -> None:
    """By groups, of which rded has one per class; a set that is made in shards has nothing to do but to join them."""
    whole = _condense("rded", "method", {}, {"observer": made.teacher()})
    shards = sharding.shards_of(whole, 3)
    found = [_of(made, shard) for shard in shards]
    alone = passed(_of(made, whole))
    assert [images / alone[0][0] for one in found for images, _, _ in passed(one)] == [0.3, 0.3, 0.4]
    joined = msgspec.structs.replace(whole, shards=tuple(map(keys.key, shards)))
    assert _of(made, joined) == Effort()


def test_a_preparation_sees_the_training_split_once_through_each_teacher(made: MadeRun, tiny_method: None) -> None:
    """Unless it says otherwise."""
    spec = PrepareSpec(
        dataset=DATASET, method="tiny", preparation="means", params={}, ipc=None, resolution=8, precision="fp32"
    )
    inputs = {"backbones.0": made.teacher(), "backbones.1": made.teacher(seed=1)}
    found = _of(made, Task(stage="prepare", spec=spec, inputs=inputs, version=(1, 1)))
    assert passed(found) == [(1000, 1000 / 256, FORWARD)] * 2


def test_coresets_read_embeddings_once_per_pick(made: MadeRun) -> None:
    """Random ones only their images."""
    chosen = Effort((), 50, 8)
    assert _of(made, _condense("random", "coreset", {}, {})) == chosen
    inputs = {"embedding": made.embed(made.teacher())}
    herding = _of(made, _condense("herding", "coreset", {}, inputs))
    assert herding == Effort((), 50, 8, read_bytes=1000 * 2048 * 5)


def test_a_coreset_that_tries_parameters_trains_students(made: MadeRun) -> None:
    """One for each candidate."""
    params = {"cutoffs": [0.1, 0.5, 0.7], "holdout_steps": 40}
    assert passed(_of(made, _condense("ccs", "coreset", params, {"proxy": made.teacher()}))) == [(1200, 120, TRAINED)]


def test_a_set_made_elsewhere_is_not_predicted(made: MadeRun) -> None:
    """Checking it is nothing to plan for."""
    assert _of(made, _condense("external", "external", {}, {})) is None


def test_a_measure_embeds_the_set(made: MadeRun) -> None:
    """With the encoder's network."""
    teacher = made.teacher("judge")
    key = made.analyze(made.condense(ipc=7), "coverage", {"encoder": teacher, "embedding": made.embed(teacher)})
    assert [images for images, _, _ in passed(effort(made, key))] == [70]


def test_the_precision_is_that_of_the_passes(made: MadeRun) -> None:
    """Of a training where there is one."""
    mixed = msgspec.structs.replace(TRAINING, precision="bf16")
    task = made.tasks[made.teacher()]
    assert precision_of(task) == "fp32"
    assert (
        precision_of(msgspec.structs.replace(task, spec=msgspec.structs.replace(task.spec, training=mixed))) == "bf16"
    )
