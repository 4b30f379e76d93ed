"""What a dataset plug-in is: its facts, an index of its files, and images by position."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar

from condhpc import keys
from condhpc.errors import StageError
from condhpc.file_index import Index, SplitIndex
from condhpc.spec import DatasetInfo

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

__all__ = ["Dataset", "Index", "Split", "SplitIndex"]


class Split(ABC):
    """Random access to the decoded images of one split, square and RGB. Several threads may read at a time."""

    labels_N: NDArray[np.int64]
    resolution: int

    def __len__(self) -> int:
        return len(self.labels_N)

    @abstractmethod
    def read(self, positions_n: NDArray[np.int64]) -> NDArray[np.uint8]:
        """Images (n, H, W, 3) uint8 at the dataset's resolution, in the order asked for."""

    @abstractmethod
    def raw(self, position: int) -> NDArray[np.uint8]:
        """One image (h, w, 3) uint8 as stored, before any resizing; the caller may write into it."""

    def glimpse(self, position: int) -> NDArray[np.uint8]:
        """As `raw`, for a look: the pixels may be gone with this thread's next glimpse."""
        return self.raw(position)

    def fault(self, position: int) -> str:
        """Where and how an image is damaged, also one that decodes all the same; empty where it is sound."""
        try:
            self.raw(position)
        except StageError as error:
            return str(error)
        return ""

    def encoded(self, position: int) -> bytes:
        """The image's file as it stands. Raises StageError where images are not files of their own."""
        raise StageError(f"image {position} is not a file of its own; only datasets of image files can be packed")

    def digest(self, position: int) -> str:
        """SHA-256 of an image, after what it is of: `pixels-sha256:`, of (h, w, 3) as stored; of a file `sha256:`."""
        return f"pixels-sha256:{keys.sha256_bytes(self.raw(position).tobytes())}"

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
        """List the files (login node, no torch). `folder` is None for data that ships in a package.

        `splits` names the splits to list, the training split first; empty: the dataset's own.
        Raises InputError naming the folder and what is missing or too much.
        """

    @abstractmethod
    def split(self, index: Index, folder: Path | None, name: str, resolution: int) -> Split:
        """Open one split. Raises StageError naming a file that is missing, of another size or not an image."""

    def class_names(self) -> tuple[str, ...]:
        """Classes in label order where the plug-in itself fixes them; empty: the files decide."""
        return ()

    def watched(self, folder: Path, splits: Sequence[str] = ()) -> list[Path]:
        """Folders and files that all look as before while `index` would find the same; none: always list anew."""
        del folder, splits
        return []

    def remarks(self, index: Index) -> tuple[str, ...]:
        """What one should know about these files before computing with them; said by `plan`, `doctor` and `data`."""
        del index
        return ()
