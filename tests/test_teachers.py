"""The role that needs no block: whose networks it has, and how these are trained."""

from __future__ import annotations

import pytest
import tomli

from condhpc import facts, manifest, plan
from condhpc.errors import ProblemsError
from condhpc.manifest import Manifest
from condhpc.profile import Profile
from condhpc.spec import PrepareSpec, TeacherSpec
from condhpc.teachers import EDC_BACKBONES, Teacher, with_built_in

FOUR = ["resnet18", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x0_5"]
EDC = """
name = "edc"
datasets = ["{dataset}"]
condensers = ["edc"]
ipc = [1]
protocols = ["erm"]
[teachers.{role}]
arch = {arch}
{schedule}
"""


def parse(dataset: str, role: str = "single", arch: str = '"convnet3"', schedule: str = "epochs = 7") -> Manifest:
    """A manifest with EDC and one role."""
    text = EDC.format(dataset=dataset, role=role, arch=arch, schedule=schedule)
    return manifest.parse(text, tomli.loads(text), "m.toml")


def backbones(loaded: Manifest) -> list[TeacherSpec]:
    """What EDC's set rests on, in order."""
    found = plan.expand(loaded, facts.gather(loaded, Profile(name="here", backend="local")))
    specs = {item.key: item.task.spec for item in found.tasks}
    for item in found.tasks:
        if isinstance(item.task.spec, PrepareSpec):
            named = {role: specs[key] for role, key in item.task.inputs.items()}
            return [spec for _, spec in sorted(named.items()) if isinstance(spec, TeacherSpec)]
    raise AssertionError("EDC has a preparation")


@pytest.mark.parametrize(("dataset", "last"), [("cifar10", []), ("imagenette", ["alexnet"])])
def test_alexnet_joins_from_64_px_on(dataset: str, last: list[str]) -> None:
    """EDC's paper recovers from five networks; on small images the default has four."""
    found = backbones(parse(dataset))
    assert [spec.arch for spec in found] == FOUR + last
    rates = [spec.training.optimizer.lr for spec in found if spec.training is not None]
    assert rates == [0.1] * 4 + [0.01] * len(last)


def test_64_px_are_enough() -> None:
    """And one pixel less is not."""
    role = with_built_in({"single": Teacher(arch="a", epochs=1)})[EDC_BACKBONES]
    assert [len(role.on(side).members) for side in (63, 64)] == [4, 5]
    assert len(role.on(63).rates) == 4


def test_they_are_trained_as_single_is() -> None:
    """Passes, batch, optimiser, decay, seed and split are those of the block; AlexNet needs a low rate of SGD alone."""
    single = Teacher(arch=("a", "b"), epochs=3, batch=16, optimizer="adamw", lr=(0.2, 0.3), weight_decay=0.25,
                     seed=(4, 5), split="extra")  # fmt: skip
    found = with_built_in({"single": single})[EDC_BACKBONES]
    assert [(arch, seed) for arch, seed, _ in found.members] == [(arch, 4) for arch in (*FOUR, "alexnet")]
    assert found.rates == (0.2,) * 5
    same = ("epochs", "batch", "optimizer", "weight_decay", "split")
    assert [getattr(found, name) for name in same] == [getattr(single, name) for name in same]
    assert with_built_in({"single": Teacher(arch="a", epochs=1, lr=0.001)})[EDC_BACKBONES].rates == (0.001,) * 5


def test_a_block_goes_before_the_built_in_role() -> None:
    """A manifest may name any backbones under that role."""
    loaded = parse("imagenette", EDC_BACKBONES, '["alexnet", "resnet50"]', "epochs = 2\nlr = [0.01, 0.2]")
    found = backbones(loaded)
    assert [spec.arch for spec in found] == ["alexnet", "resnet50"]
    assert [spec.training.optimizer.lr for spec in found if spec.training is not None] == [0.01, 0.2]


@pytest.mark.parametrize(
    ("role", "schedule"),
    [("judge", "epochs = 1"), ("single", f'weights = {{name = "w", sha256 = "{"a" * 64}"}}')],
    ids=["no single", "made elsewhere"],
)
def test_without_a_training_to_take_over_it_is_asked_for(role: str, schedule: str) -> None:
    """The message says both ways out."""
    with pytest.raises(ProblemsError) as caught:
        parse("cifar10", role, schedule=schedule)
    (problem,) = caught.value.problems
    assert problem.startswith(
        "m.toml: teachers.edc_backbones: missing, needed by condenser 'edc'; expected a [teachers.edc_backbones] block "
        "with arch and epochs, or [teachers.single] with epochs, as which its networks are then trained"
    )


def test_one_rate_for_each_member() -> None:
    """Another number of rates is told."""
    with pytest.raises(ProblemsError, match=r"edc_backbones\.lr: 3 values, expected one for each of 2 in `arch`"):
        parse("imagenette", EDC_BACKBONES, '["alexnet", "resnet50"]', "epochs = 2\nlr = [0.01, 0.2, 0.3]")
