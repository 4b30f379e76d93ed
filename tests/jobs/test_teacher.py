"""The stage `teacher`."""

from __future__ import annotations

import math
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from made_stages import INDEX, Lab, teacher

from condhpc import arrays, keys, models
from condhpc.spec import WeightsSpec
from condhpc_jobs import inputs, weights


def test_record_and_artefact(lab: Lab, teacher_key: str) -> None:
    """Three epochs on digits give a teacher far above chance, with weights and a row of dynamics per epoch."""
    record = lab.record(teacher())
    assert record.key == teacher_key
    assert record.values["test_top1_pct"] > 80
    assert (record.values["epochs"], record.values["steps"], record.values["batch"]) == (3, 36, 128)
    assert record.values["test_count"] == len(INDEX.splits["test"].labels)
    held = arrays.read(lab.artefact(teacher(), "model"), "model")
    images = len(INDEX.splits["train"].labels)
    shapes = {name: held.arrays[f"dynamics/{name}"].shape for name in ("margin", "correct", "el2n")}
    assert set(shapes.values()) == {(3, images)}
    correct_EN = held.arrays["dynamics/correct"]
    assert 100 * correct_EN[-1].mean() == pytest.approx(record.values["train_top1_pct_last_epoch"])
    assert correct_EN[-1].mean() > correct_EN[0].mean()
    assert (held.attributes["arch"], held.attributes["classes"]) == ("convnet3", 10)


def test_weights_survive_the_artefact(lab: Lab, teacher_key: str) -> None:
    """What a later stage loads gives the accuracy that the record names."""
    from condhpc import images, judge

    ctx = lab.context(teacher(seed=901))
    ctx.task.inputs["single.0"] = teacher_key
    model = inputs.load_teacher(ctx, "single.0")
    spec = teacher().spec
    split = inputs.open_split(ctx, spec.dataset, "test")  # type: ignore[union-attr]
    found = judge.score(model, images.images_of(split, "cpu"), spec.dataset.mean, spec.dataset.std, "cpu")  # type: ignore[union-attr]
    assert found.top1_pct == lab.record(teacher()).values["test_top1_pct"]
    assert not any(p.requires_grad for p in model.parameters())


def test_a_stopped_teacher_goes_on_to_the_same_bits(tmp_path: Path, stop_at: threading.Event) -> None:
    """A second attempt resumes from the first one's checkpoint and publishes the same weights and dynamics."""
    task = teacher(steps=6)
    stopped, whole = Lab(tmp_path / "a"), Lab(tmp_path / "b")
    assert stopped.attempt(task, stop_at) == "stopped"
    assert len(list(stopped.folder(task).path.glob("checkpoint.*"))) == 1
    stop_at.clear()
    first, second = (arrays.read(one.artefact(task, "model"), "model") for one in (stopped, whole))
    assert stopped.record(task).attempt == 2
    assert {n: a.tobytes() for n, a in first.arrays.items()} == {n: a.tobytes() for n, a in second.arrays.items()}
    assert stopped.record(task).values == whole.record(task).values


def _weights(path: Path, content: object) -> WeightsSpec:
    torch.save(content, path)
    return WeightsSpec(name="mine", sha256=keys.sha256_file(path))


def test_weights_from_a_file(tmp_path: Path) -> None:
    """Weights made elsewhere are tested and published; nothing is trained."""
    path = tmp_path / "mine.pth"
    model = models.build("convnet3", 10, 8, 4)
    task = teacher(weights=_weights(path, model.state_dict()))
    lab = Lab(tmp_path / "root", weights={"mine": str(path)})
    values = lab.record(task).values
    assert (values["source"], values["test_count"]) == ("weights:mine", len(INDEX.splits["test"].labels))
    assert "steps" not in values
    held = arrays.read(lab.artefact(task, "model"), "model").arrays
    assert np.array_equal(held["weights/head.weight"], model.state_dict()["head.weight"].numpy())
    assert not any(name.startswith("dynamics/") for name in held)


def test_a_file_from_before_batch_norm_counted(tmp_path: Path) -> None:
    """Weights saved without batch-norm counters, as torchvision's older files are, load like any other."""
    path = tmp_path / "mine.pth"
    model = models.build("convnet3", 10, 8, 4)
    old = {name: tensor for name, tensor in model.state_dict().items() if not name.endswith("num_batches_tracked")}
    spec = _weights(path, old)
    loaded = models.build("convnet3", 10, 8, 5)
    weights.load_file(loaded, path, spec)
    assert all(torch.equal(tensor, model.state_dict()[name]) for name, tensor in loaded.state_dict().items())


def test_another_weights_file_is_refused(tmp_path: Path) -> None:
    """The digest in the key decides, not the path in the profile."""
    path = tmp_path / "mine.pth"
    spec = _weights(path, models.build("convnet3", 10, 8, 4).state_dict())
    found = _weights(path, models.build("convnet3", 10, 8, 5).state_dict())
    reason = Lab(tmp_path / "root", weights={"mine": str(path)}).failure(teacher(weights=spec))
    assert f"{path} has SHA-256 {found.sha256}, the task names {spec.sha256}" in reason


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ({"state_dict": {"a": torch.ones(1)}, "model": 3}, "has unknown a"),
        ({"weights": {"a": torch.ones(1)}}, "holds no state dict"),
        (
            {"state_dict": {"a": torch.ones(1)}, "model": {"a": torch.ones(1)}},
            "networks under 'state_dict' and 'model'",
        ),
        ({"head.weight": torch.ones(1)}, "lacks features.0.bias, features.0.weight"),
        (lambda: models.build("convnet3", 11, 8, 0).state_dict(), "tells 11 classes apart, the dataset has 10"),
        (lambda: models.build("resnet18", 10, 8, 0).state_dict(), "has unknown bn1.bias"),
        (Path("code"), "is not a file of plain tensors"),
        ({1: torch.ones(1)}, "holds no state dict"),
        ({"a": torch.ones(1, dtype=torch.complex64)}, "holds no state dict"),
        (lambda: {n: v * math.nan for n, v in models.build("convnet3", 10, 8, 0).state_dict().items()}, "holds NaN"),
    ],
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, content: object, message: str) -> None:
    """Another architecture, another class count, a wrapped dictionary or a pickle with code: each says which."""
    path = tmp_path / "mine.pth"
    spec = _weights(path, content() if callable(content) else content)
    assert message in Lab(tmp_path / "root", weights={"mine": str(path)}).failure(teacher(weights=spec))


def test_a_missing_weights_file_is_named(tmp_path: Path) -> None:
    """The profile maps the name to a path that is not there."""
    spec = WeightsSpec(name="mine", sha256="0" * 64)
    lab = Lab(tmp_path / "root", weights={"mine": str(tmp_path / "gone.pth")})
    assert "gone.pth cannot be read (No such file or directory)" in lab.failure(teacher(weights=spec))


def test_a_diverging_teacher_fails_with_its_step(tmp_path: Path) -> None:
    """The diary says at which step, and no record is left."""
    task = teacher()
    training = task.spec.training  # type: ignore[union-attr]
    assert training is not None
    hot = msgspec.structs.replace(training.optimizer, name="sgd", lr=1e30)
    lab = Lab(tmp_path)
    failing = teacher(training=msgspec.structs.replace(training, optimizer=hot))
    assert "training diverged" in lab.failure(failing)
    assert not lab.folder(failing).record.exists()


def _trained(lab: Lab, teacher_key: str, seed: int) -> dict[str, torch.Tensor]:
    """The state dict of a good teacher; `seed` is any that no other test has used."""
    ctx = lab.context(teacher(seed=seed))
    ctx.task.inputs["single.0"] = teacher_key
    return inputs.load_teacher(ctx, "single.0").state_dict()


def test_weights_are_held_against_what_they_are_known_for(tmp_path: Path, lab: Lab, teacher_key: str) -> None:
    """Within the tolerance both figures are recorded; outside of it the teacher fails with both."""
    known = lab.record(teacher()).values["test_top1_pct"]
    path = tmp_path / "w.pth"
    spec = _weights(path, _trained(lab, teacher_key, 902))
    own = Lab(tmp_path / "root", weights={"mine": str(path)})
    good = msgspec.structs.replace(spec, expected_top1_pct=known - 0.5)
    values = own.record(teacher(weights=good)).values
    assert (values["test_top1_pct"], values["expected_top1_pct"]) == (known, known - 0.5)
    reason = own.failure(teacher(weights=msgspec.structs.replace(spec, expected_top1_pct=20.0, tolerance_pct=2.0)))
    assert f"test accuracy is {known:.2f} %, the manifest expects 20.00 ± 2 %" in reason
    assert "test images that they were trained on" in reason
    low = own.failure(teacher(weights=msgspec.structs.replace(spec, expected_top1_pct=known + 1, tolerance_pct=0.5)))
    assert f"some classes in another order ({known:.2f} % when outputs are renamed)" in low


def test_another_class_order_is_recognised(tmp_path: Path, lab: Lab, teacher_key: str) -> None:
    """A head whose outputs are turned by one is near chance; the error says so, and how the outputs are meant."""
    state = _trained(lab, teacher_key, 903)
    state["head.weight"], state["head.bias"] = (state[f"head.{n}"].roll(1, 0) for n in ("weight", "bias"))
    path = tmp_path / "w.pth"
    spec = _weights(path, state)
    reason = Lab(tmp_path / "root", weights={"mine": str(path)}).failure(teacher(weights=spec))
    assert "label order mismatch" in reason
    assert "output 0 is this dataset's class 9 ('9'), output 1 is this dataset's class 0 ('0')" in reason
    assert "list `classes` in that order" in reason


@pytest.mark.parametrize("wrap", [lambda s: {"state_dict": s}, lambda s: {"epoch": 3, "model": s}], ids=["a", "b"])
def test_weights_inside_a_checkpoint(wrap: Callable[[Any], Any], tmp_path: Path) -> None:
    """Wrapped, and saved from several GPUs: the same network."""
    model = models.build("convnet3", 10, 8, 4)
    state = {f"module.{name}": value for name, value in model.state_dict().items()}
    path = tmp_path / "w.pth"
    spec = _weights(path, wrap(state))
    loaded = models.build("convnet3", 10, 8, 5)
    weights.load_file(loaded, path, spec)
    assert torch.equal(loaded.state_dict()["head.weight"], model.state_dict()["head.weight"])


def test_a_head_for_other_classes_is_named(tmp_path: Path) -> None:
    """The likeliest misfit of published weights, in words of its own."""
    path = tmp_path / "w.pth"
    spec = _weights(path, models.build("convnet3", 1000, 8, 4).state_dict())
    reason = Lab(tmp_path / "root", weights={"mine": str(path)}).failure(teacher(weights=spec))
    assert "tells 1000 classes apart, the dataset has 10" in reason


def test_a_text_file_is_no_weights_file(tmp_path: Path) -> None:
    """Whatever torch makes of it, the error names the file."""
    path = tmp_path / "w.pth"
    path.write_text("hello")
    spec = WeightsSpec(name="mine", sha256=keys.sha256_file(path))
    reason = Lab(tmp_path / "root", weights={"mine": str(path)}).failure(teacher(weights=spec))
    assert f"{path} is not a file of plain tensors" in reason
