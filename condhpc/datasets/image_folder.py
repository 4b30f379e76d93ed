"""Images in folders, `<folder>/<split>/<class>/*.jpg`, or a pack of them: the loader, and the base of presets."""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from condhpc import keys
from condhpc.datasets.base import Dataset, Index, Split, SplitIndex
from condhpc.errors import InputError, ProblemsError, StageError, first_few
from condhpc.image_files import Entry, Listing, files_of, listing_of

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
_JPEG = b"\xff\xd8"
"""How a JPEG begins."""
_LISTERS = 8
"""Class folders that are listed at a time: a network file system answers each question late, and many at once."""


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
            raise InputError("is read from a folder <split>/<class>/*.jpg or a pack of one, and none was given")
        listing = listing_of(folder)
        present = _folders(listing(""))
        wanted = tuple(splits) or self._own_splits(present)
        problems = [
            f"{folder / name}: no such folder, expected one with the split '{name}'"
            for name in wanted
            if name not in present
        ]
        if problems:
            raise ProblemsError(problems)
        classes = self.class_names() or tuple(sorted(_folders(listing(wanted[0]))))
        lister = _Lister(folder, listing, classes)
        found = {split: lister.split(split) for split in wanted}
        if lister.problems:
            raise ProblemsError(lister.problems)
        return Index(class_names=classes, splits=found, content=f"image_folder {self.version}")

    def split(self, index: Index, folder: Path | None, name: str, resolution: int) -> Split:
        """Open one split; files are decoded when they are read."""
        if folder is None:
            raise StageError(f"split '{name}': no folder is known for this dataset; add it under [data] in the profile")
        if name not in index.splits:
            raise StageError(f"{folder}: no split '{name}' in its index, only {sorted(index.splits)}")
        return FolderSplit(index.splits[name], folder, resolution)

    def watched(self, folder: Path, splits: Sequence[str] = ()) -> list[Path]:
        """The folder, its splits and their class folders, which a file that comes or goes changes; or the pack."""
        if not folder.is_dir():
            return [folder]
        listing = listing_of(folder)
        wanted = tuple(splits) or self._own_splits(_folders(listing("")))
        classes = [folder / split / name for split in wanted for name in sorted(_folders(listing(split)))]
        return [folder, *(folder / split for split in wanted), *classes]

    def _own_splits(self, present: set[str]) -> tuple[str, ...]:
        if self.INFO is not None:
            return (self.INFO.train_split, self.INFO.test_split)
        tests = tuple(s for s in _TEST_SPLITS if s in present)
        return ("train", *(tests or _TEST_SPLITS[:1]))


class FolderSplit(Split):
    """Lazily decoded files; a split that fits into 1 GiB is decoded once and kept."""

    def __init__(self, files: SplitIndex, folder: Path, resolution: int) -> None:
        import numpy as np

        self.labels_N = np.asarray(files.labels, dtype=np.int64)
        self.resolution = resolution
        self._files = files_of(files, folder)
        self._scratch = Scratch()
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
        return pixels(self._files.read(position), self._files.where(position))

    def glimpse(self, position: int) -> NDArray[np.uint8]:
        """One image (h, w, 3) in memory that this thread uses again: fresh pages cost a tenth of the time."""
        return pixels(self._files.read(position), self._files.where(position), self._scratch)

    def encoded(self, position: int) -> bytes:
        """The file's bytes."""
        return self._files.read(position)

    def digest(self, position: int) -> str:
        """Of the file's bytes, as `sha256sum` prints it."""
        return f"sha256:{keys.sha256_bytes(self.encoded(position))}"

    def fault(self, position: int) -> str:
        """Path and damage, also what Pillow passes over and a strict decoder does not, such as lost bytes."""
        where, passed_over = self._files.where(position), ""
        try:
            data = self._files.read(position)
            if _turbo_pixels(data, self._scratch) is not None:
                return ""
        except StageError as error:
            return str(error)
        except ValueError as error:
            passed_over = str(error) if data.startswith(_JPEG) else ""
        try:
            _pillow_pixels(data, where)
        except StageError as error:
            return str(error)
        return f"{where}: damaged, though it decodes ({passed_over})" if passed_over else ""

    def _squared(self, position: int) -> NDArray[np.uint8]:
        import numpy as np
        from PIL import Image

        return np.asarray(square(Image.fromarray(self.glimpse(position)), self.resolution))


class Scratch(threading.local):
    """Memory to decode into, one piece per thread."""

    held: NDArray[np.uint8] | None = None

    def of(self, count: int) -> NDArray[np.uint8]:
        """At least `count` bytes, with whatever was in them."""
        import numpy as np

        if self.held is None or len(self.held) < count:
            self.held = np.empty(count, dtype=np.uint8)
        return self.held


def pixels(data: bytes, where: str, scratch: Scratch | None = None) -> NDArray[np.uint8]:
    """An image file's pixels (h, w, 3) RGB as Pillow decodes them; raises StageError with its path.

    With `scratch` they may lie in it.
    """
    try:
        image_HWC = _turbo_pixels(data, scratch)
    except ValueError:  # not a JPEG, or a damaged one: Pillow decides which, and says why
        image_HWC = None
    return image_HWC if image_HWC is not None else _pillow_pixels(data, where)


def _turbo_pixels(data: bytes, scratch: Scratch | None) -> NDArray[np.uint8] | None:
    """A colour JPEG's pixels, by the same libjpeg-turbo arithmetic as Pillow's without its detour over an object.

    None for another JPEG; raises ValueError for what is none, or is damaged in any way.
    """
    import simplejpeg

    height, width, colours, _ = simplejpeg.decode_jpeg_header(data)
    if colours != "YCbCr":
        return None
    buffer = scratch.of(height * width * 3) if scratch is not None else None
    image_HWC: NDArray[np.uint8] = simplejpeg.decode_jpeg(data, "RGB", buffer=buffer, strict=True)
    return image_HWC


def _pillow_pixels(data: bytes, where: str) -> NDArray[np.uint8]:
    import io
    import struct

    import numpy as np
    from PIL import Image

    try:
        with Image.open(io.BytesIO(data)) as image:
            if image.mode.startswith(("I", "F")):
                raise StageError(f"{where}: more than 8 bits per channel ({image.mode}), expected an 8-bit image")
            rgb = image.convert("RGBA").convert("RGB") if image.mode == "P" else image.convert("RGB")
    except (OSError, SyntaxError, ValueError, EOFError, struct.error, Image.DecompressionBombError) as error:
        raise StageError(f"{where}: not a readable image ({error})") from error
    return np.array(rgb)  # a copy: Pillow's own view is read-only


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


def _folders(entries: list[Entry]) -> set[str]:
    return {entry.name for entry in entries if entry.kind == "folder"}


class _Lister:
    """Lists splits and notes all that is missing or too much."""

    def __init__(self, folder: Path, listing: Listing, classes: tuple[str, ...]) -> None:
        self.problems: list[str] = []
        self._folder = folder
        self._listing = listing
        self._classes = classes

    def split(self, split: str) -> SplitIndex:
        """One split's files by path."""
        entries = self._listing(split)
        present = _folders(entries)
        where = self._folder / split
        self.problems += _report(where, "lacks the class folder", sorted(set(self._classes) - present))
        extra = sorted(present - set(self._classes))
        self.problems += _report(where, "has a class folder that is not in the class list:", extra)
        stray = sorted(entry.name for entry in entries if entry.kind != "folder")
        self.problems += _report(where, "has something that is not a class folder:", stray)
        labelled = [(f"{split}/{name}", label) for label, name in enumerate(self._classes) if name in present]
        rows: list[tuple[str, int, int]] = []
        with ThreadPoolExecutor(_LISTERS) as pool:
            listed = pool.map(self._listing, (below for below, _ in labelled))
            for (below, label), found in zip(labelled, listed, strict=True):
                rows += self._class(below, label, found)
        rows.sort()
        paths, labels, sizes = zip(*rows, strict=True) if rows else ((), (), ())
        return SplitIndex(paths=paths, labels=labels, sizes=sizes)

    def _class(self, below: str, label: int, entries: list[Entry]) -> list[tuple[str, int, int]]:
        images, stray = [], []
        for entry in entries:
            is_image = os.path.splitext(entry.name)[1].lower() in SUFFIXES  # noqa: PTH122 - a million names
            if is_image and entry.kind == "file" and _is_text(entry.name):
                images.append(entry)
            else:
                stray.append(entry.name)
        empty = sorted(entry.name for entry in images if entry.size == 0)
        where = self._folder / below
        self.problems += _report(where, "has something that is not an image file:", sorted(stray))
        self.problems += _report(where, "has an empty file:", empty)
        if not images:
            suffixes = " ".join(sorted(SUFFIXES))
            self.problems.append(f"{where}: no image in it, expected files ending in {suffixes}")
        return [(f"{below}/{entry.name}", label, entry.size) for entry in images]


def _is_text(name: str) -> bool:
    """Whether a file name is valid UTF-8 (the index is JSON)."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


def _report(folder: Path, what: str, names: list[str]) -> list[str]:
    """One line for all names, the first few of them shown; none for none."""
    return [f"{folder}: {what} {first_few([repr(name) for name in names], _SHOWN)}"] if names else []


PLUGIN = ImageFolder(None)
