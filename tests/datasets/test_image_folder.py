"""Images in folders: the index, its problems, decoding and resizing."""

import hashlib
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from condhpc.datasets import image_folder
from condhpc.datasets.image_folder import PLUGIN, ImageFolder, pixels, square
from condhpc.errors import InputError, ProblemsError, StageError
from condhpc.spec import DatasetInfo

CLASSES = ("zebra", "ant", "cow")
INFO = DatasetInfo(
    classes=3,
    train_class_sizes=(2,),
    resolution=16,
    mean=(0.5, 0.5, 0.5),
    std=(0.2, 0.2, 0.2),
    mirror=True,
    crop_scale_min=0.5,
    epochs=1,
    test_split="val",
)
PRESET = ImageFolder(INFO, CLASSES)


def noise(width: int, height: int, seed: int = 0) -> Image.Image:
    """A random RGB image."""
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8))


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two splits of three classes with two images each."""
    for split in ("train", "val"):
        for seed, name in enumerate(CLASSES):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(2):
                noise(20 + seed, 30 - i, seed * 10 + i).save(tmp_path / split / name / f"{i}.png")
    return tmp_path


def test_index_is_sorted_by_path_and_labelled_by_the_list(folder: Path) -> None:
    """Positions follow the paths, labels follow the class list, sizes are the files'."""
    index = PRESET.index(folder)
    train = index.splits["train"]
    assert index.class_names == CLASSES
    assert train.paths == tuple(f"train/{c}/{i}.png" for c in sorted(CLASSES) for i in range(2))
    assert train.labels == (1, 1, 2, 2, 0, 0)
    assert train.sizes == tuple((folder / p).stat().st_size for p in train.paths)
    assert set(index.splits) == {"train", "val"}


def test_paths_sort_as_whole_strings(tmp_path: Path) -> None:
    """`a-b/` stands before `a/`, as in any sorted list of paths."""
    for name in ("a", "a-b"):
        for split in ("train", "test"):
            (tmp_path / split / name).mkdir(parents=True)
            noise(8, 8).save(tmp_path / split / name / "0.png")
    paths = PLUGIN.index(tmp_path).splits["train"].paths
    assert paths == ("train/a-b/0.png", "train/a/0.png") == tuple(sorted(paths))


def test_label_map_is_in_the_digest(folder: Path) -> None:
    """The same files under another class order are another data set."""
    other = ImageFolder(INFO, tuple(reversed(CLASSES)))
    assert other.index(folder).digest() != PRESET.index(folder).digest()


def test_own_folder_sorts_its_classes(folder: Path) -> None:
    """Without a class list the training split's folder names, sorted, are the classes; `val` is found."""
    index = PLUGIN.index(folder)
    assert index.class_names == tuple(sorted(CLASSES))
    assert set(index.splits) == {"train", "val"}
    assert index.splits["train"].labels == (0, 0, 1, 1, 2, 2)


def test_named_splits(folder: Path) -> None:
    """A caller may name the splits, the training split first."""
    (folder / "train").rename(folder / "learn")
    assert set(PLUGIN.index(folder, ("learn", "val")).splits) == {"learn", "val"}
    with pytest.raises(ProblemsError, match="train: no such folder"):
        PLUGIN.index(folder)


def test_all_problems_at_once(folder: Path) -> None:
    """Missing, superfluous and empty class folders, stray and empty files are all reported together."""
    for file in (folder / "train" / "cow").iterdir():
        file.unlink()
    (folder / "train" / "cow").rmdir()
    (folder / "val" / "yak").mkdir()
    (folder / "val" / "README").write_text("x")
    (folder / "val" / "ant" / "notes.txt").write_text("x")
    (folder / "val" / "ant" / "void.png").touch()
    for file in (folder / "val" / "zebra").iterdir():
        file.unlink()
    with pytest.raises(ProblemsError) as caught:
        PRESET.index(folder)
    text = "\n".join(caught.value.problems)
    assert len(caught.value.problems) == 6
    for part in ("lacks the class folder 'cow'", "'yak'", "'README'", "'notes.txt'", "'void.png'", "zebra: no image"):
        assert part in text


def test_many_names_are_cut_short(tmp_path: Path) -> None:
    """A folder of something else entirely gives a few names and a count, not a thousand lines."""
    for split in ("train", "val"):
        for i in range(30):
            (tmp_path / split / f"other{i:02}").mkdir(parents=True)
    with pytest.raises(ProblemsError, match=r"'other00'.*'other04' and 25 more"):
        PRESET.index(tmp_path)


def test_hidden_entries_are_ignored(folder: Path) -> None:
    """Files and folders that begin with a dot change nothing."""
    before = PRESET.index(folder).digest()
    (folder / "train" / ".DS_Store").touch()
    (folder / "train" / ".cache").mkdir()
    (folder / "train" / "ant" / "._0.png").write_bytes(b"x")
    assert PRESET.index(folder).digest() == before


def test_no_folder() -> None:
    """A data set of files needs a folder: on the login node an input error, on a node a stage error."""
    with pytest.raises(InputError, match="none was given"):
        PRESET.index(None)


def test_read_matches_raw(folder: Path) -> None:
    """A read image is the stored one, resized and cropped, in the order asked for."""
    index = PRESET.index(folder)
    split = PRESET.split(index, folder, "train", 16)
    images = split.read(np.array([5, 0, 5]))
    assert images.shape == (3, 16, 16, 3)
    assert images.dtype == np.uint8
    for row, position in enumerate((5, 0, 5)):
        stored = np.asarray(Image.open(folder / index.splits["train"].paths[position]))
        np.testing.assert_array_equal(split.raw(position), stored)
        np.testing.assert_array_equal(images[row], np.asarray(square(Image.fromarray(stored), 16)))
    assert split.of_class(0).tolist() == [4, 5]


def test_a_glimpse_is_the_raw_image(folder: Path) -> None:
    """JPEGs of any order of sizes and other files: the pixels of `raw`, until the next glimpse."""
    for i, size in enumerate([(30, 50), (90, 80), (12, 9)]):
        noise(*size, i).save(folder / "train" / "ant" / f"{i}.jpg")
    split = PRESET.split(PRESET.index(folder), folder, "train", 16)
    for position in (1, 0, 3, 5, 2, 4):
        np.testing.assert_array_equal(split.glimpse(position), split.raw(position))
    kept = split.raw(1)
    before = kept.copy()
    split.glimpse(3)
    np.testing.assert_array_equal(kept, before)


def test_digests_are_those_of_the_files(folder: Path) -> None:
    """As `sha256sum` prints them."""
    index = PLUGIN.index(folder, ("train", "val"))
    split = PLUGIN.split(index, folder, "train", 16)
    expected = hashlib.sha256((folder / index.splits["train"].paths[2]).read_bytes()).hexdigest()
    assert split.digest(2) == f"sha256:{expected}"


@pytest.mark.parametrize("size", [(100, 61), (61, 100), (300, 300), (64, 64), (73, 74), (256, 300)])
@pytest.mark.parametrize("resolution", [32, 64, 224])
def test_square_is_the_usual_test_transform(size: tuple[int, int], resolution: int) -> None:
    """Resize and centre crop agree with torchvision, with the 256/224 margin from 64 px up."""
    from torchvision.transforms import functional as tv

    image = noise(*size)
    shorter = resolution if resolution < 64 else round(resolution * 256 / 224)
    expected = tv.center_crop(tv.resize(image, [shorter]), [resolution, resolution])
    np.testing.assert_array_equal(np.asarray(square(image, resolution)), np.asarray(expected))


def test_small_images_of_the_right_size_are_untouched() -> None:
    """CIFAR at 32 px keeps every pixel."""
    image = noise(32, 32)
    np.testing.assert_array_equal(np.asarray(square(image, 32)), np.asarray(image))


@pytest.mark.parametrize(
    ("mode", "suffix"), [("L", "png"), ("P", "png"), ("RGBA", "png"), ("CMYK", "jpg"), ("L", "jpg")]
)
def test_other_colour_modes_become_rgb(folder: Path, mode: str, suffix: str) -> None:
    """Grey, palette, transparent and CMYK files are read as three channels."""
    noise(20, 20).convert(mode).save(folder / "train" / "ant" / f"0a.{suffix}")
    index = PRESET.index(folder)
    position = index.splits["train"].paths.index(f"train/ant/0a.{suffix}")
    raw = PRESET.split(index, folder, "train", 16).raw(position)
    assert raw.shape == (20, 20, 3)
    with Image.open(folder / "train" / "ant" / f"0a.{suffix}") as stored:
        np.testing.assert_array_equal(raw, np.asarray(stored.convert("RGB")))


def test_deep_images_are_refused(folder: Path) -> None:
    """A 16-bit image would be clipped in silence, so it is an error."""
    Image.fromarray(np.full((9, 9), 40000, dtype=np.uint16)).save(folder / "train" / "ant" / "0.png")
    index = PRESET.index(folder)
    with pytest.raises(StageError, match=r"train/ant/0.png: more than 8 bits"):
        PRESET.split(index, folder, "train", 16).raw(0)


@pytest.mark.parametrize(
    "options",
    [{}, {"quality": 30}, {"subsampling": 0}, {"subsampling": 1}, {"progressive": True}, {"restart_marker_blocks": 3}],
)
def test_jpegs_have_the_pixels_that_pillow_gives(options: dict[str, int]) -> None:
    """The faster decoder is taken because it differs in nothing."""
    for seed, size in enumerate([(1, 1), (17, 8), (63, 97), (301, 200)]):
        stored = io.BytesIO()
        noise(*size, seed).save(stored, "JPEG", **options)
        with Image.open(stored) as image:
            np.testing.assert_array_equal(pixels(stored.getvalue(), "x"), np.asarray(image))


def test_damaged_jpegs_are_judged_by_pillow() -> None:
    """Random damage: either the pixels that Pillow gives, or an error where Pillow has one."""
    stored = io.BytesIO()
    noise(40, 30).save(stored, "JPEG", quality=70)
    draw, outcomes = np.random.default_rng(5), set()
    for _ in range(300):
        data = bytearray(stored.getvalue())
        for place in draw.integers(0, len(data), 3):
            data[place] = draw.integers(256)
        try:
            expected = np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))
        except (OSError, SyntaxError, ValueError):
            outcomes.add("refused")
            with pytest.raises(StageError, match=r"^here: not a readable image"):
                pixels(bytes(data), "here")
        else:
            outcomes.add("read")
            np.testing.assert_array_equal(pixels(bytes(data), "here"), expected)
    assert outcomes == {"refused", "read"}


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda p: p.unlink(), "cannot be read"),
        (lambda p: p.write_bytes(p.read_bytes() + b"x"), "when it was indexed"),
        (lambda p: p.write_bytes(b"?" * p.stat().st_size), "not a readable image"),
        (lambda p: p.write_bytes(p.read_bytes()[:200].ljust(p.stat().st_size, b"\0")), "not a readable image"),
    ],
)
def test_damaged_files_are_named(folder: Path, damage, message: str) -> None:
    """A file that is gone, of another size or no image stops the stage with its path."""
    index = PRESET.index(folder)
    split = PRESET.split(index, folder, "train", 16)
    damage(folder / "train" / "cow" / "1.png")
    with pytest.raises(StageError, match=rf"train/cow/1.png.*({message})"):
        split.read(np.array([0, 3]))
    assert split.read(np.array([0, 1])).shape == (2, 16, 16, 3)


def test_decoded_images_are_kept(folder: Path) -> None:
    """A second read of the same images touches no file."""
    split = PRESET.split(PRESET.index(folder), folder, "train", 16)
    first = split.read(np.arange(6))
    for file in (folder / "train" / "ant").iterdir():
        file.unlink()
    np.testing.assert_array_equal(split.read(np.arange(6)), first)


def test_large_splits_are_not_kept(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Above the cache's limit the same images come from the files each time."""
    index = PRESET.index(folder)
    kept = PRESET.split(index, folder, "train", 16).read(np.array([4, 2]))
    monkeypatch.setattr(image_folder, "_CACHE_BYTES", 6 * 16 * 16 * 3 - 1)
    split = PRESET.split(index, folder, "train", 16)
    np.testing.assert_array_equal(split.read(np.array([4, 2])), kept)
    (folder / index.splits["train"].paths[4]).unlink()
    with pytest.raises(StageError, match="cannot be read"):
        split.read(np.array([4]))


def test_unknown_split(folder: Path) -> None:
    """Asking for a split that the index does not list names those that it does."""
    with pytest.raises(StageError, match="no split 'test'"):
        PRESET.split(PRESET.index(folder), folder, "test", 16)
    with pytest.raises(StageError, match="no folder is known"):
        PRESET.split(PRESET.index(folder), None, "train", 16)
