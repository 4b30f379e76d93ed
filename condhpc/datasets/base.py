"""What a dataset plug-in is: its facts, an index of its files, and images by position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from condhpc import keys
from condhpc.spec import DatasetInfo, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class SplitIndex(Value, frozen=True):
    """The files of one split. Position in these tuples is the image's source index."""

    paths: tuple[str, ...]
    """Relative to the dataset's folder, POSIX."""
    labels: tuple[int, ...]
    sizes: tuple[int, ...]
    """File sizes in bytes, compared when a file is read."""


class Index(Value, frozen=True):
    """All splits of a dataset and its label map, as found on disk once and kept in the store."""

    class_names: tuple[str, ...]
    """Label order. From the preset's or manifest's list, never from the order of a listing alone."""
    splits: dict[str, SplitIndex]
    content: str = ""
    """What else decides the images: the loader and its version, a digest of bytes that sizes do not tell apart."""

    def digest(self) -> str:
        """Digest of everything above; part of every key that touches the dataset."""
        return keys.digest(keys.encode(self))


class Split(ABC):
    """Random access to the decoded images of one split, square and RGB."""

    labels_N: NDArray[np.int64]
    resolution: int

    def __len__(self) -> int:
        return len(self.labels_N)

    @abstractmethod
    def read(self, positions_n: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images (n, H, W, 3) uint8 at the dataset's resolution, in the order asked for."""

    @abstractmethod
    def raw(self, position: int) -> NDArray[np.uint8]:
        """One image (h, w, 3) uint8 as stored, before any resizing."""

    def of_class(self, label: int) -> NDArray[np.int64]:
        """Ascending positions of one class."""
        import numpy as np

        return np.flatnonzero(self.labels_N == label)


class Dataset(ABC):
    """A dataset plug-in."""

    version: ClassVar[int] = 1
    """Bumped whenever the same files give other images; enters every key through `Index.content`."""
    INFO: DatasetInfo | None
    """Facts known without the files; None for a loader that needs a `[datasets.<name>]` block."""

    @abstractmethod
    def index(self, folder: Path | None, splits: Sequence[str] = ()) -> Index:
        """List the files (login node, no torch, no numpy). `folder` is None for data that ships in a package.

        `splits` names the splits to list, the training split first; empty: the dataset's own.
        Raises InputError naming the folder and what is missing or too much.
        """

    @abstractmethod
    def split(self, index: Index, folder: Path | None, name: str, resolution: int) -> Split:
        """Open one split. Raises StageError naming a file that is missing, of another size or not an image."""
