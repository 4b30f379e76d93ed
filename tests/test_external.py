"""Condensed sets made elsewhere: taken as they are, or refused with all that is wrong."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from made_stages import DATASET, INDEX
from made_training import digits
from PIL import Image

from condhpc import arrays, external, keys
from condhpc.arrays import CondensedSet
from condhpc.errors import StageError
from condhpc.external import ExternalParams, Real
from condhpc.misfits import Wanted

IPC = 2
NAMES = INDEX.class_names


def images(count: int = 10 * IPC, side: int = 8) -> np.ndarray[Any, np.dtype[np.uint8]]:
    """Noise, another one in each image."""
    return np.random.default_rng(1).integers(0, 256, (count, side, side, 3), dtype=np.uint8)


def folder(home: Path, names: tuple[str, ...] = NAMES, side: int = 8, count: int = IPC) -> Path:
    """`<class>/<i>.png`, images in class-major order."""
    held = images(len(names) * count, side)
    for label, name in enumerate(names):
        (home / name).mkdir(parents=True)
        for i in range(count):
            Image.fromarray(held[label * count + i]).save(home / name / f"{i}.png")
    return home


def hdf5(path: Path, **changes: Any) -> Path:
    """Images of all classes in turn, with labels; `None` leaves an array out."""
    labels = np.tile(np.arange(10), IPC)
    content = {"images": images(), "labels": labels, **changes}
    names = content.pop("class_names", None)
    with h5py.File(path, "w") as file:
        for name, array in content.items():
            if array is not None:
                file[name] = array
        if names is not None:
            file.attrs["class_names"] = names
    return path


def load(path: Path, form: Any, resolution: int = 8, ipc: int = IPC, **params: Any) -> CondensedSet:
    """As a task would."""
    sha256 = params.pop("sha256", None) or keys.sha256_of(path)
    given = ExternalParams(name="theirs", format=form, sha256=sha256, **params)
    real = Real(digits("train"), INDEX, DATASET)
    return external.load(path, given, Wanted(NAMES, ipc, resolution), real)


def refused(path: Path, form: Any, **changes: Any) -> str:
    """What is said of a set that does not fit."""
    with pytest.raises(StageError) as caught:
        load(path, form, **changes)
    return str(caught.value)


def test_a_folder_is_taken_by_class_and_file_name(tmp_path: Path) -> None:
    """Pixels are those of the files, class by class in label order, files by name."""
    found = load(folder(tmp_path / "set"), "folder")
    assert np.array_equal(found.images_NHWC, images())
    assert found.labels_N.tolist() == [label for label in range(10) for _ in range(IPC)]
    assert found.source_index_N is None
    assert found.soft_labels_NK is None


def test_numbered_folders_are_labels_when_told_so(tmp_path: Path) -> None:
    """`new003` holds label 3; without being told, the error says how to."""
    names = tuple(f"new{label:03}" for label in range(10))
    path = folder(tmp_path / "set", names)
    assert np.array_equal(load(path, "folder", class_folders="numbers").images_NHWC, images())
    assert 'say class_folders = "numbers"' in refused(path, "folder")


def test_soft_labels_come_beside_a_folder(tmp_path: Path) -> None:
    """Rows in the order of classes and files."""
    path = folder(tmp_path / "set")
    soft_NK = np.random.default_rng(0).dirichlet(np.ones(10), 20).astype(np.float32)
    np.save(path / external.SOFT_LABELS, soft_NK)
    found = load(path, "folder").soft_labels_NK
    assert found is not None
    assert np.array_equal(found, soft_NK.astype(np.float16))


def test_a_list_names_real_images_by_position_or_path(tmp_path: Path) -> None:
    """Both kinds of entries, comments and blank lines; the order within a class is that of the list."""
    train = digits("train")
    positions = [int(p) for label in range(10) for p in train.of_class(label)[[5, 1]]]
    paths = INDEX.splits["train"].paths
    entries = [str(p) if i % 2 else paths[p] for i, p in enumerate(positions)]
    shuffled = [*entries[10:], *entries[:10]]
    (tmp_path / "list.txt").write_text("# chosen by hand\n\n" + "\n".join(f"{entry}  # ok" for entry in shuffled))
    found = load(tmp_path / "list.txt", "indices")
    assert found.source_index_N is not None
    assert found.source_index_N.tolist() == positions
    assert np.array_equal(found.images_NHWC, train.read(np.asarray(positions)))


def test_soft_labels_of_a_list_are_under_its_digest(tmp_path: Path) -> None:
    """List and soft labels share a folder: rows follow the lines, and other soft labels are another set."""
    positions = [int(p) for label in reversed(range(10)) for p in digits("train").of_class(label)[:IPC]]
    (tmp_path / external.INDICES).write_text("# chosen\n" + "\n".join(map(str, positions)))
    soft_NK = np.random.default_rng(0).dirichlet(np.ones(10), 20).astype(np.float32)
    np.save(tmp_path / external.SOFT_LABELS, soft_NK)
    found = load(tmp_path, "indices")
    assert found.source_index_N is not None
    assert found.soft_labels_NK is not None
    rows = [positions.index(position) for position in found.source_index_N.tolist()]
    assert np.array_equal(found.soft_labels_NK, soft_NK[rows].astype(np.float16))
    before = keys.sha256_of(tmp_path)
    np.save(tmp_path / external.SOFT_LABELS, soft_NK[::-1])
    assert "has SHA-256" in refused(tmp_path, "indices", sha256=before)
    (tmp_path / "more.txt").touch()
    assert "has something beside indices.txt and soft_labels.npy: more.txt" in refused(tmp_path, "indices")


def test_class_names_may_be_bytes(tmp_path: Path) -> None:
    """As older programs write them into HDF5."""
    names = np.asarray([name.encode() for name in NAMES])
    assert len(load(hdf5(tmp_path / "a.h5", class_names=names), "hdf5").labels_N) == 20
    assert "classes in another order" in refused(hdf5(tmp_path / "b.h5", class_names=names[::-1]), "hdf5")


def test_all_that_is_wrong_comes_at_once(tmp_path: Path) -> None:
    """Folders, files, sizes, counts and soft labels in one error."""
    path = folder(tmp_path / "set")
    (path / "0").rename(path / "zero")
    (path / "1" / "0.png").write_text("x")
    (path / "2" / "0.png").unlink()
    for name in ("3", "4"):
        Image.fromarray(images(1, 9)[0]).save(path / name / "0.png")
    np.save(path / external.SOFT_LABELS, np.ones((3, 3)))
    text = refused(path, "folder")
    for part in (
        "lacks the class folder: 0",
        "no class of the dataset: zero",
        "1/0.png: not a readable image",
        "has images of 9×9 pixels, expected 8×8 (for sets of this size write resolution = 9): 3/0.png, 4/0.png",
        "other counts: '0' (0), '2' (1)",
        "soft labels are float64 (3, 3)",
    ):
        assert part in text, text


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "is not a readable array (No data left in file)"),
        (
            b"\x93NUMPY\x01\x00v\x00"
            + b"{'descr': '<f8', 'fortran_order': False, 'shape': (99999999999, 10), }".ljust(118),
            "is not a readable array (mmap length is greater than file size)",
        ),
    ],
    ids=["empty", "promises 7 TB"],
)
def test_torn_soft_labels_are_an_error(content: bytes, message: str, tmp_path: Path) -> None:
    """Whatever stands in the file, nothing is loaded that is not there."""
    path = folder(tmp_path / "set")
    (path / external.SOFT_LABELS).write_bytes(content)
    assert message in refused(path, "folder")


def test_an_archive_of_arrays_is_no_array(tmp_path: Path) -> None:
    """Numpy reads it under any name."""
    path = folder(tmp_path / "set")
    with (path / external.SOFT_LABELS).open("wb") as file:
        np.savez(file, soft=np.ones((20, 10)))
    assert "is an archive of arrays" in refused(path, "folder")


def test_a_path_of_another_format_is_an_error(tmp_path: Path) -> None:
    """A file given as a folder, a folder as a file, an empty folder, an empty file."""
    (tmp_path / "file").write_text("0")
    assert "is a file, expected a folder with a folder for each class" in refused(tmp_path / "file", "folder")
    (tmp_path / "empty").mkdir()
    assert "indices.txt cannot be read (No such file or directory)" in refused(tmp_path / "empty", "indices")
    assert "lacks the class folder: 0, 1, 2, 3, 4 and 5 more" in refused(tmp_path / "empty", "folder")
    assert "not a readable HDF5 file" in refused(tmp_path / "empty", "hdf5")
    soft = np.ones((0, 10), dtype=np.float32)
    nothing = hdf5(tmp_path / "a.h5", images=images()[:0], labels=np.arange(0), soft_labels=soft)
    assert "other counts: '0' (0)" in refused(nothing, "hdf5")


def test_links_out_of_an_hdf5_are_not_followed(tmp_path: Path) -> None:
    """What lies in another file is not under the digest."""
    hdf5(tmp_path / "other.h5")
    with h5py.File(hdf5(tmp_path / "set.h5", images=None), "a") as file:
        file["images"] = h5py.ExternalLink("other.h5", "images")
    assert "'images' is missing" in refused(tmp_path / "set.h5", "hdf5")


def test_an_hdf5_is_put_in_order_of_classes(tmp_path: Path) -> None:
    """Images keep their order within a class, and take their soft labels with them."""
    soft_NK = np.random.default_rng(0).dirichlet(np.ones(10), 20).astype(np.float16)
    found = load(hdf5(tmp_path / "set.h5", soft_labels=soft_NK, class_names=list(NAMES)), "hdf5")
    order = [label + 10 * i for label in range(10) for i in range(IPC)]
    assert np.array_equal(found.images_NHWC, images()[order])
    assert found.soft_labels_NK is not None
    assert np.array_equal(found.soft_labels_NK, soft_NK[order])


def test_our_own_sets_can_come_back(tmp_path: Path) -> None:
    """A condensed set that condhpc wrote is a set made elsewhere for another store; soft labels survive."""
    soft_NK = np.full((20, 10), 0.1, dtype=np.float16)
    labels_N = np.repeat(np.arange(10), IPC)
    arrays.write_condensed_set(tmp_path / "a.h5", CondensedSet(images(), labels_N, soft_labels_NK=soft_NK))
    found = load(tmp_path / "a.h5", "hdf5")
    assert np.array_equal(found.images_NHWC, images())
    held = arrays.read_condensed_set(tmp_path / "a.h5").soft_labels_NK
    assert held is not None
    assert np.array_equal(held, soft_NK)


def test_another_content_is_not_the_set(tmp_path: Path) -> None:
    """Both digests are named."""
    path = hdf5(tmp_path / "set.h5")
    text = refused(path, "hdf5", sha256="0" * 64)
    assert keys.sha256_of(path) in text
    assert "0" * 64 in text
    assert "cannot be read" in refused(tmp_path / "nothing", "hdf5", sha256="0" * 64)


Spoil = Callable[[Path], object]


@pytest.mark.parametrize(
    ("spoil", "message"),
    [
        (lambda p: (p / "3").rename(p / "three"), ["lacks the class folder: 3", "no class of the dataset: three"]),
        (lambda p: (p / "0" / "1.png").unlink(), ["expected 2 images of each class (`ipc`), other counts: '0' (1)"]),
        (lambda p: (p / "readme.txt").write_text("x"), ["not a class folder: readme.txt"]),
        (lambda p: (p / "0" / "notes.txt").write_text("x"), ["not an image file: 0/notes.txt"]),
        (lambda p: (p / "0" / "0.png").write_text("x"), ["0.png: not a readable image"]),
        (
            lambda p: Image.fromarray(images(1, 9)[0]).save(p / "0" / "0.png"),
            ["9×9 pixels, expected 8×8 (for sets of this size write resolution = 9): 0/0.png"],
        ),
        (lambda p: np.save(p / external.SOFT_LABELS, np.ones((20, 10), np.float32)), ["sum to 10.000"]),
        (lambda p: np.save(p / external.SOFT_LABELS, np.ones((3, 10))), ["float64 (3, 10), expected floats (20, 10)"]),
        (lambda p: (p / external.SOFT_LABELS).write_text("x"), ["soft_labels.npy is not a readable array"]),
    ],
)  # fmt: skip
def test_a_folder_that_does_not_fit(spoil: Spoil, message: list[str], tmp_path: Path) -> None:
    """Every misfit is said, with what was found and expected."""
    path = folder(tmp_path / "set")
    spoil(path)
    text = refused(path, "folder")
    assert all(part in text for part in message), text


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"images": images().astype(np.float32)}, "'images' is float32 (20, 8, 8, 3), expected uint8 (N, R, R, 3)"),
        ({"labels": None}, "'labels' is missing, expected integers (N,)"),
        ({"labels": np.arange(19) % 10}, "20 images but 19 labels"),
        ({"labels": np.arange(20)}, "has labels outside 0..9: 10, 11, 12, 13, 14 and 5 more"),
        ({"images": images(side=9)}, "images are (9, 9, 3), expected (8, 8, 3); write resolution = 9"),
        ({"class_names": list(reversed(NAMES))}, "classes in another order (label 0 is '9' here, '0' in the dataset)"),
        ({"class_names": ["a"]}, "is of other classes: ['a']"),
        ({"soft_labels": np.full((20, 10), np.nan)}, "negative or infinite numbers or NaN, expected probabilities"),
        ({"soft_labels": np.full((20, 10), -0.1)}, "negative or infinite numbers or NaN, expected probabilities"),
        ({"soft_labels": np.full((20, 9), 1 / 9)}, "expected floats (20, 10)"),
    ],
)
def test_an_hdf5_that_does_not_fit(changes: dict[str, Any], message: str, tmp_path: Path) -> None:
    """Types, shapes, counts, class order and soft labels."""
    assert message in refused(hdf5(tmp_path / "set.h5", **changes), "hdf5")


@pytest.mark.parametrize("keep", [0, 1, 100, 1000])
def test_a_torn_hdf5_is_an_error(keep: int, tmp_path: Path) -> None:
    """However much of it is there."""
    path = hdf5(tmp_path / "set.h5")
    path.write_bytes(path.read_bytes()[:keep])
    assert "not a readable HDF5 file" in refused(path, "hdf5")


def test_a_list_that_does_not_fit_is_told_by_line(tmp_path: Path) -> None:
    """Lines and counts."""
    path = tmp_path / "list.txt"
    path.write_text("3\n3\n")
    assert "line 2: '3': the same image as in line 1" in refused(path, "indices")
    path.write_text("# nothing\n")
    assert "names no image" in refused(path, "indices")
    path.write_text("\n".join(map(str, range(30))))
    assert "expected 2 images of each class (`ipc`), other counts" in refused(path, "indices")
