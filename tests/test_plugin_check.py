"""What condensers say against a manifest, and what they remark, with the real methods."""

from __future__ import annotations

import pytest
import tomli

from condhpc import facts, manifest, plan
from condhpc.errors import ProblemsError
from condhpc.profile import Profile

MANIFEST = """
name = "m"
[[grid]]
datasets = ["digits"]
condensers = ["sre2l", "delt"]
ipc = [1, 3]
protocols = ["erm"]
students = ["convnet3"]
[params.delt]
{delt}
[params.sre2l]
backbones = "{role}"
{sre2l}
[teachers.single]
arch = "convnet3"
epochs = 1
[teachers.three]
arch = ["convnet3", "convnet3", "convnet3"]
epochs = 1
seed = [0, 1, 2]
"""


def expand(role: str = "single", sre2l: str = "", delt: str = "rounds = 3") -> plan.Plan:
    """The plan of the manifest with those lines."""
    text = MANIFEST.format(role=role, sre2l=sre2l, delt=delt)
    loaded = manifest.parse(text, tomli.loads(text), "m.toml")
    return plan.expand(loaded, facts.gather(loaded, Profile(name="here", backend="local")))


@pytest.mark.parametrize(
    ("role", "scales"), [("single", "[]"), ("single", "[0.5]"), ("three", "[]"), ("three", "[1.0, 0.0, 2]")]
)
def test_a_scale_for_each_network_is_fine(role: str, scales: str) -> None:
    """Or none; a scale of 0 leaves that network's term out."""
    assert expand(role, f"r_bn_scales = {scales}").warnings == ()


@pytest.mark.parametrize(
    ("role", "scales", "count", "networks"),
    [
        ("single", "[1.0, 0.01]", 2, "1 in teachers.single"),
        ("three", "[0.5]", 1, "3 in teachers.three"),
        ("edc_backbones", "[1, 1, 1, 1, 1]", 5, "4 in teachers.edc_backbones"),  # below 64 px, so without AlexNet
    ],
)
def test_another_number_of_scales_is_refused(role: str, scales: str, count: int, networks: str) -> None:
    """Once, whatever the number of cells, by file, key, what was found and what was expected."""
    with pytest.raises(ProblemsError) as caught:
        expand(role, f"r_bn_scales = {scales}")
    (found,) = caught.value.problems
    assert found.startswith("m.toml: params.sre2l.r_bn_scales = [")
    assert found.endswith(f"]: {count} values, expected one for each of {networks} on digits, or none")


def test_both_methods_are_asked() -> None:
    """Problems of all condensers come together."""
    with pytest.raises(ProblemsError) as caught:
        expand(sre2l="r_bn_scales = [1, 1]", delt="rounds = 3\nr_bn_scales = [1, 1]")
    assert [text.split(" = ")[0] for text in caught.value.problems] == [
        "m.toml: params.sre2l.r_bn_scales", "m.toml: params.delt.r_bn_scales",
    ]  # fmt: skip


def test_a_negative_scale_is_refused() -> None:
    """By its place in the list."""
    with pytest.raises(ProblemsError) as caught:
        expand(sre2l="r_bn_scales = [-1.0]")
    (found,) = caught.value.problems
    assert found.startswith("m.toml: params.sre2l.r_bn_scales[0] = -1.0: expected")


def test_remarks_are_warnings() -> None:
    """Of each ipc that they are about; nothing is refused."""
    (warning,) = expand(delt="rounds = 6").warnings
    assert warning.startswith("m.toml: condenser 'delt' on digits, ipc 3: params.delt.rounds = 6 is above ipc")
