"""From tasks to images through networks."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest
from made_runs import DATASET, TRAINING, MadeRun, protocol

from condhpc import keys, registry, sharding
from condhpc.cost_model import FORWARD, MATCHED, TRAINED, Effort, network, transformer
from condhpc.efforts import Efforts, precision_of
from condhpc.methods.base import Preparation, Preparing
from condhpc.registry import Plugin
from condhpc.spec import (
    CondenseSpec,
    DatasetSpec,
    DiffusionTransformer,
    EmbedSpec,
    FolderSpec,
    GeneratorSpec,
    GeneratorTraining,
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


MATCHING = {"lr": 0.1, "iterations": 4000, "r_bn": 0.01, "flip": True, "roll_px": 0}


def test_recoveries_take_all_images_through_all_iterations(made: MadeRun) -> None:
    """In chunks of classes, backbones in turn."""
    inputs = {"backbones.0": made.teacher(), "backbones.1": made.teacher(seed=1)}
    task = _condense("sre2l", "method", {**MATCHING, "chunk": 4}, inputs)
    assert passed(_of(made, task)) == [(50 * 2000, 15 * 2000, MATCHED)] * 2


def test_images_that_join_late_take_fewer_iterations(made: MadeRun) -> None:
    """DELT at 10 images per class and 8 rounds: 2,550 iterations of 4,000, as its authors count."""
    task = _condense("delt", "method", {**MATCHING, "init": "noise"}, {"backbones": made.teacher()})
    task = msgspec.structs.replace(task, spec=msgspec.structs.replace(task.spec, ipc=10))
    ((images, _, _),) = passed(_of(made, task))
    assert images / 100 == pytest.approx(2550)


def _generator(**changes: Any) -> Task:
    training = GeneratorTraining(
        steps=70, batch=10, lr=1e-3, ema_decay=0.9, label_dropout=0.1, mirror=False, precision="fp32"
    )
    spec = GeneratorSpec(
        dataset=DATASET,
        seed=0,
        split="train",
        arch=DiffusionTransformer(patch=2, width=64, depth=3, heads=2),
        training=training,
        vae=None,
        folder=None,
        classes="",
        pretrained_on="",
    )
    return Task(stage="generator", spec=msgspec.structs.replace(spec, **changes), inputs={}, version=(1, 1))


def test_a_generator_is_trained_on_pixels_or_latents(made: MadeRun) -> None:
    """Latents are made by an autoencoder at each step; one made elsewhere is only loaded."""
    pixels = _of(made, _generator())
    assert passed(pixels) == [(700, 70, TRAINED)]
    assert pixels is not None
    assert pixels.passes[0].network == transformer(64, 3, 2)
    outside = FolderSpec(name="vae", sha256="0" * 64)
    large = msgspec.structs.replace(DATASET, resolution=256)
    latents = _of(made, _generator(vae=outside, dataset=large))
    assert passed(latents) == [(700, 70, TRAINED), (700, 70, FORWARD)]
    assert latents is not None
    assert [part.resolution for part in latents.passes] == [32, 256]
    assert _of(made, _generator(folder=outside, training=None, arch=None)) == Effort()


def test_generative_methods_draw_all_steps_of_all_images_twice(made: MadeRun) -> None:
    """Guidance asks with the class and without; minimax tunes on all training images first, for all epochs."""
    made.tasks["g"] = _generator()
    params = {"phase_classes": 5, "mirror": False, "steps": 20, "epochs": 3}
    minimax = passed(_of(made, _condense("minimax", "method", params, {"generator": "g"})))
    assert minimax == [(3000, 375, TRAINED), (50 * 40, 4 * 40, FORWARD)]
    made.tasks["x"] = _generator(folder=FolderSpec(name="dit", sha256="0" * 64), training=None, arch=None)
    for mirror, looks in ((False, 1), (True, 2)):
        found = _of(made, _condense("minimax", "method", params | {"mirror": mirror}, {"generator": "x"}))
        assert passed(found)[1] == (1000 * looks, 125 * looks, FORWARD)
        assert found is not None
        assert (found.passes[1].resolution, found.decoded) == (256, 1000)
    free = {"steps": 20, "stop": 10, "guidance": 1.0}
    assert passed(_of(made, _condense("mgd3", "method", free, {"generator": "g", "modes": "m"}))) == [
        (50 * 20, 10 * 20, FORWARD)
    ]


def test_modes_read_latents_and_latents_pass_the_autoencoder(made: MadeRun) -> None:
    """Pixels pass through nothing."""
    made.tasks["g"] = _generator()
    made.tasks["d"] = _generator(folder=FolderSpec(name="dit", sha256="0" * 64), training=None, arch=None)
    spec = EmbedSpec(
        dataset=DATASET, split="train", encoder="generator", network=None, batch=10, precision="fp32", rows=None
    )
    on_pixels, latent = (Task(stage="embed", spec=spec, inputs={"generator": g}, version=(1, 1)) for g in "gd")
    assert passed(_of(made, on_pixels)) == []
    assert passed(_of(made, latent)) == [(1000, 100, FORWARD)]
    modes = PrepareSpec(
        dataset=DATASET, method="mgd3", preparation="modes", params={}, ipc=5, resolution=8, precision="fp32"
    )
    found = _of(made, Task(stage="prepare", spec=modes, inputs={"latents": "e"}, version=(1, 1)))
    assert found is not None
    assert found.read_bytes > 1000 * 4096


def test_every_method_predicts_its_cost() -> None:
    """A plan without a number for one of them would be believed to be cheap."""
    silent = [name for name in registry.names("methods") if _cost_of(name) is Plugin.cost]
    assert silent == []


def _cost_of(name: str) -> Any:
    return type(registry.load("methods", name)).cost


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
