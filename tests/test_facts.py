"""What is known of datasets, with and without their files."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import fake_plugins
import msgspec
import pytest
import tomli

from condhpc import facts, manifest
from condhpc.datasets import imagenet1k, imagenet100
from condhpc.errors import ProblemsError
from condhpc.facts import Facts
from condhpc.profile import Profile

OWN = """
[datasets.mine]
loader = "folder"
resolution = 16
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]
mirror = false
crop_scale_min = 0.5
epochs = 2
full_epochs = 5
"""


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins.install(monkeypatch)


def gather(name: str, extra: str = "", **data: Path) -> Facts:
    """Facts of one dataset under a profile with these folders."""
    text = f'name="m"\n[[grid]]\ndatasets=["{name}"]\ncondensers=["dice"]\nipc=[1]\nprotocols=["hard"]\n'
    text += f'students=["small"]\n{extra}'
    loaded = manifest.parse(text, tomli.loads(text), "m.toml")
    profile = Profile(name="here", backend="local", data=data)
    return facts.gather(loaded, profile)[name]


def classes(folder: Path, *names: str) -> Path:
    """A folder with class folders."""
    for name in names:
        (folder / name).mkdir()
    return folder


def test_shipped_data_needs_no_folder() -> None:
    """The index comes from the package; sizes are those found."""
    found = gather("shipped")
    assert found.index is not None
    assert found.digest == found.index.digest() == found.spec().index
    assert found.class_sizes == (100,) * 10
    assert (found.images("train"), found.images("test")) == (1000, 10)
    assert found.warnings == ()
    facts.require({"shipped": found})


def test_a_folder_decides_over_the_preset(tmp_path: Path) -> None:
    """Class count and sizes are those of the files."""
    found = gather("big", big=classes(tmp_path, "x", "y", "z"))
    assert (found.info.classes, found.class_sizes, found.folder) == (3, (100, 100, 100), tmp_path)
    assert found.info.resolution == 32


@pytest.mark.parametrize("data", [{}, {"big": Path("/nowhere/at/all")}])
def test_absent_files_warn_and_leave_the_preset(data: dict[str, Path]) -> None:
    """`plan` goes on with the preset's sizes; `submit` refuses, and says what to do."""
    found = gather("big", **data)
    assert (found.index, found.digest) == (None, "absent:big")
    assert found.class_sizes == (500,) * 100
    assert found.images("train") == 50_000
    (warning,) = found.warnings
    assert "dataset 'big': " in warning
    assert "`big` under [data] in profile 'here'" in warning
    with pytest.raises(ProblemsError) as caught:
        facts.require({"big": found})
    assert caught.value.problems == (warning,)


def test_a_folder_that_cannot_be_used_is_a_problem(tmp_path: Path) -> None:
    """Files that are here and wrong are not taken for absent."""
    with pytest.raises(ProblemsError, match=r"dataset 'big': .*empty, expected one folder per class"):
        gather("big", big=tmp_path)


def test_problems_of_a_loader_are_listed_one_by_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A loader's own list is not squeezed into one line."""

    def refuse(folder: Path | None, splits: Sequence[str] = ()) -> Any:
        raise ProblemsError(["first", "second"])

    monkeypatch.setattr(fake_plugins.PLUGINS["datasets"]["big"], "index", refuse)
    with pytest.raises(ProblemsError) as caught:
        gather("big", big=tmp_path)
    assert caught.value.problems == ("dataset 'big': first", "dataset 'big': second")


def test_own_folders_take_their_classes_from_the_files(tmp_path: Path) -> None:
    """Without a list the loader's order stands."""
    found = gather("mine", OWN, mine=classes(tmp_path, "b", "a"))
    assert found.index is not None
    assert (found.loader, found.index.class_names, found.info.classes) == ("folder", ("a", "b"), 2)
    assert (found.info.resolution, found.info.epochs, found.info.full_epochs) == (16, 2, 5)


def test_own_folders_follow_the_manifests_class_list(tmp_path: Path) -> None:
    """The list decides labels, and leaves out what it does not name; the digest tells the difference."""
    folder = classes(tmp_path, "a", "b", "c")
    found = gather("mine", OWN + 'classes = ["c", "a"]\n', mine=folder)
    assert found.index is not None
    assert found.index.class_names == ("c", "a")
    split = found.index.splits["test"]
    assert (split.labels, split.paths) == ((1, 0), ("test/0.png", "test/2.png"))
    assert found.class_sizes == (100, 100)
    turned = gather("mine", OWN + 'classes = ["a", "c"]\n', mine=folder)
    assert turned.digest != found.digest


def test_listed_classes_must_have_files(tmp_path: Path) -> None:
    """A class without images would fail on a node, hours later."""
    with pytest.raises(ProblemsError, match="classes \\['z'\\] are listed but not in the folder"):
        gather("mine", OWN + 'classes = ["a", "z"]\n', mine=classes(tmp_path, "a"))


def test_absent_own_folders_need_a_class_list() -> None:
    """Neither classes nor sizes can be guessed; with a list at least the plan can be drawn."""
    with pytest.raises(ProblemsError, match="`classes` must list the class names"):
        gather("mine", OWN)
    found = gather("mine", OWN + 'classes = ["a", "b"]\n')
    assert (found.info.classes, found.class_sizes, found.images("train")) == (2, (), 1)


def test_a_preset_may_know_its_number_of_images() -> None:
    """Where classes are of unequal sizes, of which the smallest alone is told, plans need the sum, as ImageNet's do."""
    found = gather("big")
    info = msgspec.structs.replace(found.info, train_class_sizes=(7,), train_images=123)
    assert dataclasses.replace(found, info=info).images("train") == 123
    assert [imagenet.INFO.train_images for imagenet in (imagenet1k, imagenet100)] == [1_281_167, 126_689]


def test_splits_must_be_there(tmp_path: Path) -> None:
    """The loader finds `train` and `test`; the manifest asked for another."""
    with pytest.raises(ProblemsError, match="has no split 'val', only \\['test', 'train'\\]"):
        gather("mine", OWN + 'test_split = "val"\n', mine=classes(tmp_path, "a"))


def test_remarks_of_a_loader_are_warnings(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What one should know about files that are here is said with the dataset's name, and stops nothing."""
    monkeypatch.setattr(fake_plugins.PLUGINS["datasets"]["big"], "remarks", lambda _index: ("half of it is noise",))
    found = gather("big", big=classes(tmp_path, "x"))
    assert found.warnings == ("dataset 'big': half of it is noise",)
    facts.require({"big": found})


def test_a_lister_may_stand_in_for_the_loader(tmp_path: Path) -> None:
    """The index comes from it, asked with loader, folder and splits."""
    asked: list[Any] = []

    def lister(loader: str, folder: Path | None, splits: Sequence[str]) -> Any:
        asked.append((loader, folder, tuple(splits)))
        return fake_plugins.index(["a", "b"])

    profile = Profile(name="here", backend="local", data={"big": tmp_path})
    assert facts.of("big", None, profile, lister).info.classes == 2
    assert asked == [("big", tmp_path, ())]
