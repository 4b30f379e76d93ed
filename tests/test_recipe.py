"""The published rules for batches and steps."""

from __future__ import annotations

import fake_plugins
import msgspec
import pytest

from condhpc import recipe
from condhpc.manifest import LabelChoice, TrainingOverride
from condhpc.spec import DatasetSpec, Rule, WeightsSpec
from condhpc.teachers import Teacher

HARD = fake_plugins.protocol("hard", None)
DATASET = DatasetSpec(
    name="d", loader="d", index="0", classes=10, resolution=32, mean=(0.5, 0.5, 0.5), std=(0.2, 0.2, 0.2)
)


@pytest.mark.parametrize(
    ("classes", "ipc", "batch"),
    [
        (10, 1, 10), (10, 9, 10), (10, 10, 50), (10, 49, 50), (10, 50, 100), (10, 500, 100),
        (99, 1, 10), (100, 1, 20), (100, 10, 100), (1000, 50, 200),
        (2, 1, 2), (3, 10, 30), (2, 50, 100),
    ],
)  # fmt: skip
def test_batch(classes: int, ipc: int, batch: int) -> None:
    """10, 50, 100 by ipc, doubled from 100 classes on, never more than the set."""
    assert recipe.set_batch(classes, ipc) == batch


@pytest.mark.parametrize(("classes", "ipc", "steps"), [(10, 1, 300), (10, 10, 600), (10, 50, 1500), (1000, 10, 30000)])
def test_steps(classes: int, ipc: int, steps: int) -> None:
    """300 passes as in RDED's table: 300 / 600 / 1500 steps at ten classes."""
    training = recipe.student_training(fake_plugins.info(classes=classes), ipc, HARD, None, "fp32")
    assert training.steps == steps
    assert training.bn_group == training.batch


def test_short_last_batches_count_as_steps() -> None:
    """33 images in batches of 10 are four steps."""
    assert recipe.steps(33, 10, 7) == 28


def test_overrides_replace_epochs_and_batch_but_never_exceed_the_set() -> None:
    """`[training.<dataset>]`."""
    info = fake_plugins.info()
    found = recipe.student_training(info, 10, HARD, TrainingOverride(epochs=2, batch=30), "bf16")
    assert (found.steps, found.batch, found.bn_group, found.precision) == (8, 30, 30, "bf16")
    assert recipe.student_training(info, 1, HARD, TrainingOverride(batch=30), "fp32").batch == 10


def test_augmentation_is_the_datasets_with_the_protocols_cutmix() -> None:
    """Crops and flips are facts about the images; CutMix belongs to the protocol."""
    augment = recipe.student_training(fake_plugins.info(), 1, HARD, None, "fp32").augment
    assert (augment.crop_scale_min, augment.flip, augment.cutmix_alpha) == (0.5, True, 1.0)


def test_teachers_pass_over_the_training_split_without_cutmix() -> None:
    """1,000 images in batches of 128 are eight steps a pass."""
    teacher = Teacher(arch=("a", "b"), epochs=3, seed=(1, 2))
    first, second = recipe.teacher_specs(teacher, DATASET, fake_plugins.info(), 1000, "fp32")
    assert (first.arch, first.seed, second.arch, second.seed) == ("a", 1, "b", 2)
    assert first.training is not None
    assert (first.training.steps, first.training.batch, first.training.augment.cutmix_alpha) == (24, 128, 0.0)
    assert first.training == second.training


def test_teachers_with_weights_are_not_trained() -> None:
    """Their recipe is unknown, so none is invented."""
    weights = WeightsSpec(name="w", sha256="0" * 64)
    (found,) = recipe.teacher_specs(Teacher(arch="a", weights=weights), DATASET, fake_plugins.info(), 1000, "fp32")
    assert (found.training, found.weights) == (None, weights)


def test_the_first_rule_that_fits_decides() -> None:
    """Epochs, batch, rate and decay of a protocol's own rule; what it leaves open is dataset's and protocol's."""
    rules = Rule(ipc_up_to=1, epochs=7, lr=0.5), Rule(classes_up_to=10, batch=30), Rule(epochs=3, weight_decay=0.25)
    protocol = msgspec.structs.replace(HARD, rules=rules)
    cases = (10, 1), (10, 10), (20, 10)
    infos = [(fake_plugins.info(classes=classes), ipc) for classes, ipc in cases]
    one, ten, other = (recipe.student_training(info, ipc, protocol, None, "fp32") for info, ipc in infos)
    assert (one.steps, one.batch, one.optimizer.lr) == (7, 10, 0.5)
    assert (ten.steps, ten.batch, ten.optimizer.lr) == (300 * 4, 30, 0.001)
    assert (other.steps, other.batch, other.optimizer.weight_decay) == (3 * 4, 50, 0.25)


def test_a_full_schedule_passes_over_all_data() -> None:
    """Batches of 128, doubled from 100 classes on; the dataset's passes unless the manifest says otherwise."""
    info = fake_plugins.info()
    found = recipe.full_training(info, 1000, HARD, None, "fp32")
    assert (found.steps, found.batch, found.bn_group) == (200 * 8, 128, 128)
    assert found.optimizer == HARD.optimizer
    short = recipe.full_training(info, 1000, HARD, TrainingOverride(full_epochs=2, epochs=50), "fp32")
    assert short.steps == 16
    assert recipe.full_training(fake_plugins.info(classes=100), 1000, HARD, None, "fp32").batch == 256


def test_the_manifest_chooses_the_label_source() -> None:
    """`[labels]` replaces what the literal says; top-k counts only for labels that are cached."""
    soft = fake_plugins.protocol("soft", "single")
    cached = recipe.resolved(soft, Rule(), LabelChoice(source="cached", top_k=5))
    online = recipe.resolved(soft, Rule(), LabelChoice(top_k=5))
    assert cached.teacher is not None
    assert online.teacher is not None
    assert (cached.source, cached.teacher.top_k) == ("cached", 5)
    assert (online.source, online.teacher.top_k) == ("online", None)
    assert recipe.resolved(HARD, Rule(), LabelChoice(source="cached")) == HARD
