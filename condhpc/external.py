"""Condensed sets made elsewhere: a folder of images, a list of real images, or an HDF5, held against the dataset.

What does not fit is an error that lists all that is wrong; nothing is resized, dropped or guessed, because a published
set is judged as it was published. Shapes: N images of the set, R × R pixels, K classes.
"""

from __future__ import annotations

import re
import tokenize
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from condhpc import arrays, image_list, keys
from condhpc.arrays import CondensedSet
from condhpc.datasets.image_folder import SUFFIXES, pixels
from condhpc.errors import CorruptArtefactError, StageError
from condhpc.misfits import SHOWN, Content, Wanted, kind_of, listed, misfits
from condhpc.spec import Value

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from condhpc.datasets.base import Split
    from condhpc.file_index import Index
    from condhpc.spec import DatasetSpec

INDICES = "indices.txt"
"""The list of real images, where it comes in a folder."""
SOFT_LABELS = "soft_labels.npy"
"""Beside the class folders or the list in a folder: rows in the order of classes and file names, or of the lines."""


class ExternalParams(Value, frozen=True):
    """How a set made elsewhere is read, as it stands in a task."""

    name: str
    """The profile maps it to a path."""
    format: Literal["folder", "indices", "hdf5"]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    class_folders: Literal["names", "numbers"] = "names"


class Real(NamedTuple):
    """The dataset behind a list of real images."""

    train: Split
    files: Index
    dataset: DatasetSpec


def load(path: Path, params: ExternalParams, wanted: Wanted, real: Real) -> CondensedSet:
    """The set, class by class; raises StageError with everything in it that does not fit."""
    problems: list[str] = []
    advice = "give the profile the right path under [sets], or correct the manifest and submit again"
    keys.require_sha256(f"set '{params.name}'", path, params.sha256, advice)
    readers: dict[str, Callable[[], Content | None]] = {
        "folder": lambda: _folder(path, params, wanted, problems),
        "indices": lambda: _indices(path, real, problems),
        "hdf5": lambda: _hdf5(path, wanted, problems),
    }
    content = readers[params.format]()
    if content is not None:
        problems += misfits(content, wanted)
    if problems or content is None:
        text = "\n".join(f"  - {problem}" for problem in problems)
        raise StageError(f"set '{params.name}': {path} does not fit the dataset and the manifest:\n{text}")
    return _by_class(content)


def _by_class(content: Content) -> CondensedSet:
    """In label order, images of a class in the order they had."""
    images_NHWC, labels_N, source_N, soft_NK = content
    if np.any(labels_N[1:] < labels_N[:-1]):  # images that are in order already are not copied: they may fill gigabytes
        order_N = np.argsort(labels_N, kind="stable")
        images_NHWC, labels_N = images_NHWC[order_N], labels_N[order_N]
        source_N = None if source_N is None else source_N[order_N]
        soft_NK = None if soft_NK is None else soft_NK[order_N]
    soft_NK = None if soft_NK is None else soft_NK.astype(np.float16)
    return CondensedSet(np.ascontiguousarray(images_NHWC), labels_N, source_N, soft_labels_NK=soft_NK)


# Readers


def _folder(path: Path, params: ExternalParams, wanted: Wanted, problems: list[str]) -> Content | None:
    """`<class>/*.png`; files of a class by name."""
    if not path.is_dir():
        problems.append("is a file, expected a folder with a folder for each class")
        return None
    found = sorted(p for p in path.iterdir() if not p.name.startswith(".") and p.name != SOFT_LABELS)
    folders = {p.name: p for p in found if p.is_dir()}
    problems += listed("has something that is not a class folder", [p.name for p in found if not p.is_dir()])
    find = _by_number if params.class_folders == "numbers" else _by_name
    of_label, wrong = find(folders, wanted.class_names)
    problems += wrong
    files = [(label, file) for label, folder in of_label.items() for file in _image_files(folder, problems)]
    if not files:
        if not problems:
            problems.append("has no image in any class folder")
        return None
    labels_N = np.asarray([label for label, _ in files], dtype=np.int64)
    images_NHWC = _decoded([file for _, file in files], wanted.resolution, problems)
    return Content(images_NHWC, labels_N, None, _soft_file(path / SOFT_LABELS, problems))


def _by_name(folders: Mapping[str, Path], names: Sequence[str]) -> tuple[dict[int, Path], list[str]]:
    """Folders by label, in label order, and what is wrong with them."""
    lacking, superfluous = sorted(set(names) - folders.keys()), sorted(folders.keys() - set(names))
    if len(lacking) == len(names) and not _by_number(folders, names)[1]:
        hint = 'if the numbers are the dataset\'s labels, say class_folders = "numbers"'
        return {}, [f"its folders are numbered, not named after classes; {hint}"]
    problems = listed("lacks the class folder", lacking)
    problems += listed("has a folder that is no class of the dataset", superfluous)
    return {label: folders[name] for label, name in enumerate(names) if name in folders}, problems


def _by_number(folders: Mapping[str, Path], names: Sequence[str]) -> tuple[dict[int, Path], list[str]]:
    """The same of folders whose names end in a label, such as 00003 or new003."""
    found: dict[int, list[str]] = {}
    unnumbered = []
    for folder in sorted(folders):
        match = re.search(r"[0-9]+$", folder)
        if match is None:
            unnumbered.append(folder)
        else:
            found.setdefault(int(match[0]), []).append(folder)
    expected = range(len(names))
    problems = listed("has a folder without a number at its end", unnumbered)
    problems += listed("lacks the folder with number", [str(i) for i in expected if i not in found])
    problems += listed("has a folder whose number is no label", [f[0] for i, f in found.items() if i not in expected])
    problems += listed("has several folders of one number", [", ".join(f) for f in found.values() if len(f) > 1])
    return {label: folders[found[label][0]] for label in expected if label in found}, problems


def _image_files(folder: Path, problems: list[str]) -> Iterator[Path]:
    stray = []
    for file in sorted(p for p in folder.iterdir() if not p.name.startswith(".")):  # as in the digest
        if file.suffix.lower() in SUFFIXES and file.is_file():
            yield file
        else:
            stray.append(f"{folder.name}/{file.name}")
    problems += listed("has something that is not an image file", stray)


def _decoded(files: Sequence[Path], side: int, problems: list[str]) -> NDArray[np.uint8]:
    """Images (n, R, R, 3); of those that cannot be read or have another size only the problems are of use."""
    images_nHWC = np.zeros((len(files), side, side, 3), dtype=np.uint8)
    broken: list[str] = []
    of_size: dict[tuple[int, int], list[str]] = {}
    for row, file in enumerate(files):
        name = f"{file.parent.name}/{file.name}"
        try:
            image_HWC = pixels(file.read_bytes(), name)
        except StageError as error:
            broken.append(str(error))
            continue
        except OSError as error:
            broken.append(f"{name}: cannot be read ({error.strerror})")
            continue
        if image_HWC.shape[:2] == (side, side):
            images_nHWC[row] = image_HWC
        else:
            of_size.setdefault((image_HWC.shape[1], image_HWC.shape[0]), []).append(name)
    problems += listed("has an image that cannot be used", broken)
    for (width, height), names in sorted(of_size.items())[:SHOWN]:
        hint = f" (for sets of this size write resolution = {height})" if height == width else ""
        problems += listed(f"has images of {width}×{height} pixels, expected {side}×{side}{hint}", names)
    return images_nHWC


def _indices(path: Path, real: Real, problems: list[str]) -> Content | None:
    """One training image a line: its position in the split, or its path in the dataset.

    The list is a file, or `indices.txt` in a folder that may hold soft labels too, so that one digest covers both.
    """
    paths = {name: split.paths for name, split in real.files.splits.items()}
    positions = image_list.positions(
        path / INDICES if path.is_dir() else path, paths, real.dataset.train_split, problems
    )
    if path.is_dir():
        known = {INDICES, SOFT_LABELS}
        names = sorted(p.name for p in path.iterdir() if p.name not in known and not p.name.startswith("."))
        problems += listed(f"has something beside {INDICES} and {SOFT_LABELS}", names)
    if not positions:
        if not problems:
            problems.append("names no image")
        return None
    source_N = np.asarray(positions, dtype=np.int64)
    soft_NK = _soft_file(path / SOFT_LABELS, problems) if path.is_dir() else None
    if problems:
        return None
    return Content(real.train.read(source_N), real.train.labels_N[source_N], source_N, soft_NK)


def _hdf5(path: Path, wanted: Wanted, problems: list[str]) -> Content | None:
    """`images`, `labels` and perhaps `soft_labels`, in any order of images; ours or anybody's."""
    try:
        held = arrays.read_any(path, ("images", "labels", "soft_labels"))
    except CorruptArtefactError as error:
        problems.append(str(error))
        return None
    images, labels = held.arrays.get("images"), held.arrays.get("labels")
    wrong = []
    if images is None or images.dtype != np.uint8 or images.ndim != 4:
        wrong.append(f"'images' is {kind_of(images)}, expected uint8 (N, R, R, 3)")
    if labels is None or labels.dtype.kind not in "iu" or labels.ndim != 1:
        wrong.append(f"'labels' is {kind_of(labels)}, expected integers (N,)")
    if not wrong and images is not None and labels is not None and len(images) != len(labels):
        wrong.append(f"{len(images)} images but {len(labels)} labels")
    problems += wrong
    if (names := held.attributes.get("class_names")) is not None:
        problems += _other_names([_text(name) for name in np.atleast_1d(names)], wanted)
    if images is None or labels is None or wrong:
        return None
    return Content(images, labels.astype(np.int64), None, held.arrays.get("soft_labels"))


def _text(name: object) -> str:
    return name.decode("utf-8", errors="replace") if isinstance(name, bytes) else str(name)


def _other_names(names: Sequence[str], wanted: Wanted) -> Iterator[str]:
    if list(names) == list(wanted.class_names):
        return
    if sorted(names) == sorted(wanted.class_names):
        first = next(i for i, name in enumerate(names) if name != wanted.class_names[i])
        yield (
            f"has the dataset's classes in another order (label {first} is '{names[first]}' here, "
            f"'{wanted.class_names[first]}' in the dataset); list `classes` in that order in a [datasets.x] block, "
            "or relabel the file"
        )
    else:
        yield f"is of other classes: {list(names)[:SHOWN]}…, the dataset has {list(wanted.class_names)[:SHOWN]}…"


def _soft_file(path: Path, problems: list[str]) -> NDArray[np.floating] | None:
    if not path.exists():
        return None
    try:  # mapped: a header that promises too much allocates nothing; and neither pickles nor archives are opened
        return np.array(np.lib.format.open_memmap(path, mode="r"))
    except (OSError, EOFError, TypeError, ValueError, tokenize.TokenError) as error:
        problems.append(f"{path.name} is not a readable array ({error}), expected one saved by numpy.save")
        return None
