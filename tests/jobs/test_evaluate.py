"""The stage `evaluate`."""

from __future__ import annotations

import base64
import math
import threading
from pathlib import Path

import msgspec
import numpy as np
import pytest
from made_stages import INDEX, Lab, condense, evaluate, teacher

from condhpc import models, registry, rng

COUNT = len(INDEX.splits["test"].labels)


@pytest.fixture(scope="session")
def set_key(lab: Lab) -> str:
    """Ten random images per class."""
    return lab.key(condense("random", ipc=10))


def test_record_keeps_the_bits_behind_the_accuracy(lab: Lab, set_key: str) -> None:
    """One bit per test image, in the split's order, whose mean is the accuracy."""
    values = lab.record(evaluate("erm", {"set": set_key}, steps=60)).values
    bits = np.unpackbits(np.frombuffer(base64.b64decode(values["correct_bits"]), dtype=np.uint8), count=COUNT)
    assert values["test_count"] == COUNT
    assert 100 * bits.mean() == pytest.approx(values["top1_pct"])
    assert values["top1_pct"] > 40
    assert (values["steps"], values["batch"]) == (60, 20)
    assert set(values) == {
        "top1_pct", "test_count", "test_loss", "correct_bits", "train_top1_pct", "loss_last", "steps", "batch",
        "train_count", "resolution", "label_bytes",
    }  # fmt: skip


def test_a_teachers_labels_reach_the_student(lab: Lab, set_key: str, teacher_key: str) -> None:
    """The protocol's teacher is among the inputs, and students of two teachers differ."""
    inputs = {"set": set_key, "single.0": teacher_key}
    first = lab.record(evaluate("single_teacher", inputs)).values
    second = lab.record(evaluate("single_teacher", {**inputs, "single.0": lab.key(teacher(seed=1, steps=12))})).values
    assert first["loss_last"] != second["loss_last"]
    assert first["loss_last"] < 0.1


def test_a_committee_speaks_with_one_voice(lab: Lab, set_key: str, teacher_key: str) -> None:
    """All members of the role are asked: two equal teachers give the labels of one."""
    one = lab.record(evaluate("single_teacher", {"set": set_key, "single.0": teacher_key}))
    two = lab.record(evaluate("single_teacher", {"set": set_key, "single.0": teacher_key, "single.1": teacher_key}))
    assert two.values["loss_last"] == pytest.approx(one.values["loss_last"], rel=1e-3)


def test_teacher_labels_without_a_teacher_fail(lab: Lab, set_key: str) -> None:
    """A task whose inputs lack the role says so."""
    assert "no teacher among its inputs" in lab.failure(evaluate("single_teacher", {"set": set_key}))


def test_student_seeds_differ_and_repeat(tmp_path: Path, lab: Lab, set_key: str) -> None:
    """The same task in another store gives the very same record values; another student seed gives others."""
    other = Lab(tmp_path)
    again = other.record(evaluate("erm", {"set": other.key(condense("random", ipc=10))})).values
    assert again == lab.record(evaluate("erm", {"set": set_key})).values
    assert again != lab.record(evaluate("erm", {"set": set_key}, seed=1)).values


def test_the_student_seed_alone_decides_the_start(
    lab: Lab, set_key: str, teacher_key: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Students of two protocols, and so of any two sets, start from the same weights: comparisons are paired."""
    starts: list[tuple[object, ...]] = []
    build = models.build
    monkeypatch.setattr(models, "build", lambda *a, **k: starts.append(a) or build(*a, **k))
    lab.key(evaluate("erm", {"set": set_key}, seed=31, steps=1))
    lab.key(evaluate("single_teacher", {"set": set_key, "single.0": teacher_key}, seed=31, steps=1))
    students = [arguments for arguments in starts if len(arguments) == 5]
    assert students == 2 * [("convnet3", 10, 8, rng.torch_seed(31, "student-init"), "batch")]


def test_a_stopped_student_goes_on_to_the_same_values(tmp_path: Path, stop_at: threading.Event) -> None:
    """Stopped after three steps and resumed, the record is that of an uninterrupted student."""
    stopped, whole = Lab(tmp_path / "a"), Lab(tmp_path / "b")
    task = evaluate("erm", {"set": whole.key(condense("random"))})
    stopped.key(condense("random"))
    stop_at.clear()
    assert stopped.attempt(task, stop_at) == "stopped"
    assert "stopped at step 3 of 20" in stopped.reason(task)
    stop_at.clear()
    assert stopped.record(task).values == whole.record(task).values
    assert stopped.record(task).attempt == 2
    assert not list(stopped.folder(task).path.glob("checkpoint.*"))


def test_bf16_on_a_cpu_fails_before_training(lab: Lab, set_key: str) -> None:
    """A precision in the key is never silently another one."""
    task = evaluate("erm", {"set": set_key})
    training = msgspec.structs.replace(task.spec.training, precision="bf16")  # type: ignore[union-attr]
    assert "precision bf16 needs CUDA" in lab.failure(evaluate("erm", {"set": set_key}, training=training))


def test_a_reference_line_trains_on_all_data(lab: Lab) -> None:
    """Without a set the student sees the whole training split."""
    values = lab.record(evaluate("erm", {}, steps=40)).values
    assert values["train_count"] == len(INDEX.splits["train"].labels)
    assert "train_top1_pct" not in values


def test_a_native_protocol_is_tested_on_the_way(lab: Lab, set_key: str) -> None:
    """Its accuracies and the best of them stand in the record; the result is the last step's all the same."""
    task = evaluate("idc_hard", {"set": set_key}, steps=20)
    values = lab.record(task).values
    assert len(values["probed_top1_pct"]) == 20  # at most one after each step
    assert values["top1_pct_best"] == max(values["probed_top1_pct"])
    assert values["probed_top1_pct"][-1] == values["top1_pct"]


def test_the_first_images_of_each_class_may_count_alone(lab: Lab, set_key: str) -> None:
    """RDED and DELT test on 50 images of each class; here on five."""
    protocol = msgspec.structs.replace(registry.load("protocols", "erm"), test_per_class=5)
    values = lab.record(evaluate("erm", {"set": set_key}, protocol=protocol)).values
    assert values["test_count"] == 50


def test_soft_labels_of_a_set_are_wanted_by_one_protocol(lab: Lab, set_key: str) -> None:
    """A set without any is told so, not trained with something else."""
    assert "this set has none; use another protocol" in lab.failure(evaluate("set_labels", {"set": set_key}))


@pytest.mark.parametrize("name", ["sre2l", "rded", "gvbsm", "edc", "cvdd"])
def test_native_protocols_run(lab: Lab, set_key: str, teacher_key: str, name: str) -> None:
    """Each trains on digits with teachers asked online, a committee of equal members where it wants one."""
    protocol = msgspec.structs.replace(registry.load("protocols", name), source="online", crop_scale_min=0.6)
    members = max(len(protocol.committee), 1)
    inputs = {f"{protocol.teacher_role}.{i}": teacher_key for i in range(members)}
    values = lab.record(evaluate(name, {"set": set_key, **inputs}, protocol=protocol, steps=6)).values
    assert 0.0 <= values["top1_pct"] <= values["top1_pct_best"] <= 100.0
    assert math.isfinite(values["loss_last"])
