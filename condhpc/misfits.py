"""What is wrong with a condensed set made elsewhere, in words. Shapes: N images, R × R pixels, K classes."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from condhpc.errors import first_few

if TYPE_CHECKING:
    from numpy.typing import NDArray

SHOWN = 5
_SUM_TOLERANCE = 1e-2


class Wanted(NamedTuple):
    """What the set has to be."""

    class_names: Sequence[str]
    ipc: int
    resolution: int


class Content(NamedTuple):
    """A set as it was found, in its own order."""

    images_NHWC: NDArray[np.uint8]
    labels_N: NDArray[np.int64]
    source_N: NDArray[np.int64] | None
    soft_NK: NDArray[np.floating] | None


def misfits(content: Content, wanted: Wanted) -> Iterator[str]:
    """Sizes, labels, counts and soft labels that are not as wanted."""
    side, classes = wanted.resolution, len(wanted.class_names)
    if content.images_NHWC.shape[1:] != (side, side, 3):
        found = height, width, channels = content.images_NHWC.shape[1:]
        hint = f"; write resolution = {height} if that is meant" if (height, channels) == (width, 3) else ""
        yield f"images are {found}, expected {(side, side, 3)}{hint}"
    outside = sorted({int(label) for label in content.labels_N if not 0 <= label < classes})
    yield from listed(f"has labels outside 0..{classes - 1}", list(map(str, outside)))
    counts = Counter(content.labels_N.tolist())
    wrong = [f"'{name}' ({counts[i]})" for i, name in enumerate(wanted.class_names) if counts[i] != wanted.ipc]
    yield from listed(f"expected {wanted.ipc} images of each class (`ipc`), other counts", wrong)
    if content.soft_NK is not None:
        yield from _of_soft_labels(content.soft_NK, len(content.labels_N), classes)


def _of_soft_labels(soft_NK: NDArray[np.floating], count: int, classes: int) -> Iterator[str]:
    if soft_NK.dtype.kind != "f" or soft_NK.shape != (count, classes):
        yield f"soft labels are {kind_of(soft_NK)}, expected floats {(count, classes)}"
        return
    rows_NK = soft_NK.astype(np.float64)
    if not np.isfinite(rows_NK).all() or (rows_NK < 0).any():
        yield "soft labels hold negative or infinite numbers or NaN, expected probabilities (not logits)"
        return
    off = np.abs(rows_NK.sum(axis=1) - 1.0)
    if count and off.max() > _SUM_TOLERANCE:
        row = int(off.argmax())
        yield f"soft labels of image {row} sum to {rows_NK[row].sum():.3f}, expected probabilities that sum to 1"


def kind_of(array: NDArray[np.generic] | None) -> str:
    """Type and shape of an array that may be missing."""
    return "missing" if array is None else f"{array.dtype} {array.shape}"


def listed(what: str, names: Sequence[str]) -> list[str]:
    """One problem that names the first few, or none."""
    return [f"{what}: {first_few(names, SHOWN)}"] if names else []
