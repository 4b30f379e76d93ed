"""Condensed sets made elsewhere: a folder of images, a list of real images, or an HDF5, held against the dataset.

What does not fit is an error that lists all that is wrong; nothing is resized, dropped or guessed, because a published
set is judged as it was published. Shapes: N images of the set, R × R pixels, K classes.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, NamedTuple

import numpy as np
from msgspec import Meta

from condhpc import arrays, keys
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

SOFT_LABELS = "soft_labels.npy"
"""Beside the class folders, or beside an index list under its name with this suffix: rows in the order of the set."""


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
    _require_digest(path, params)
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
    order_N = np.argsort(content.labels_N, kind="stable")
    soft_NK = None if content.soft_NK is None else content.soft_NK[order_N].astype(np.float16)
    return CondensedSet(
        np.ascontiguousarray(content.images_NHWC[order_N]),
        content.labels_N[order_N],
        None if content.source_N is None else content.source_N[order_N],
        soft_labels_NK=soft_NK,
    )


def _require_digest(path: Path, params: ExternalParams) -> None:
    try:
        found = keys.sha256_of(path)
    except OSError as error:
        raise StageError(f"set '{params.name}': {path} cannot be read ({error.strerror or error})") from error
    if found != params.sha256:
        raise StageError(
            f"set '{params.name}': {path} has SHA-256 {found}, the task names {params.sha256}; give the profile the "
            "right path under [sets], or correct the manifest and submit again"
        )


# Readers


def _folder(path: Path, params: ExternalParams, wanted: Wanted, problems: list[str]) -> Content | None:
    """`<class>/*.png`; files of a class by name."""
    found = sorted(p for p in path.iterdir() if not p.name.startswith(".") and p.name != SOFT_LABELS)
    stray = [p.name for p in found if not p.is_dir()]
    folders = {p.name: p for p in found if p.is_dir()}
    problems += listed("has something that is not a class folder", stray)
    find = _by_number if params.class_folders == "numbers" else _by_name
    of_label, misfits = find(folders, wanted.class_names)
    problems += misfits
    if problems:
        return None
    files = [(label, file) for label, folder in enumerate(of_label) for file in _image_files(folder, problems)]
    images = [_image(file, wanted.resolution, problems) for _, file in files]
    if problems or not files:
        return None
    labels_N = np.asarray([label for label, _ in files], dtype=np.int64)
    kept = [image for image in images if image is not None]
    return Content(np.stack(kept), labels_N, None, _soft_file(path / SOFT_LABELS, problems))


def _by_name(folders: Mapping[str, Path], names: Sequence[str]) -> tuple[list[Path], list[str]]:
    """Folders in label order, and what is wrong with them."""
    lacking, superfluous = sorted(set(names) - folders.keys()), sorted(folders.keys() - set(names))
    if len(lacking) == len(names) and not _by_number(folders, names)[1]:
        hint = 'if the numbers are the dataset\'s labels, say class_folders = "numbers"'
        return [], [f"its folders are numbered, not named after classes; {hint}"]
    problems = listed("lacks the class folder", lacking)
    problems += listed("has a folder that is no class of the dataset", superfluous)
    return [folders[name] for name in names if name in folders], problems


def _by_number(folders: Mapping[str, Path], names: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The same of folders whose names end in a label, such as 00003 or new003."""
    found: dict[int, list[str]] = {}
    unnumbered = []
    for folder in sorted(folders):
        match = re.search(r"\d+$", folder)
        if match is None:
            unnumbered.append(folder)
        else:
            found.setdefault(int(match[0]), []).append(folder)
    expected = range(len(names))
    problems = listed("has a folder without a number at its end", unnumbered)
    problems += listed("lacks the folder with number", [str(i) for i in expected if i not in found])
    problems += listed("has a folder whose number is no label", [f[0] for i, f in found.items() if i not in expected])
    problems += listed("has several folders of one number", [", ".join(f) for f in found.values() if len(f) > 1])
    return [folders[found[i][0]] for i in expected if i in found], problems


def _image_files(folder: Path, problems: list[str]) -> Iterator[Path]:
    for file in sorted(folder.iterdir()):
        if file.suffix.lower() in SUFFIXES and file.is_file():
            yield file
        elif not file.name.startswith("."):
            problems.append(f"{folder.name}/{file.name} is not an image file")


def _image(file: Path, side: int, problems: list[str]) -> NDArray[np.uint8] | None:
    try:
        image_HWC = pixels(file.read_bytes(), str(file))
    except StageError as error:
        problems.append(str(error))
        return None
    if image_HWC.shape[:2] == (side, side):
        return image_HWC
    height, width = image_HWC.shape[:2]
    if len(problems) <= SHOWN:
        hint = f"; for sets of this size write resolution = {height}" if height == width else ""
        problems.append(f"{file.parent.name}/{file.name} is {width}×{height} pixels, expected {side}×{side}{hint}")
    return None


def _indices(path: Path, real: Real, problems: list[str]) -> Content | None:
    """One training image a line: its position in the split, or its path in the dataset."""
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        problems.append(f"is not a readable text file ({error})")
        return None
    find = _finder(real)
    positions: dict[int, int] = {}
    for number, line in enumerate(lines, 1):
        entry = re.sub(r"(^|\s)#.*", "", line).strip()
        if not entry:
            continue
        found = find(entry)
        if isinstance(found, str):
            problems.append(f"line {number}: {entry!r}: {found}")
        elif found in positions:
            problems.append(f"line {number}: {entry!r}: the same image as in line {positions[found]}")
        else:
            positions[found] = number
    if len(problems) > 4 * SHOWN:
        problems[4 * SHOWN :] = [f"and {len(problems) - 4 * SHOWN} more lines"]
    if problems:
        return None
    if not positions:
        problems.append("names no image")
        return None
    source_N = np.fromiter(positions, dtype=np.int64)
    soft_NK = _soft_file(path.with_name(f"{path.stem}.{SOFT_LABELS}"), problems)
    return Content(real.train.read(source_N), real.train.labels_N[source_N], source_N, soft_NK)


def _finder(real: Real) -> Callable[[str], int | str]:
    """From an entry to a position in the training split, or to what is wrong with it."""
    own = real.dataset.train_split
    files = real.files.splits[own]
    whole = {path: i for i, path in enumerate(files.paths)}
    times = Counter(path.partition("/")[2] for path in files.paths)
    short = {path.partition("/")[2]: i for i, path in enumerate(files.paths)}
    elsewhere = {path: name for name, split in real.files.splits.items() if name != own for path in split.paths}

    def find(entry: str) -> int | str:
        if entry.lstrip("-").isdigit():
            position = int(entry)
            return position if 0 <= position < len(files.paths) else f"expected a position in 0..{len(files.paths) - 1}"
        if entry in whole:
            return whole[entry]
        if entry in elsewhere:
            return f"an image of the split '{elsewhere[entry]}', expected one of '{own}'"
        if times[entry] > 1:
            return "stands for several images; write the path with its folder of the split"
        return short.get(entry, "no such image in the dataset")

    return find


def _hdf5(path: Path, wanted: Wanted, problems: list[str]) -> Content | None:
    """`images`, `labels` and perhaps `soft_labels`, in any order of images; ours or anybody's."""
    try:
        held = arrays.read_any(path)
    except CorruptArtefactError as error:
        problems.append(str(error))
        return None
    images, labels = held.arrays.get("images"), held.arrays.get("labels")
    if images is None or images.dtype != np.uint8 or images.ndim != 4:
        problems.append(f"'images' is {kind_of(images)}, expected uint8 (N, R, R, 3)")
    if labels is None or labels.dtype.kind not in "iu" or labels.ndim != 1:
        problems.append(f"'labels' is {kind_of(labels)}, expected integers (N,)")
    if images is None or labels is None or problems:
        return None
    if len(images) != len(labels):
        problems.append(f"{len(images)} images but {len(labels)} labels")
        return None
    if (names := held.attributes.get("class_names")) is not None:
        problems += _other_names([str(name) for name in names], wanted)
    return Content(images, labels.astype(np.int64), None, held.arrays.get("soft_labels"))


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
    try:
        found = np.load(path, allow_pickle=False)
    except (OSError, ValueError) as error:
        problems.append(f"{path.name} is not a readable array ({error})")
        return None
    return np.asarray(found)
