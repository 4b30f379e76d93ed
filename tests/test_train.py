"""The training loop and the test pass."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_training import MEAN, STD, Reporter, bits, digits, few_digits, run, student, teacher_loss, training
from torch import nn

from condhpc import images, judge, labels, models, rng, train
from condhpc.dynamics import Dynamics
from condhpc.errors import StageError, Stopped
from condhpc.images import ResidentImages
from condhpc.labels import Loss
from condhpc.spec import Augment, Optimizer, Probes, Training

SGD = Optimizer(name="sgd", lr=0.05, weight_decay=0.001)


def _teacher_loss() -> Loss:
    return teacher_loss([models.frozen(student(9))], 20.0)


@pytest.mark.parametrize(
    ("recipe", "loss"),
    [
        (training(7, 20), labels.hard_labels(0.0)),
        (training(7, 20, optimizer=SGD), labels.hard_labels(0.1)),
        (training(7, 20), _teacher_loss()),
        (training(7, 20, ema_decay=0.9, accumulate=2, bn_group=10, extra_forward=True), labels.hard_labels(0.0)),
    ],
    ids=["adamw", "sgd", "teacher", "average"],
)
@pytest.mark.parametrize("stop_at", [1, 4, 7])
def test_a_resumed_run_ends_in_the_same_bits(recipe: Training, loss: Loss, stop_at: int, tmp_path: Path) -> None:
    """Stopped after any step and resumed by a fresh process's network, every weight, buffer and number is equal."""
    whole, stopped, resumed = student(), student(), student(77)
    whole_dynamics, stopped_dynamics, resumed_dynamics = (Dynamics(3, 50, "cpu") for _ in range(3))
    trained = train.train(whole, few_digits(50), run(recipe, loss), whole_dynamics)
    report = Reporter(tmp_path, stop_at)
    with pytest.raises(Stopped):
        train.train(stopped, few_digits(50), run(recipe, loss, report=report), stopped_dynamics)
    torch.manual_seed(123)
    found = train.train(resumed, few_digits(50), run(recipe, loss, report=report), resumed_dynamics)
    assert report.steps == list(range(1, 8))
    assert bits(resumed) == bits(whole)
    assert found == trained
    for name, tensor in whole_dynamics.state().items():
        assert tensor.numpy().tobytes() == resumed_dynamics.state()[name].numpy().tobytes()


def test_a_resume_with_layers_that_draw_ends_in_the_same_bits(tmp_path: Path) -> None:
    """Dropout follows the step's stream too."""

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(192, 10))

    whole, resumed = network(), network()
    train.train(whole, few_digits(20), run(training(5, 10)))
    report = Reporter(tmp_path, 2)
    with pytest.raises(Stopped):
        train.train(network(), few_digits(20), run(training(5, 10), report=report))
    torch.manual_seed(5)
    train.train(resumed, few_digits(20), run(training(5, 10), report=report))
    assert bits(resumed) == bits(whole)


def test_an_unreadable_checkpoint_costs_time_only(tmp_path: Path) -> None:
    """What cannot be read is not used, and the run ends in the same bits from step 0."""
    report = Reporter(tmp_path)
    (tmp_path / "checkpoint").write_bytes(b"PK\x03\x04 torn")
    fresh, after = student(), student()
    train.train(fresh, few_digits(20), run(training(3, 10)))
    train.train(after, few_digits(20), run(training(3, 10), report=report))
    assert report.steps == [1, 2, 3]
    assert bits(fresh) == bits(after)


def test_equal_seeds_give_equal_bits_and_others_do_not() -> None:
    """The student seed decides order and augmentation, nothing else does."""
    weights = []
    for seed in (1, 1, 2):
        model = student()
        train.train(model, few_digits(40), run(training(4, 10), seed=seed))
        weights.append(bits(model))
    assert weights[0] == weights[1]
    assert weights[0] != weights[2]


def test_streams_are_named_by_epoch_and_step(monkeypatch: pytest.MonkeyPatch) -> None:
    """Order follows (seed, epoch), augmentation (seed, step): what a resume and a paired comparison rest on."""
    asked: list[tuple[object, ...]] = []
    stream = rng.stream
    monkeypatch.setattr(rng, "stream", lambda *names: asked.append(names) or stream(*names))
    train.train(student(), few_digits(20), run(training(4, 10), seed=6))
    orders = [(6, "order", 0), (6, "order", 1)]
    assert [names for names in asked if names[1] == "order"] == orders
    assert [names for names in asked if names[1] != "order"] == [(6, "augment", step) for step in range(4)]


def test_a_student_learns_digits() -> None:
    """120 steps on 200 real digits give well over 85 % on the real test split (chance: 10 %)."""
    source = few_digits(200)
    model = student()
    trained = train.train(model, source, run(training(120, 50)))
    found = judge.score(model, images.images_of(digits("test"), "cpu"), MEAN, STD, "cpu")
    assert found.top1_pct > 85
    assert 0 < trained.loss_last < 2.3


def test_a_student_learns_from_a_teacher_without_labels() -> None:
    """With wrong labels on every image, a student of a good teacher still learns the digits."""
    teacher = student()
    plain = Augment(crop_scale_min=0.8, flip=False, cutmix_alpha=0.0)
    train.train(teacher, few_digits(1000), run(training(60, 100, augment=plain)))
    source = few_digits(200)
    source.labels_N = (source.labels_N + 1) % 10
    held = bits(models.frozen(teacher))
    model = student(1)
    train.train(model, source, run(training(120, 50), teacher_loss([teacher], 20.0)))
    found = judge.score(model, images.images_of(digits("test"), "cpu"), MEAN, STD, "cpu")
    assert found.top1_pct > 85
    assert bits(teacher) == held


def test_the_last_step_counts() -> None:
    """The loop does exactly the steps asked for, also where they end amid an epoch."""
    report = Reporter()
    train.train(student(), few_digits(30), run(training(5, 20), report=report))
    assert report.steps == [1, 2, 3, 4, 5]
    assert {"loss", "images_per_s"} == set(report.values[-1])


def test_the_loss_reported_is_the_mean_of_the_last_50_steps() -> None:
    """One batch's loss is noise; the record keeps a mean."""
    report = Reporter()
    trained = train.train(student(), few_digits(20), run(training(60, 10), report=report))
    assert trained.loss_last == pytest.approx(np.mean([v["loss"] for v in report.values[-50:]]), rel=1e-5)


def test_a_diverging_training_names_its_step(tmp_path: Path) -> None:
    """A loss that is not finite ends the task with the step, and no checkpoint of it is left."""
    recipe = training(20, 10, optimizer=Optimizer(name="sgd", lr=1e30, weight_decay=0.0))
    report = Reporter(tmp_path)
    with pytest.raises(StageError, match=r"the loss is (nan|inf) at step [1-9]\d* of 20: training diverged; lower lr"):
        train.train(student(), few_digits(20), run(recipe, report=report))
    assert report.steps == list(range(1, len(report.steps) + 1))


def test_a_checkpoint_of_a_diverged_training_is_not_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where losses are looked at rarely, saving looks first."""
    monkeypatch.setitem(train._LOOK_STEPS, "cpu", 50)
    recipe = training(20, 10, optimizer=Optimizer(name="sgd", lr=1e30, weight_decay=0.0))
    report = Reporter(tmp_path, stop_at=10)
    with pytest.raises(StageError, match=r"at step [1-9] of 20"):
        train.train(student(), few_digits(20), run(recipe, report=report))
    assert not (tmp_path / "checkpoint").exists()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"precision": "bf16"}, "precision bf16 needs CUDA, this is cpu"),
        ({"bn_group": 4}, "bn_group 4 with batch 10 in 1 parts: batch norm is over a whole part"),
        ({"bn_group": 10, "accumulate": 2}, "bn_group 10 with batch 10 in 2 parts: batch norm is over a whole part"),
    ],
)
def test_what_the_device_cannot_do_is_refused(changes: dict[str, Any], message: str) -> None:
    """A recipe that this device would compute differently is an error before the first step."""
    with pytest.raises(StageError, match=message):
        train.train(student(), few_digits(20), run(training(2, 10, **changes)))


def test_configure_fixes_threads_and_arithmetic() -> None:
    """Thread count and determinism are set in this one place."""
    train.configure(1)
    assert torch.get_num_threads() == 1
    assert torch.are_deterministic_algorithms_enabled()
    assert not torch.backends.cudnn.benchmark
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_set_of_constant_images_trains() -> None:
    """A degenerate condensed set is a bad result, not a crash."""
    source = ResidentImages(np.zeros((10, 8, 8, 3), dtype=np.uint8), np.arange(10), "cpu")
    trained = train.train(student(), source, run(training(5, 10)))
    assert math.isfinite(trained.loss_last)


def test_parts_of_a_batch_make_one_step() -> None:
    """Without batch norm, a batch in parts is the batch: losses and gradients add up, also where parts are uneven."""

    def network() -> nn.Module:
        torch.manual_seed(0)
        return nn.Sequential(nn.Flatten(), nn.Linear(192, 10))

    parted, whole = network(), network()
    found = train.train(parted, few_digits(41), run(training(6, 21, accumulate=4, bn_group=6, optimizer=SGD)))
    expected = train.train(whole, few_digits(41), run(training(6, 21, optimizer=SGD)))
    assert found.loss_last == pytest.approx(expected.loss_last, rel=1e-5)
    for ours, theirs in zip(parted.parameters(), whole.parameters(), strict=True):
        assert torch.allclose(ours, theirs, atol=1e-6)


def test_parts_of_a_batch_have_statistics_of_their_own() -> None:
    """Batch norm sees each part as a batch: as many updates, and other weights than of the whole."""
    parted, whole = student(), student()
    train.train(parted, few_digits(20), run(training(1, 20, accumulate=2, bn_group=10)))
    train.train(whole, few_digits(20), run(training(1, 20)))
    assert int(parted.features[1].num_batches_tracked) == 2  # type: ignore[index,arg-type,union-attr]
    assert not torch.equal(parted.head.weight, whole.head.weight)  # type: ignore[union-attr]


def test_the_average_of_weights_is_what_comes_out() -> None:
    """With a decay the network ends with averaged parameters, and with the last step's batch statistics."""
    averaged, last = student(), student()
    train.train(averaged, few_digits(40), run(training(6, 20, ema_decay=0.9)))
    train.train(last, few_digits(40), run(training(6, 20)))
    assert torch.equal(averaged.features[1].running_mean, last.features[1].running_mean)  # type: ignore[index,union-attr]
    assert not torch.equal(averaged.head.weight, last.head.weight)  # type: ignore[union-attr]


def test_a_second_forward_pass_moves_statistics_and_nothing_else() -> None:
    """RDED's side effect: after one step weights agree with a plain run's, running statistics do not."""
    moved, plain = student(), student()
    train.train(moved, few_digits(20), run(training(1, 20, extra_forward=True)))
    train.train(plain, few_digits(20), run(training(1, 20)))
    assert all(torch.equal(a, b) for a, b in zip(moved.parameters(), plain.parameters(), strict=True))
    norms = moved.features[1], plain.features[1]  # type: ignore[index]
    assert int(norms[0].num_batches_tracked) == 2  # type: ignore[arg-type]
    assert not torch.equal(norms[0].running_mean, norms[1].running_mean)  # type: ignore[arg-type]


@pytest.mark.parametrize("decay", [0.0, 0.9])
def test_tests_on_the_way_only_look(decay: float) -> None:
    """They come at their steps, see the weights that would be tested at the end, and change nothing."""
    seen: list[bytes] = []

    def look(model: nn.Module) -> float:
        seen.append(bits(model.eval()))
        return float(len(seen))

    probed, plain = student(), student()
    recipe = training(10, 20, ema_decay=decay)
    probe = train.Probe(Probes(count=2, after=0.2), look)
    found = train.train(probed, few_digits(40), dataclasses.replace(run(recipe), probe=probe))
    train.train(plain, few_digits(40), run(recipe))
    assert probe.due(10) == {6, 10}
    assert found.probed_top1_pct == (1.0, 2.0)
    assert bits(probed) == bits(plain)
    assert seen[1] == bits(plain)


def test_accuracies_on_the_way_survive_a_resume(tmp_path: Path) -> None:
    """Those of before the stop and those of after it stand in one row."""
    counter = iter(range(100))
    probe = train.Probe(Probes(count=4), lambda _model: float(next(counter)))
    report = Reporter(tmp_path, 5)
    recipe = dataclasses.replace(run(training(8, 20), report=report), probe=probe)
    with pytest.raises(Stopped):
        train.train(student(), few_digits(40), recipe)
    found = train.train(student(), few_digits(40), recipe)
    assert found.probed_top1_pct == (0.0, 1.0, 2.0, 3.0)
