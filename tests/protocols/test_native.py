"""Native protocols against what their publications and codes say, read off again column by column."""

from __future__ import annotations

from math import exp
from typing import Any

import fake_plugins
import pytest

from condhpc import recipe, registry
from condhpc.manifest import LabelChoice
from condhpc.models import ARCHS
from condhpc.spec import Protocol, Training

_ADAMW = ("adamw", 1e-3, 0.01)
# name: (labels, loss, source, members, optimiser, stretch, smallest crop, hard weight, average, probes)
_PUBLISHED: dict[str, tuple[Any, ...]] = {
    "sre2l": ("teacher", "kl", "cached", 0, _ADAMW, 1.0, 0.08, 0.0, 0.0, 30),
    "rded": ("teacher", "kl", "online", 0, _ADAMW, 2.0, 0.5, 0.0, 0.0, 6),
    "delt": ("teacher", "kl", "online", 0, _ADAMW, 2.0, 0.25, 0.0, 0.0, 30),
    "gvbsm": ("teacher", "mse", "cached", 4, _ADAMW, 1.0, 0.08, 0.1, 0.0, 30),
    "edc": ("teacher", "mse", "cached", 4, _ADAMW, 2.0, 0.5, 0.025, 0.99, 10),
    "cvdd": ("teacher", "kl", "cached", 5, _ADAMW, 1.0, 0.08, 0.0, 0.0, 30),
    "rethinkdc_soft": ("teacher", "kl", "online", 0, _ADAMW, 1.0, 0.08, 0.0, 0.0, None),
    "rethinkdc_hard": ("hard", "ce", "online", 0, _ADAMW, 1.0, 0.08, 0.0, 0.0, None),
    "idc_hard": ("hard", "ce", "online", 0, ("sgd", 0.01, 5e-4), 1.0, 0.5, 0.0, 0.0, 100),
}


def protocol(name: str) -> Protocol:
    """By its name in manifests."""
    found: Protocol = registry.load("protocols", name)
    return found


def training(name: str, classes: int, ipc: int) -> Training:
    """What it does with a set."""
    return recipe.student_training(fake_plugins.info(classes=classes), ipc, protocol(name), None, "fp32")


def test_all_native_protocols_are_here() -> None:
    """Whatever follows a publication stands in the table above."""
    assert {n for n in registry.names("protocols") if protocol(n).follows != "condhpc"} == _PUBLISHED.keys()


@pytest.mark.parametrize("name", _PUBLISHED)
def test_is_as_published(name: str) -> None:
    """Label source, loss, teachers, optimiser, end of the cosine, crops, hard part, averaging, tests on the way."""
    found = protocol(name)
    recipe_ = found.optimizer
    assert _PUBLISHED[name] == (
        found.labels,
        found.loss,
        found.source,
        len(found.committee),
        (recipe_.name, recipe_.lr, recipe_.weight_decay),
        recipe_.stretch,
        found.crop_scale_min,
        found.hard_weight,
        found.ema_decay,
        found.probes.count if found.probes else None,
    )
    assert set(found.committee) <= ARCHS.keys()
    assert found.follows == "code"


@pytest.mark.parametrize(
    ("name", "classes", "ipc", "batch", "epochs"),
    [
        ("sre2l", 1000, 10, 1024, 300),
        ("sre2l", 10, 10, 100, 300),  # no more than the set
        ("rded", 10, 1, 10, 300), ("rded", 10, 10, 50, 300), ("rded", 10, 50, 100, 300), ("rded", 1000, 10, 100, 300),
        ("delt", 1000, 50, 200, 300),
        ("gvbsm", 1000, 10, 1024, 300),
        ("edc", 1000, 10, 100, 300),
        ("cvdd", 1000, 10, 16, 300), ("cvdd", 10, 10, 10, 300),
        ("rethinkdc_soft", 1000, 10, 128, 300), ("rethinkdc_hard", 1000, 50, 128, 300),
        ("idc_hard", 10, 10, 64, 2000), ("idc_hard", 10, 1, 10, 3000), ("idc_hard", 100, 50, 64, 1500),
        ("idc_hard", 100, 100, 64, 1000), ("idc_hard", 1000, 10, 128, 2000),
    ],
)  # fmt: skip
def test_length_is_as_published(name: str, classes: int, ipc: int, batch: int, epochs: int) -> None:
    """Batch and passes by classes and ipc, whatever the dataset's own number of passes."""
    found = training(name, classes, ipc)
    assert (found.batch, found.steps) == (batch, recipe.steps(classes * ipc, batch, epochs))


def test_rates_that_depend_on_the_dataset() -> None:
    """CV-DD halves the rate up to ten classes; IDC's is 0.1 with less decay above a hundred."""
    assert (training("cvdd", 10, 10).optimizer.lr, training("cvdd", 1000, 10).optimizer.lr) == (5e-4, 1e-3)
    small, large = training("idc_hard", 100, 10).optimizer, training("idc_hard", 1000, 10).optimizer
    assert (small.lr, small.weight_decay, large.lr, large.weight_decay) == (0.01, 5e-4, 0.1, 1e-4)
    assert (small.schedule, small.milestones, small.gamma) == ("step", (2 / 3, 5 / 6), 0.2)


@pytest.mark.parametrize(
    ("classes", "priors"), [(1000, (56.4, 42.3, 52.5, 44.2, 40.6)), (10, (62.4, 52.0, 57.2, 54.0, 60.8))]
)
def test_votes_of_cvdd_are_a_softmax_of_its_priors(classes: int, priors: tuple[float, ...]) -> None:
    """Order ResNet-18, ResNet-50, ShuffleNetV2, MobileNetV2, DenseNet-121, at temperature 10."""
    found = protocol("cvdd")
    teacher = recipe.resolved(found, recipe.rule_of(found, classes, 10), LabelChoice()).teacher
    total = sum(exp(p / 10) for p in priors)
    assert teacher is not None
    assert teacher.weights == pytest.approx([exp(p / 10) / total for p in priors], abs=1e-5)
    assert (teacher.form, teacher.batch_statistics) == ("softmax_of_logits", True)
    assert teacher.group == {1000: 8, 10: 5}[classes]  # halves of 16 and of 10


def test_halves_of_a_batch_have_their_own_statistics() -> None:
    """SRe2L and CV-DD pass a batch in two halves, with one optimiser step for both."""
    assert [(t.batch, t.bn_group, t.accumulate) for t in (training("sre2l", 1000, 10), training("cvdd", 1000, 10))] == [
        (1024, 512, 2),
        (16, 8, 2),
    ]


@pytest.mark.parametrize(("name", "classes"), [("idc_hard", 1000), ("idc_hard", 10), ("cvdd", 10), ("cvdd", 1000)])
def test_the_ceiling_has_the_recipe_of_the_cells(name: str, classes: int) -> None:
    """Rate and decay are those that the protocol's rules give such datasets; only the length is our own."""
    whole = recipe.full_training(fake_plugins.info(classes=classes), 5000, protocol(name), None, "fp32")
    assert whole.optimizer == training(name, classes, 50).optimizer
    assert whole.steps == recipe.steps(5000, whole.batch, 200)


def test_what_only_some_do() -> None:
    """Shuffled patches, colour noise, instance norm, a second forward pass, joined batches, 50 test images."""
    where = {
        "patch_shuffle": {"rded": 2, "edc": 2},
        "color_jitter": {"idc_hard": 0.4},
        "lighting_std": {"idc_hard": 0.1},
        "student_norm": {"idc_hard": "instance"},
        "extra_forward": {"rded": True},
        "accumulate": {"cvdd": 2, "sre2l": 2},
        "test_per_class": {"rded": 50, "delt": 50},
    }
    usual = protocol("rethinkdc_hard")
    for field, expected in where.items():
        values = {name: getattr(protocol(name), field) for name in _PUBLISHED}
        assert {name: v for name, v in values.items() if v != getattr(usual, field)} == expected, field
    assert [n for n in _PUBLISHED if protocol(n).randaugment is not None] == ["delt"]
    assert [n for n in _PUBLISHED if protocol(n).cutmix_alpha == 0] == ["rethinkdc_hard"]
