"""The core protocols: one recipe, several label sources."""

from __future__ import annotations

import msgspec
import pytest

from condhpc import keys, recipe, registry
from condhpc.spec import Augment, Protocol

_LABEL_SOURCE = {"name", "labels", "loss", "teacher_role", "teacher", "committee"}


def protocol(name: str) -> Protocol:
    """By its name in manifests."""
    found: Protocol = registry.load("protocols", name)
    return found


@pytest.mark.parametrize("name", ["single_teacher", "multi_teacher", "set_labels"])
def test_differ_from_erm_in_the_label_source_alone(name: str) -> None:
    """What the comparison of protocols rests on."""
    erm, other = (msgspec.to_builtins(protocol(n)) for n in ("erm", name))
    assert {field for field in erm if erm[field] != other[field]} <= _LABEL_SOURCE


def test_erm_plain_is_erm_without_mixing() -> None:
    """A protocol of its own, so that mixing is visible in every table."""
    erm, plain = (msgspec.to_builtins(protocol(n)) for n in ("erm", "erm_plain"))
    assert {field for field in erm if erm[field] != plain[field]} == {"name", "cutmix_alpha"}
    assert plain["cutmix_alpha"] == 0.0


def test_erm_raw_is_erm_without_augmentation() -> None:
    """Crops, mirroring and mixing are off, whatever the dataset allows; all else is `erm`."""
    erm, raw = (msgspec.structs.asdict(protocol(n)) for n in ("erm", "erm_raw"))
    assert {field for field in erm if erm[field] != raw[field]} == {"name", "cutmix_alpha", "crop_scale_min", "mirror"}
    info = registry.load("datasets", "cifar10").INFO
    augment = [recipe.student_training(info, 1, protocol(n), None, "fp32").augment for n in ("erm", "erm_raw")]
    assert augment[0] == Augment(crop_scale_min=info.crop_scale_min, flip=True, cutmix_alpha=1.0)
    assert augment[1] == Augment(crop_scale_min=1.0, flip=False, cutmix_alpha=0.0)


def test_a_protocol_that_leaves_mirroring_to_the_dataset_says_nothing_of_it_in_its_key() -> None:
    """Keys of evaluations from before there was the field stay as they are; the field survives a round trip."""
    assert b"mirror" not in keys.encode(protocol("erm"))
    data = keys.encode(protocol("erm_raw"))
    assert b'"mirror":false' in data
    assert msgspec.json.decode(data, type=Protocol) == protocol("erm_raw")
    assert msgspec.json.decode(keys.encode(protocol("erm")), type=Protocol) == protocol("erm")


def test_erm_is_hard_labels_with_the_published_recipe() -> None:
    """AdamW 1e-3, betas 0.9 and 0.999, decay 0.01, cosine to zero, CutMix α = 1, no smoothing, last epoch."""
    found = protocol("erm")
    assert (found.labels, found.loss, found.teacher, found.label_smoothing) == ("hard", "ce", None, 0.0)
    assert (found.test, found.probes, found.rules) == ("last", None, ())
    recipe = found.optimizer
    assert (recipe.name, recipe.lr, recipe.momentum, recipe.beta2) == ("adamw", 0.001, 0.9, 0.999)
    assert (recipe.weight_decay, recipe.schedule, recipe.stretch, found.cutmix_alpha) == (0.01, "cosine", 1.0, 1.0)


def test_one_teacher_labels_at_temperature_20() -> None:
    """The role `single` of the manifest labels every batch by KL at T = 20, in eval mode."""
    found = protocol("single_teacher")
    assert (found.labels, found.loss, found.teacher_role, found.source) == ("teacher", "kl", "single", "online")
    assert found.teacher is not None
    assert (found.teacher.form, found.teacher.temperature, found.teacher.batch_statistics) == ("softmax", 20.0, False)


def test_the_committee_is_fixed() -> None:
    """Nobody chooses its members by the result; they speak with the mean of their softmax at T = 20."""
    found = protocol("multi_teacher")
    assert found.committee == ("resnet18", "mobilenet_v2", "shufflenet_v2_x1_0", "densenet121")
    assert found.teacher == protocol("single_teacher").teacher
    assert found.teacher_role == "committee"


def test_every_protocol_carries_its_own_name() -> None:
    """The name in a manifest is the name in the key and in the tables."""
    names = registry.names("protocols")
    assert tuple(protocol(name).name for name in names) == names


def test_test_data_selects_nothing_in_any_protocol() -> None:
    """The last epoch is reported everywhere; tests on the way belong to native protocols alone."""
    for name in registry.names("protocols"):
        assert protocol(name).test == "last"
        assert protocol(name).probes is None or protocol(name).follows != "condhpc"
