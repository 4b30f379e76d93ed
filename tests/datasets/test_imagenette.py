"""The clean split of ImageNette, and the archive's own."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_image_files import WNIDS, imagenette2, smooth

from condhpc import registry
from condhpc.datasets.imagenette import PLUGIN
from condhpc.errors import InputError, ProblemsError

FASTAI = registry.load("datasets", "imagenette_fastai")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Five images of each class, two of them ImageNet validation images."""
    return imagenette2(tmp_path)


def test_names_decide_the_split(folder: Path) -> None:
    """ImageNet's training images train wherever they lie, its validation images test, each under its folder's class."""
    index = PLUGIN.index(folder)
    train, val = index.splits["train"], index.splits["val"]
    assert (len(train.paths), len(val.paths)) == (30, 20)
    assert {path.rpartition("/")[2][0] for path in train.paths} == {"n"}
    assert {path.rpartition("/")[2][:15] for path in val.paths} == {"ILSVRC2012_val_"}
    for split in (train, val):
        assert list(split.paths) == sorted(split.paths)
        assert [WNIDS[label] for label in split.labels] == [path.split("/")[1] for path in split.paths]
        assert split.sizes == tuple((folder / path).stat().st_size for path in split.paths)
    assert index.class_names == WNIDS


def test_images_are_read_from_both_folders(folder: Path) -> None:
    """A training image that the archive keeps under `val` is found there."""
    index = PLUGIN.index(folder)
    split = PLUGIN.split(index, folder, "train", 16)
    position = index.splits["train"].paths.index(f"val/{WNIDS[3]}/{WNIDS[3]}_100.JPEG")
    assert split.raw(position).shape == (17, 18, 3)


@pytest.mark.parametrize("name", ["cat.JPEG", "n01440764.JPEG", "ILSVRC2012_test_00000001.JPEG", "xn01440764_3.JPEG"])
def test_a_file_of_neither_kind_is_named(folder: Path, name: str) -> None:
    """What cannot be assigned is not guessed at."""
    smooth(9, 9).save(folder / "val" / WNIDS[0] / name)
    with pytest.raises(ProblemsError, match=rf"not the file names of ImageNet.*val/{WNIDS[0]}/{name}; unpack"):
        PLUGIN.index(folder)


def test_strangers_are_cut_short(folder: Path) -> None:
    """The first few are shown, the rest counted."""
    for i in range(9):
        smooth(9, 9).save(folder / "train" / WNIDS[1] / f"cat{i}.JPEG")
    with pytest.raises(ProblemsError, match=r"cat0.JPEG, .*cat4.JPEG and 4 more;"):
        PLUGIN.index(folder)


def test_a_class_without_test_images_is_a_problem(folder: Path) -> None:
    """Half an archive is said to be one, class by class."""
    for path in folder.rglob("ILSVRC2012_val_0000000[2].JPEG"):
        path.unlink()
    for path in folder.rglob("ILSVRC2012_val_00000052.JPEG"):
        path.unlink()
    with pytest.raises(ProblemsError, match=f"no ImageNet validation image of class {WNIDS[2]}"):
        PLUGIN.index(folder)


def test_other_splits_are_refused(folder: Path) -> None:
    """The two splits are made, so no other can be asked for."""
    with pytest.raises(InputError, match=r"no split \['test'\]"):
        PLUGIN.index(folder, ("train", "test"))


def test_sizes_without_files_are_those_of_imagenet() -> None:
    """The ten classes have 12,894 training images in ImageNet-1K."""
    assert PLUGIN.INFO is not None
    assert sum(PLUGIN.INFO.train_class_sizes) == 12_894


def test_the_archives_split_tells_of_its_contamination(folder: Path) -> None:
    """It stays a choice, and says in counts what it is; the clean split has nothing to say."""
    index = FASTAI.index(folder)
    assert (len(index.splits["train"].paths), len(index.splits["val"].paths)) == (30, 20)
    (remark,) = FASTAI.remarks(index)
    assert "10 of 20 images in 'val' are ImageNet-1K training images" in remark
    assert "10 of 30 in 'train' are ImageNet-1K validation images" in remark
    assert PLUGIN.remarks(PLUGIN.index(folder)) == ()


def test_the_two_splits_are_two_datasets(folder: Path) -> None:
    """The same files under the two presets never share a key."""
    assert PLUGIN.index(folder).digest() != FASTAI.index(folder).digest()
