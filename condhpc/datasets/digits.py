"""The UCI handwritten digits that scikit-learn carries: 1,797 images of 8×8 pixels, read from its package's file.

Alpaydin and Kaynak, Optical Recognition of Handwritten Digits, UCI 1998 (its test part). Grey values 0..16
become uint8 on three equal channels. Within each class, in file order, every fifth image (the 5th, 10th, …)
is test data, the rest is training data.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from condhpc import keys
from condhpc.datasets.base import Dataset, Index, Split, SplitIndex
from condhpc.errors import InputError, StageError
from condhpc.spec import DatasetInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

FILE = "digits.csv.gz"
SIDE_PX = 8
INFO = DatasetInfo(
    classes=10,
    train_class_sizes=(143, 146, 142, 147, 145, 146, 145, 144, 140, 144),
    resolution=SIDE_PX,
    mean=(0.3052, 0.3052, 0.3052),
    std=(0.3760, 0.3760, 0.3760),
    mirror=False,
    crop_scale_min=0.6,
    epochs=300,
    full_epochs=100,
)
_GREY_MAX = 16
_TEST_EVERY = 5


class Digits(Dataset):
    """The packaged digits; needs no folder, and scikit-learn only as the file's carrier (it is not imported)."""

    INFO = INFO

    def index(self, folder: Path | None, splits: Sequence[str] = ()) -> Index:
        """Synthetic paths `digits.csv.gz#<row>`; raises InputError without scikit-learn or for other splits."""
        del folder
        unknown = sorted(set(splits) - {INFO.train_split, INFO.test_split})
        if unknown:
            raise InputError(f"digits has no split {unknown}, only '{INFO.train_split}' and '{INFO.test_split}'")
        data = csv_bytes()
        labels = [int(line.rpartition(b",")[2]) for line in data.splitlines()]
        rows_of: dict[str, list[int]] = {INFO.train_split: [], INFO.test_split: []}
        seen = [0] * INFO.classes
        for row, label in enumerate(labels):
            seen[label] += 1
            rows_of[INFO.test_split if seen[label] % _TEST_EVERY == 0 else INFO.train_split].append(row)
        found = {name: _split_index(rows, labels) for name, rows in rows_of.items()}
        names = tuple(str(digit) for digit in range(INFO.classes))
        return Index(class_names=names, splits=found, content=self._content(data))

    def split(self, index: Index, folder: Path | None, name: str, resolution: int) -> Split:
        """Open one split; raises StageError where the installed file is not the indexed one."""
        del folder
        if name not in index.splits:
            raise StageError(f"digits has no split '{name}', only {sorted(index.splits)}")
        if resolution != SIDE_PX:
            raise StageError(f"digits are {SIDE_PX}×{SIDE_PX} pixels, asked for {resolution}")
        data = csv_bytes()
        if self._content(data) != index.content:
            raise StageError(
                f"scikit-learn's {FILE} is not the file that was indexed; install the same version here and on the "
                "login node, or submit again"
            )
        return DigitsSplit(index.splits[name], data)

    def _content(self, data: bytes) -> str:
        return f"digits {self.version} {keys.digest(data)}"


class DigitsSplit(Split):
    """All images of one split, in memory."""

    def __init__(self, files: SplitIndex, data: bytes) -> None:
        import numpy as np

        rows_N = [int(path.rpartition("#")[2]) for path in files.paths]
        table = np.loadtxt(data.decode("ascii").splitlines(), delimiter=",", dtype=np.float64, ndmin=2)
        grey_N88 = np.round(table[rows_N, :-1] * 255 / _GREY_MAX).astype(np.uint8).reshape(-1, SIDE_PX, SIDE_PX, 1)
        self.labels_N = np.asarray(files.labels, dtype=np.int64)
        self.resolution = SIDE_PX
        self._images_NHWC = np.repeat(grey_N88, 3, axis=3)

    def read(self, positions_n: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images (n, 8, 8, 3)."""
        return self._images_NHWC[positions_n]

    def raw(self, position: int) -> NDArray[np.uint8]:
        """One image (8, 8, 3)."""
        image_HWC: NDArray[np.uint8] = self._images_NHWC[position].copy()
        return image_HWC


@cache
def csv_bytes() -> bytes:
    """The decompressed CSV: 64 grey values and the label per line. Raises InputError without scikit-learn."""
    import gzip
    import importlib.util

    package = importlib.util.find_spec("sklearn")
    folders = package.submodule_search_locations if package is not None else None
    if not folders:
        raise InputError("digits needs the file that scikit-learn carries; install it: pip install 'condhpc[digits]'")
    path = Path(folders[0]) / "datasets" / "data" / FILE
    try:
        return gzip.decompress(path.read_bytes())
    except (OSError, EOFError) as error:
        raise InputError(f"{path}: cannot be read ({error}); reinstall scikit-learn") from error


def _split_index(rows: list[int], labels: list[int]) -> SplitIndex:
    return SplitIndex(
        paths=tuple(f"{FILE}#{row}" for row in rows),
        labels=tuple(labels[row] for row in rows),
        sizes=(SIDE_PX * SIDE_PX,) * len(rows),
    )


PLUGIN = Digits()
