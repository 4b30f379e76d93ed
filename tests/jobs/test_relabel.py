"""The stage `relabel`."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from made_stages import DATASET, Lab, condense, evaluate, teacher

from condhpc.label_files import LabelReader, LabelShape
from condhpc.spec import EvaluateSpec, RelabelSpec, Task, TeacherLabels


@pytest.fixture(scope="session")
def set_key(lab: Lab) -> str:
    """Ten random images per class."""
    return lab.key(condense("random", ipc=10))


def relabel(inputs: dict[str, str], student: Task, **changes: Any) -> Task:
    """The labels of a student's training, mean softmax at T = 20 unless said otherwise."""
    of: Any = student.spec
    spec = RelabelSpec(
        dataset=DATASET,
        teacher=TeacherLabels(form="softmax", temperature=20.0, **changes),
        steps=of.training.steps,
        batch=of.training.batch,
        augment=of.training.augment,
        seed=of.seed,
        precision="fp32",
    )
    return Task(stage="relabel", spec=spec, inputs=inputs, version=(1, 1))


def cached(student: Task, labels_key: str, set_key: str) -> Task:
    """The same student with labels from a file."""
    assert isinstance(student.spec, EvaluateSpec)
    protocol = msgspec.structs.replace(student.spec.protocol, source="cached")
    spec = msgspec.structs.replace(student.spec, protocol=protocol)
    return msgspec.structs.replace(student, spec=spec, inputs={"set": set_key, "labels": labels_key})


def test_cached_labels_train_as_online_ones(lab: Lab, set_key: str, teacher_key: str) -> None:
    """The same images in the same order with labels to half precision: losses agree, and so do the tests nearly."""
    inputs = {"set": set_key, "single.0": teacher_key}
    student = evaluate("single_teacher", inputs, steps=40)
    online = lab.record(student).values
    labels = relabel(inputs, student)
    found = lab.record(cached(student, lab.key(labels), set_key)).values
    assert found["loss_last"] == pytest.approx(online["loss_last"], rel=1e-2)
    assert abs(found["top1_pct"] - online["top1_pct"]) < 3.0
    assert (online["label_bytes"], found["label_bytes"]) == (0, lab.artefact(labels, "labels").stat().st_size)


def test_storage_is_rows_times_classes_in_half_precision(lab: Lab, set_key: str, teacher_key: str) -> None:
    """One file per task, 2 bytes per class and fed image; fewer where only the largest entries are kept."""
    inputs = {"set": set_key, "single.0": teacher_key}
    student = evaluate("single_teacher", inputs, steps=40)
    values = lab.record(relabel(inputs, student)).values
    assert (values["count"], values["kept"]) == (40 * 20, 10)
    assert 40 * 20 * 10 * 2 <= values["label_bytes"] < 40 * 20 * 10 * 2 + 16_000
    folder = lab.folder(relabel(inputs, student)).path
    assert sorted(p.name.partition(".")[0] for p in folder.iterdir()) == ["labels", "record", "task"]


def test_some_entries_of_each_label(lab: Lab, set_key: str, teacher_key: str) -> None:
    """With top-k the file holds k values and classes, and training still follows the online one closely."""
    inputs = {"set": set_key, "single.0": teacher_key}
    student = evaluate("single_teacher", inputs, steps=40)
    labels = relabel(inputs, student, top_k=4)
    path = lab.artefact(labels, "labels")
    values, classes, rest = LabelReader(path, LabelShape(800, 10, 4)).read(100, 50)
    assert (values.shape, values.dtype, classes.dtype, rest.dtype) == ((50, 4), np.float16, np.uint16, np.float32)
    assert np.allclose(values.sum(axis=1) + 6 * rest, 1.0, atol=2e-3)
    online = lab.record(student).values
    found = lab.record(cached(student, lab.key(labels), set_key)).values
    assert found["loss_last"] == pytest.approx(online["loss_last"], rel=0.5)


def test_a_committee_is_asked_in_its_order(lab: Lab, set_key: str, teacher_key: str) -> None:
    """Weights belong to members by number: all weight on one of them gives that one's labels."""
    other_key = lab.key(teacher(seed=1, steps=12))
    alone = {"set": set_key, "single.0": other_key}
    both = {"set": set_key, "single.1": other_key, "single.0": teacher_key}
    student = evaluate("single_teacher", alone, steps=5)
    shape = LabelShape(100, 10, 10)
    (one,) = LabelReader(lab.artefact(relabel(alone, student), "labels"), shape).read(0, 100)
    weighted = relabel(both, student, weights=(0.0, 1.0))
    (two,) = LabelReader(lab.artefact(weighted, "labels"), shape).read(0, 100)
    assert np.array_equal(one, two)


def test_labels_of_another_training_are_refused(lab: Lab, set_key: str, teacher_key: str) -> None:
    """Another seed sees other images, so its labels would be wrong for every batch."""
    inputs = {"set": set_key, "single.0": teacher_key}
    student = evaluate("single_teacher", inputs, steps=5)
    key = lab.key(relabel(inputs, evaluate("single_teacher", inputs, seed=3, steps=5)))
    assert "holds labels of another training" in lab.failure(cached(student, key, set_key))


def test_a_stopped_task_goes_on_to_the_same_bytes(tmp_path: Path, stop_at: threading.Event) -> None:
    """Stopped after three steps and resumed, the labels are those of an uninterrupted task."""
    stopped, whole = Lab(tmp_path / "a"), Lab(tmp_path / "b")
    found = []
    for place in (stopped, whole):
        stop_at.clear()
        inputs = {"set": place.key(condense("random")), "single.0": place.key(teacher(steps=2))}
        task = relabel(inputs, evaluate("single_teacher", inputs, steps=20))
        if place is stopped:
            stop_at.clear()
            assert place.attempt(task, stop_at) == "stopped"
            assert "stopped at step 3 of 20" in place.reason(task)
            stop_at.clear()
        (labels,) = LabelReader(place.artefact(task, "labels"), LabelShape(400, 10, 10)).read(0, 400)
        found.append(labels)
    assert found[0].tobytes() == found[1].tobytes()
    assert np.allclose(found[0].sum(axis=1), 1.0, atol=2e-3)
