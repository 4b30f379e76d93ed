"""What every dataset plug-in keeps to."""

from pathlib import Path

import golden
import numpy as np
import pytest
from PIL import Image

from condhpc import registry, rng
from condhpc.datasets.base import Dataset
from condhpc.datasets.image_folder import ImageFolder
from condhpc.errors import InputError
from condhpc.spec import DatasetInfo

NAMES = registry.names("datasets")


@pytest.mark.parametrize("name", NAMES)
def test_facts(name: str) -> None:
    """A plug-in is a Dataset whose facts are known without files, or None for a loader."""
    plugin = registry.load("datasets", name)
    assert isinstance(plugin, Dataset)
    assert plugin.INFO is None or isinstance(plugin.INFO, DatasetInfo)


@pytest.mark.parametrize("name", NAMES)
def test_without_a_folder(name: str) -> None:
    """Without a folder a dataset lists what ships in a package, or says that it needs one."""
    plugin = registry.load("datasets", name)
    try:
        index = plugin.index(None)
    except InputError as error:
        assert "folder" in str(error)  # noqa: PT017 - the other outcome is right as well
        return
    assert plugin.INFO is not None
    counts = np.bincount(index.splits[plugin.INFO.train_split].labels)
    assert tuple(counts) == plugin.INFO.train_class_sizes
    assert plugin.INFO.test_split in index.splits


def folder_of_noise(folder: Path, plugin: ImageFolder) -> tuple[str, str]:
    """One lossless image of 37 × 53 px in each of the classes of both splits; the splits' names.

    File names are those of ImageNet, for presets that look at them.
    """
    splits = (plugin.INFO.train_split, plugin.INFO.test_split) if plugin.INFO is not None else ("train", "test")
    pixels = rng.stream(0, "dataset-contract").integers(0, 256, size=(53, 37, 3), dtype=np.uint8)
    for split in splits:
        for name in plugin.class_names() or ("b", "a"):
            (folder / split / name).mkdir(parents=True)
            file = f"{name}_0.png" if split == splits[0] else "ILSVRC2012_val_00000000.png"
            Image.fromarray(pixels).save(folder / split / name / file, compress_level=1)
    return splits


@pytest.mark.parametrize("name", golden.own_plugins("datasets"))
def test_golden(name: str, tmp_path: Path) -> None:
    """At this version the same files give the same labels and, up to Pillow's rounding, the same images."""
    plugin = registry.load("datasets", name)
    folder, splits = None, ("train", "test")
    if isinstance(plugin, ImageFolder):
        folder, splits = tmp_path, folder_of_noise(tmp_path, plugin)
    index = plugin.index(folder)
    resolution = plugin.INFO.resolution if plugin.INFO is not None else 64
    split = plugin.split(index, folder, splits[0], resolution)
    image = split.read(np.array([0, 1]))[1].astype(float)
    found = {
        "labels": [int(y) for y in split.labels_N[:20]],
        "classes": " ".join(index.class_names[:5]),
        "content": index.content,
        "shape": list(image.shape),
        "mean": image.mean(axis=(0, 1)).round(3).tolist(),
        "first row": image[0, ::8].round(3).ravel().tolist(),
    }
    golden.check("datasets", name, plugin.version, found, tolerance=1.0)
