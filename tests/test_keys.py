"""Keys: pinned for one task of each stage, and sensitive to every field."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from condhpc import keys
from condhpc.spec import (
    STAGES,
    AnalyzeSpec,
    Augment,
    CondenseSpec,
    DatasetSpec,
    DiffusionTransformer,
    EmbedSpec,
    EvaluateSpec,
    FolderSpec,
    GeneratorSpec,
    GeneratorTraining,
    Optimizer,
    PrepareSpec,
    Probes,
    Protocol,
    RandAugment,
    RelabelSpec,
    Rule,
    Stage,
    Task,
    TeacherLabels,
    TeacherSpec,
    Training,
    WeightsSpec,
)

DATASET = DatasetSpec(
    name="d", loader="folder", index="00ff", classes=10, resolution=32, mean=(0.5, 0.4, 0.3), std=(0.2, 0.2, 0.25)
)
OPTIMIZER = Optimizer(name="adamw", lr=0.001, weight_decay=0.01)
TRAINING = Training(
    steps=300,
    batch=10,
    bn_group=10,
    optimizer=OPTIMIZER,
    augment=Augment(crop_scale_min=0.5, flip=True, cutmix_alpha=1.0),
    precision="fp32",
)
PROTOCOL = Protocol(
    name="soft",
    follows="code",
    labels="teacher",
    loss="kl",
    teacher_role="single",
    teacher=TeacherLabels(form="softmax", temperature=20.0),
    randaugment=RandAugment(operations=2, magnitude=6.0, magnitude_std=1.0),
    rules=(Rule(epochs=300),),
    probes=Probes(count=3),
    optimizer=OPTIMIZER,
    cutmix_alpha=1.0,
    test="last",
)
TASKS: dict[Stage, Task] = {
    "teacher": Task(
        stage="teacher",
        spec=TeacherSpec(
            dataset=DATASET,
            arch="convnet3",
            seed=3,
            split="train",
            training=TRAINING,
            weights=WeightsSpec(name="w", sha256="a" * 64),
        ),
        inputs={},
        version=(1, 1),
    ),
    "generator": Task(
        stage="generator",
        spec=GeneratorSpec(
            dataset=DATASET,
            seed=2,
            split="train",
            arch=DiffusionTransformer(patch=2, width=64, depth=4, heads=2),
            training=GeneratorTraining(
                steps=100, batch=16, lr=0.001, ema_decay=0.99, label_dropout=0.1, mirror=True, precision="fp32"
            ),
            vae=FolderSpec(name="v", sha256="b" * 64),
            folder=FolderSpec(name="f", sha256="c" * 64),
            classes="imagenet1k",
            pretrained_on="photographs",
        ),
        inputs={},
        version=(1, 1),
    ),
    "embed": Task(
        stage="embed",
        spec=EmbedSpec(
            dataset=DATASET, split="train", encoder="teacher", network=None, batch=256, precision="fp32", rows=None
        ),
        inputs={"encoder": "11"},
        version=(1, 1),
    ),
    "prepare": Task(
        stage="prepare",
        spec=PrepareSpec(
            dataset=DATASET,
            method="edc",
            preparation="statistics",
            params={"patch": 16},
            ipc=None,
            resolution=32,
            precision="fp32",
        ),
        inputs={"backbones.0": "22"},
        version=(1, 1),
    ),
    "condense": Task(
        stage="condense",
        spec=CondenseSpec(
            dataset=DATASET,
            kind="method",
            condenser="rded",
            params={"factor": 2, "encoder": "teacher:single"},
            ipc=10,
            seed=0,
            resolution=32,
            precision="fp32",
        ),
        inputs={"observer": "22"},
        version=(1, 4),
    ),
    "relabel": Task(
        stage="relabel",
        spec=RelabelSpec(
            dataset=DATASET,
            teacher=TeacherLabels(form="logits", weights=(0.5, 0.5)),
            steps=300,
            batch=10,
            augment=TRAINING.augment,
            seed=1,
            precision="fp32",
        ),
        inputs={"set": "33", "single.0": "11"},
        version=(1, 1),
    ),
    "evaluate": Task(
        stage="evaluate",
        spec=EvaluateSpec(
            dataset=DATASET, student="resnet18", protocol=PROTOCOL, training=TRAINING, seed=1, test_split="test"
        ),
        inputs={"set": "33", "single.0": "11"},
        version=(1, 1),
    ),
    "analyze": Task(
        stage="analyze",
        spec=AnalyzeSpec(dataset=DATASET, metric="coverage", params={"k": 5}, precision="fp32"),
        inputs={"set": "33", "embedding": "44"},
        version=(1, 2),
    ),
}
GOLDEN: dict[Stage, str] = {
    "teacher": "136146da0e49758f78d2615132577c0d",
    "generator": "4b21fbc4eb56ac06b20310c6f4e3d569",
    "embed": "22145a25bca7a17108c82cb64d176af7",
    "prepare": "d497e8f0052d05a7f47858913a106cfd",
    "condense": "5c01eaf19185d1bef654981eaa67ec8d",
    "relabel": "0644367fd8a531ea93dfdae525abafa0",
    "evaluate": "2aac4bce57ee7412bb89d7d374c92688",
    "analyze": "b32e4d1b706b7393c74229e6640b1469",
}


@pytest.mark.parametrize("stage", STAGES)
def test_keys_are_pinned(stage: Stage) -> None:
    """A key that moves makes every result so far unreachable: bump `keys.FORMAT` and say so in the changelog."""
    assert keys.key(TASKS[stage]) == GOLDEN[stage]


@pytest.mark.parametrize("stage", STAGES)
def test_preimage_round_trip(stage: Stage) -> None:
    """The preimage is all there is to a task: it decodes to the same task and the same bytes."""
    data = keys.preimage(TASKS[stage])
    found = keys.parse_preimage(data)
    assert found == TASKS[stage]
    assert keys.preimage(found) == data
    assert keys.digest(data) == keys.key(found)


@pytest.mark.parametrize("stage", STAGES)
def test_key_depends_on_every_field(stage: Stage) -> None:
    """No two of all one-field changes of a task, at any depth, share a key with it or with each other."""
    tasks = [TASKS[stage], *_changed(TASKS[stage])]
    assert len(tasks) > 10
    assert len({keys.key(task) for task in tasks}) == len(tasks)


def test_key_ignores_order_of_inputs_and_params() -> None:
    """Dictionaries have no order that counts."""
    task = TASKS["evaluate"]
    turned = msgspec.structs.replace(task, inputs=dict(reversed(task.inputs.items())))
    assert list(turned.inputs) != list(task.inputs)
    assert keys.key(turned) == keys.key(task)


def test_preimage_of_another_format_is_refused() -> None:
    """A store written by a later condhpc is not misread."""
    data = keys.preimage(TASKS["embed"]).replace(b'"format":2', b'"format":3')
    with pytest.raises(msgspec.ValidationError, match="task format 3, this condhpc reads 2"):
        keys.parse_preimage(data)


def test_preimage_with_an_unknown_field_is_refused() -> None:
    """A field that this version does not know would be lost silently."""
    data = keys.preimage(TASKS["embed"]).replace(b'"batch":256', b'"batch":256,"extra":1')
    with pytest.raises(msgspec.ValidationError, match="extra"):
        keys.parse_preimage(data)


def test_digest_of_a_file(tmp_path: Path) -> None:
    """SHA-256 as sha256sum prints it, over more than one chunk."""
    path = tmp_path / "zeros"
    path.write_bytes(bytes((1 << 20) + 1))
    assert keys.sha256_file(path) == "2cb74edba754a81d121c9db6833704a8e7d417e5b13d1a19f4a52f007d644264"


def test_digest_of_a_folder(tmp_path: Path) -> None:
    """That of the lines `sha256sum` prints for its files in the order of their paths; hidden files do not count."""
    (tmp_path / "b").mkdir()
    for name, text in (("b/x", "1"), ("a", "2"), (".hidden", "3")):
        (tmp_path / name).write_text(text)
    lines = [f"{hashlib.sha256(text.encode()).hexdigest()}  {name}\n" for name, text in (("a", "2"), ("b/x", "1"))]
    assert keys.sha256_of(tmp_path) == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert keys.sha256_of(tmp_path / "a") == keys.sha256_file(tmp_path / "a")
    with pytest.raises(OSError, match="No such file"):
        keys.sha256_of(tmp_path / "gone")


def test_digest_of_a_folder_follows_links(tmp_path: Path) -> None:
    """A linked folder counts like the folder itself; a link to nothing or in a circle is an error, not an empty set."""
    plain, linked = tmp_path / "plain", tmp_path / "linked"
    (plain / "a").mkdir(parents=True)
    (plain / "a" / "x").write_text("1")
    linked.mkdir()
    (linked / "a").symlink_to(plain / "a")
    before = keys.sha256_of(linked)
    assert before == keys.sha256_of(plain)
    (plain / "a" / "x").write_text("2")
    assert keys.sha256_of(linked) != before
    (linked / "b").symlink_to(tmp_path / "gone")
    with pytest.raises(OSError, match="No such file"):
        keys.sha256_of(linked)
    (linked / "b").unlink()
    (linked / "b").symlink_to(linked)
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        keys.sha256_of(linked)


def test_a_folder_with_a_name_that_is_no_text_has_a_digest(tmp_path: Path) -> None:
    """Names are bytes to the file system, and enter as these."""
    (tmp_path / os.fsdecode(b"caf\xe9")).write_text("1")
    line = hashlib.sha256(b"1").hexdigest().encode() + b"  caf\xe9\n"
    assert keys.sha256_of(tmp_path) == hashlib.sha256(line).hexdigest()


def _changed(value: Any) -> Iterator[Any]:
    """Every value that differs from `value` in exactly one leaf, element or entry."""
    if isinstance(value, msgspec.Struct):
        for name in value.__struct_fields__:
            if isinstance(value, Task) and name == "stage":
                continue  # the stage decides the spec's type
            for other in _changed(getattr(value, name)):
                yield msgspec.structs.replace(value, **{name: other})
    elif isinstance(value, tuple):
        for i, item in enumerate(value):
            yield from ((*value[:i], other, *value[i + 1 :]) for other in _changed(item))
    elif isinstance(value, dict):
        yield {**value, "another": "55"}
        for key, item in value.items():
            yield {k: v for k, v in value.items() if k != key}
            yield from ({**value, key: other} for other in _changed(item))
    else:
        yield _other(value)


def _other(value: Any) -> Any:
    if value is None:
        return "something"
    if value is msgspec.UNSET:
        return False
    if isinstance(value, bool):
        return not value
    return value + "x" if isinstance(value, str) else value + 1
