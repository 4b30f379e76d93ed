"""The manifests that ship with the project, against the real plug-ins."""

from __future__ import annotations

import itertools
import json
from collections import Counter
from pathlib import Path

import pytest
import tomli

from condhpc import facts, manifest, plan, predictions, registry
from condhpc.layout import Layout
from condhpc.plan import Plan
from condhpc.profile import Profile
from condhpc.references import REFERENCES
from condhpc.resources import StageBlock, Stages
from condhpc.teachers import EDC_BACKBONES

FOLDER = Path(__file__).parents[1] / "manifests"


def expand(path: Path, **data: Path) -> Plan:
    """The plan of a manifest under a profile with these folders."""
    loaded = manifest.load(path)
    return plan.expand(loaded, facts.gather(loaded, Profile(name="here", backend="local", data=data)))


@pytest.mark.parametrize("path", sorted(FOLDER.glob("*.toml")), ids=lambda path: path.name)
def test_shipped_manifests_are_valid_and_named_after_their_file(path: Path) -> None:
    """All of their teachers are used, and every measure has a teacher of its own; EDC's backbones need no block."""
    found = expand(path)
    assert found.name == path.stem
    assert not [w for w in found.warnings if "not on this machine" not in w and "none was given" not in w]
    roles = {str(t.label.role).partition(".")[0] for t in found.tasks if t.task.stage == "teacher"}
    assert roles - {EDC_BACKBONES} == set(tomli.loads(path.read_text())["teachers"])
    assert (EDC_BACKBONES in roles) == (path.stem in {"cifar10", "full"})


def test_the_quick_manifest_shows_the_whole_path() -> None:
    """Condensers and reference lines, two ipc, two protocols, every stage; keys are final: the data is in a package."""
    found = expand(FOLDER / "quick.toml")
    assert not found.provisional
    assert {c.condenser for c in found.cells} == {"random", "herding", "kcenter", "rded", *REFERENCES}
    assert {c.ipc for c in found.cells} == {1, 10, None}
    assert len({c.protocol for c in found.cells}) == 2
    stages = Counter(t.task.stage for t in found.tasks)
    assert set(stages) == {"teacher", "embed", "condense", "evaluate", "analyze"}
    assert stages["evaluate"] <= 60


def test_cifar10_is_planned_without_its_files() -> None:
    """A laptop can look at the plan of what a cluster will compute."""
    found = expand(FOLDER / "cifar10.toml")
    assert found.provisional
    assert len(found.cells) == (4 + 1) * 3 * 3 + 3 + 6 * 3
    assert {p.label.role for p in found.tasks if p.task.stage == "teacher"} >= {"single", "judge", "committee.3"}
    assert {c.condenser for c in found.cells if c.ipc == 10} >= set(registry.names("methods"))


def test_the_full_grid_is_whole_and_every_method_has_its_hours(tmp_path: Path) -> None:
    """Three datasets, three ipc, three protocols, all methods, three coresets, random; nothing is left unpredicted."""
    path = FOLDER / "full.toml"
    loaded = manifest.load(path)
    profile = Profile(name="site", backend="local", stages=Stages(default=StageBlock(gpus=1)))
    found = facts.gather(loaded, profile)
    planned = plan.expand(loaded, found)
    condensers = {"random", "herding", "kcenter", "ccs", *registry.names("methods")}
    assert len(registry.names("methods")) == 7
    assert {c[:4] for c in ((c.dataset, c.condenser, c.ipc, c.protocol) for c in planned.cells)} == set(
        itertools.product(
            ("imagenette", "imagenet100", "imagenet1k"),
            (*condensers, "full_same_steps"),
            (1, 10, 50),
            ("erm", "single_teacher", "multi_teacher"),
        )
    )
    assert {len({seed for _, seed, _ in c.evaluations}) for c in planned.cells} == {3}
    rows = predictions.cost_rows(planned, {t.key for t in planned.tasks}, found, profile, Layout(tmp_path))
    assert [(row.stage, row.condenser) for row in rows if row.unknown] == []
    hours = {row.condenser: row.expected_h or 0.0 for row in rows if row.stage == "condense"}
    assert set(hours) == condensers
    assert min(hours[name] for name in ("sre2l", "cda", "edc", "delt", "minimax")) > 10 * hours["herding"]


def test_an_own_image_folder(tmp_path: Path) -> None:
    """A described folder is indexed by the real loader, its test split under its own name."""
    for split, count in (("train", 3), ("held_out", 1)):
        for name in ("cat", "dog"):
            folder = tmp_path / "pets" / split / name
            folder.mkdir(parents=True)
            for i in range(count):
                (folder / f"{i}.png").write_bytes(b"1")
    text = """
name = "own"
[[grid]]
datasets = ["pets"]
condensers = ["random"]
ipc = [3]
protocols = ["erm"]
[datasets.pets]
loader = "image_folder"
resolution = 64
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]
mirror = true
crop_scale_min = 0.3
epochs = 10
test_split = "held_out"
classes = ["dog", "cat"]
"""
    path = tmp_path / "own.toml"
    path.write_text(text)
    found = expand(path, pets=tmp_path / "pets")
    assert not found.provisional
    assert Counter(t.task.stage for t in found.tasks) == {"condense": 5, "evaluate": 5}
    assert found.tasks[-1].task.spec.dataset.classes == 2


OWN = """
name = "own"
[[grid]]
datasets = ["pets"]
condensers = {condensers}
ipc = [5]
protocols = ["erm"]
[datasets.pets]
loader = "image_folder"
resolution = 64
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]
mirror = true
crop_scale_min = 0.3
classes = ["cat", "dog", "rabbit"]
[teachers.single]
arch = "resnet18"
epochs = 1
[generators.dit]
steps = 10
"""


def test_all_condensers_plan_for_images_that_are_elsewhere() -> None:
    """Of one's own dataset nothing but its class list is known then: no class is too small, or too large, yet."""
    names = [*registry.names("methods"), *registry.names("coresets")]
    text = OWN.format(condensers=json.dumps(names))
    loaded = manifest.parse(text, tomli.loads(text), "own.toml")
    found = plan.expand(loaded, facts.gather(loaded, Profile(name="here", backend="local")))
    assert found.provisional
    assert {cell.condenser for cell in found.cells} == set(names)
