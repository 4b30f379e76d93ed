"""Images in folders, `<folder>/<split>/<class>/*.jpg`: the loader, and the base of presets."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from condhpc.datasets.base import Dataset, Index, Split, SplitIndex
from condhpc.errors import InputError, ProblemsError, StageError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray
    from PIL.Image import Image

    from condhpc.spec import DatasetInfo

SUFFIXES = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".gif", ".ppm", ".pgm", ".tif", ".tiff", ".webp"})
_TEST_SPLITS = ("test", "val")
_MARGIN = (256, 224)
"""Large images: the shorter side is resized to 256/224 of the resolution before the centre is cropped."""
_MARGIN_FROM_PX = 64
_CACHE_BYTES = 1 << 30
_SHOWN = 5


class ImageFolder(Dataset):
    """A folder per split, in it a folder per class. Presets are instances with facts and a class list."""

    def __init__(self, info: DatasetInfo | None, class_names: Sequence[str] | Path = ()) -> None:
        """`class_names` in label order, or a file with one a line; empty: the folder's own, sorted by name."""
        self.INFO = info
        self._class_names = class_names

    def class_names(self) -> tuple[str, ...]:
        """The preset's classes in label order; empty where the folder decides."""
        if isinstance(self._class_names, Path):
            return tuple(self._class_names.read_text(encoding="utf-8").split())
        return tuple(self._class_names)

    def index(self, folder: Path | None, splits: Sequence[str] = ()) -> Index:
        """List the files of all splits, sorted by path.

        Raises ProblemsError with every missing, superfluous or empty class folder and every stray file.
        """
        if folder is None:
            raise InputError("is read from a folder <split>/<class>/*.jpg, and none was given")
        wanted = tuple(splits) or self._own_splits(folder)
        absent = [folder / split for split in wanted if not (folder / split).is_dir()]
        problems = [f"{path}: no such folder, expected one with the split '{path.name}'" for path in absent]
        if problems:
            raise ProblemsError(problems)
        classes = self.class_names() or _class_folders(folder / wanted[0])
        found = {split: _list_split(folder, split, classes, problems) for split in wanted}
        if problems:
            raise ProblemsError(problems)
        return Index(class_names=classes, splits=found, content=f"image_folder {self.version}")

    def split(self, index: Index, folder: Path | None, name: str, resolution: int) -> Split:
        """Open one split; files are decoded when they are read."""
        if folder is None:
            raise StageError(f"split '{name}': no folder is known for this dataset; add it under [data] in the profile")
        if name not in index.splits:
            raise StageError(f"{folder}: no split '{name}' in its index, only {sorted(index.splits)}")
        return FolderSplit(index.splits[name], folder, resolution)

    def _own_splits(self, folder: Path) -> tuple[str, ...]:
        if self.INFO is not None:
            return (self.INFO.train_split, self.INFO.test_split)
        tests = tuple(s for s in _TEST_SPLITS if (folder / s).is_dir())
        return ("train", *(tests or _TEST_SPLITS[:1]))


class FolderSplit(Split):
    """Lazily decoded files; a split that fits into 1 GiB is decoded once and kept."""

    def __init__(self, files: SplitIndex, folder: Path, resolution: int) -> None:
        import numpy as np

        self.labels_N = np.asarray(files.labels, dtype=np.int64)
        self.resolution = resolution
        self._files = files
        self._folder = folder
        shape = (len(files.labels), resolution, resolution, 3)
        fits = int(np.prod(shape, dtype=np.int64)) <= _CACHE_BYTES
        self._cache = np.empty(shape, dtype=np.uint8) if fits else None
        self._held_N = np.zeros(len(files.labels), dtype=bool)

    def read(self, positions_n: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images (n, R, R, 3): RGB, shorter side resized, centre cropped."""
        import numpy as np

        if self._cache is None:
            shape = (len(positions_n), self.resolution, self.resolution, 3)
            images = np.empty(shape, dtype=np.uint8)
            for row, position in enumerate(positions_n):
                images[row] = self._squared(int(position))
            return images
        for position in np.unique(positions_n[~self._held_N[positions_n]]):
            self._cache[position] = self._squared(int(position))
            self._held_N[position] = True
        return self._cache[positions_n]

    def raw(self, position: int) -> NDArray[np.uint8]:
        """One image (h, w, 3) RGB as stored; EXIF orientation is ignored, as the field does."""
        import numpy as np

        return np.array(self._decode(position))  # a copy: Pillow's own view is read-only

    def _squared(self, position: int) -> NDArray[np.uint8]:
        import numpy as np

        return np.asarray(square(self._decode(position), self.resolution))

    def _decode(self, position: int) -> Image:
        path = self._folder / self._files.paths[position]
        size = self._files.sizes[position]
        try:
            data = path.read_bytes()
        except OSError as error:
            raise StageError(f"{path}: cannot be read ({error.strerror}); the dataset's index lists it") from error
        if len(data) != size:
            raise StageError(f"{path}: {len(data)} bytes, {size} when it was indexed; restore the file or submit again")
        return decode(data, path)


def decode(data: bytes, path: Path) -> Image:
    """An 8-bit RGB image from a file's bytes; raises StageError with its path."""
    import io
    import struct

    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode.startswith(("I", "F")):
                raise StageError(f"{path}: more than 8 bits per channel ({image.mode}), expected an 8-bit image")
            return image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise StageError(f"{path}: not a readable image ({error})") from error


def square(image: Image, resolution: int) -> Image:
    """Antialiased bilinear resize of the shorter side, then the centre crop of `resolution` pixels.

    From 64 px up the shorter side becomes resolution·256/224 first (the usual test transform), below it
    the resolution itself. Rounding follows torchvision's `Resize` and `CenterCrop`.
    """
    from PIL import Image

    shorter = resolution if resolution < _MARGIN_FROM_PX else round(resolution * _MARGIN[0] / _MARGIN[1])
    width, height = image.size
    if min(width, height) != shorter:
        long = int(shorter * max(width, height) / min(width, height))
        width, height = (shorter, long) if width <= height else (long, shorter)
        image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - resolution) / 2.0), round((height - resolution) / 2.0)
    return image.crop((left, top, left + resolution, top + resolution))


def _class_folders(split: Path) -> tuple[str, ...]:
    return tuple(sorted(e.name for e in _visible(split) if e.is_dir()))


def _visible(folder: Path) -> Iterator[os.DirEntry[str]]:
    with os.scandir(folder) as entries:
        yield from (entry for entry in entries if not entry.name.startswith("."))


def _list_split(folder: Path, split: str, classes: tuple[str, ...], problems: list[str]) -> SplitIndex:
    """One split's files by path; appends to `problems` what is missing or too much."""
    present = set(_class_folders(folder / split))
    stray = sorted(e.name for e in _visible(folder / split) if not e.is_dir())
    extra = sorted(present - set(classes))
    _report(problems, folder / split, "lacks the class folder", sorted(set(classes) - present))
    _report(problems, folder / split, "has a class folder that is not in the class list:", extra)
    _report(problems, folder / split, "has something that is not a class folder:", stray)
    rows: list[tuple[str, int, int]] = []
    for label, name in enumerate(classes):
        if name in present:
            rows += _list_class(folder, f"{split}/{name}", label, problems)
    rows.sort()
    paths, labels, sizes = zip(*rows, strict=True) if rows else ((), (), ())
    return SplitIndex(paths=paths, labels=labels, sizes=sizes)


def _list_class(folder: Path, below: str, label: int, problems: list[str]) -> list[tuple[str, int, int]]:
    rows: list[tuple[str, int, int]] = []
    stray: list[str] = []
    for entry in _visible(folder / below):
        is_image = os.path.splitext(entry.name)[1].lower() in SUFFIXES  # noqa: PTH122 - a million names
        if is_image and entry.is_file() and _is_text(entry.name):
            rows.append((f"{below}/{entry.name}", label, entry.stat().st_size))
        else:
            stray.append(entry.name)
    empty = sorted(Path(path).name for path, _, size in rows if size == 0)
    _report(problems, folder / below, "has something that is not an image file:", sorted(stray))
    _report(problems, folder / below, "has an empty file:", empty)
    if not rows:
        problems.append(f"{folder / below}: no image in it, expected files ending in {' '.join(sorted(SUFFIXES))}")
    return rows


def _is_text(name: str) -> bool:
    """Whether a file name is valid UTF-8 (the index is JSON)."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _report(problems: list[str], folder: Path, what: str, names: list[str]) -> None:
    if names:
        more = f" and {len(names) - _SHOWN} more" if len(names) > _SHOWN else ""
        problems.append(f"{folder}: {what} {', '.join(map(repr, names[:_SHOWN]))}{more}")


PLUGIN = ImageFolder(None)
