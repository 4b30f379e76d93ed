"""Arrays that can be computed again, kept under the root by what they are; to be deleted at any time.

A file is NumPy's own format with a digest of all bytes before it at the end. What is torn or damaged is computed again.
Two who compute the same array at a time write the same bytes under one name.
"""

from __future__ import annotations

import io
import sys
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from condhpc import files, keys

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from condhpc.layout import Layout

_FORMAT = 2
"""Raised with the numbers of what computations share: `neighbours`, `kernels`, `gaussians`."""


class Kept:
    """Arrays that depend on some recorded tasks alone."""

    def __init__(self, layout: Layout, inputs: Mapping[str, str]) -> None:
        """`inputs`: role to key of the embeddings."""
        self._layout, self._inputs = layout, dict(inputs)

    def __call__(self, name: str, compute: Callable[[], NDArray[np.float64]]) -> NDArray[np.float64]:
        """The array of that name, which says what it is with all parameters; computed where it is not there.

        What another file computes under the name, or this one before it was changed, is another array.
        """
        path = self._layout.cached(keys.digest(keys.encode([_FORMAT, self._inputs, name, *_code(compute)])))
        held = _read(path)
        if held is None:
            held = np.ascontiguousarray(compute(), dtype=np.float64)
            path.parent.mkdir(parents=True, exist_ok=True)
            files.replace(path, _encoded(held))
        return held


def _code(compute: Callable[..., object]) -> tuple[str, str]:
    """Where a function is defined, and the digest of that file: two plug-ins may use one name, and plug-ins change."""
    module = getattr(compute, "func", compute).__module__  # of a partial what it calls
    return module, _file_digest(module)


@cache
def _file_digest(module: str) -> str:
    file = getattr(sys.modules.get(module), "__file__", None)
    return keys.digest(Path(file).read_bytes()) if file is not None else ""


def _encoded(array: NDArray[np.float64]) -> bytes:
    content = io.BytesIO()
    np.save(content, array, allow_pickle=False)
    return content.getvalue() + keys.digest(content.getvalue()).encode()


def _read(path: Path) -> NDArray[np.float64] | None:
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        return None
    content, held = data[:-32], data[-32:]
    if keys.digest(content).encode() != held:
        return None
    array: NDArray[np.float64] = np.load(io.BytesIO(content), allow_pickle=False)
    return array
