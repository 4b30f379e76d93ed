"""The core protocols: one recipe, several label sources."""

from __future__ import annotations

import msgspec
import pytest

from condhpc import registry
from condhpc.spec import Protocol

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
