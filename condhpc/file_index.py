"""The index of a dataset: every file of every split under its label. Its digest is part of every key."""

from __future__ import annotations

from condhpc import keys
from condhpc.spec import Value


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
