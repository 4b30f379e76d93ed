"""Facts and class lists of the presets."""

import pytest

from condhpc import registry
from condhpc.datasets.image_folder import ImageFolder

PRESETS = [n for n in registry.names("datasets") if isinstance(registry.load("datasets", n), ImageFolder)]


def preset(name: str) -> ImageFolder:
    """The preset of that name."""
    plugin = registry.load("datasets", name)
    assert isinstance(plugin, ImageFolder)
    return plugin


@pytest.mark.parametrize("name", [n for n in PRESETS if n != "image_folder"])
def test_facts_fit_the_class_list(name: str) -> None:
    """As many distinct classes as the facts say; class sizes are one per class or one for all."""
    info, classes = preset(name).INFO, preset(name).class_names()
    assert info is not None
    assert len(set(classes)) == len(classes) == info.classes
    assert len(info.train_class_sizes) in (1, info.classes)
    assert all(0 < mean < 1 for mean in info.mean)


def test_loader_has_no_facts_of_its_own() -> None:
    """`image_folder` by itself takes its facts from the manifest and its classes from the folder."""
    assert preset("image_folder").INFO is None
    assert preset("image_folder").class_names() == ()


def test_imagenet1k_is_sorted() -> None:
    """The usual label order of ImageNet-1K is that of the sorted wnids."""
    classes = preset("imagenet1k").class_names()
    assert list(classes) == sorted(classes)
    assert (classes[0], classes[217], classes[999]) == ("n01440764", "n02102040", "n15075141")


def test_imagenette_is_the_known_ten() -> None:
    """ImageNette's labels are the sorted wnids at ImageNet indices 0, 217, 482, …"""
    large = preset("imagenet1k").class_names()
    expected = [large[i] for i in (0, 217, 482, 491, 497, 566, 569, 571, 574, 701)]
    assert list(preset("imagenette").class_names()) == expected


def test_imagenet100_keeps_its_file_order() -> None:
    """The list of CMC is not sorted, and label order is the file's."""
    classes = preset("imagenet100").class_names()
    first = "n02869837 n01749939 n02488291 n02107142 n13037406 n02091831 n04517823 n04589890 n03062245 n01773797"
    assert list(classes[:10]) == first.split()
    assert list(classes) != sorted(classes)
    assert set(classes) <= set(preset("imagenet1k").class_names())
    assert not set(classes) & set(preset("imagenette").class_names())
