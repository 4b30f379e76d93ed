"""Finding every image that cannot be used."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
from made_image_files import image_folder

from condhpc import data_check, facts, registry
from condhpc.errors import InputError
from condhpc.facts import Facts
from condhpc.manifest import OwnDataset
from condhpc.profile import Profile

OWN = OwnDataset(
    loader="image_folder",
    resolution=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    mirror=False,
    crop_scale_min=0.5,
    epochs=1,
)


def held(folder: Path) -> Facts:
    """Facts of a folder as it is now."""
    return facts.of("mine", OWN, Profile(name="p", backend="local", data={"mine": folder}))


def problems(found: Facts, processes: int = 2) -> list[str]:
    """All problems, and that every image was looked at."""
    assert found.index is not None
    looked = list(data_check.check(found, processes))
    assert sum(part.images for part in looked) == sum(len(split.labels) for split in found.index.splits.values())
    return [text for part in looked for text in part.problems]


@pytest.mark.parametrize("processes", [1, 3])
def test_all_bad_images_are_found(tmp_path: Path, processes: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """Gone, cut short, grown, no image: each by path and reason, in the index's order, and no other."""
    monkeypatch.setattr(data_check, "_CHUNK", 2)
    folder = image_folder(tmp_path, each=5)
    found = held(folder)
    gone, cut, grown, other = (folder / "train" / name for name in ("a/1.jpg", "a/4.jpg", "b/0.jpg", "b/3.jpg"))
    gone.unlink()
    cut.write_bytes(cut.read_bytes()[:-80].ljust(cut.stat().st_size, b"\0"))
    grown.write_bytes(grown.read_bytes() + b"x")
    other.write_bytes(b"?" * other.stat().st_size)
    told = problems(found, processes)
    assert [text.partition(": ")[0] for text in told] == [str(path) for path in (gone, cut, grown, other)]
    for text, reason in zip(told, ("cannot be read", "not a readable", "bytes", "not a readable"), strict=True):
        assert reason in text


def test_a_sound_folder_has_no_problems(tmp_path: Path) -> None:
    """Every image is decoded, and that is all."""
    assert problems(held(image_folder(tmp_path))) == []


def test_files_that_are_not_here_cannot_be_checked() -> None:
    """Rather than finding nothing wrong."""
    absent = facts.of("cifar10", None, Profile(name="p", backend="local"))
    with pytest.raises(InputError, match="none was given"):
        list(data_check.check(absent, 1))


def test_a_subset_of_a_preset_is_told() -> None:
    """Classes with fewer images than the original has, by name and number; at least so many where sizes differ."""
    plugin = registry.load("datasets", "digits")
    index = plugin.index(None)
    assert data_check.shortfall(plugin.INFO, index) == []
    assert data_check.shortfall(None, index) == []
    more = msgspec.structs.replace(plugin.INFO, train_class_sizes=(143, 146, 142, 147, 145, 146, 145, 144, 1140, 144))
    assert data_check.shortfall(more, index) == ["class 8: 140 training images here, 1,140 in the original"]
    least = msgspec.structs.replace(plugin.INFO, train_class_sizes=(141,))
    assert data_check.shortfall(least, index) == ["class 8: 140 training images here, at least 141 in the original"]
