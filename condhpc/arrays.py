"""HDF5, and only here: condensed sets, embeddings and model weights, verified on every read.

Files are written once under a fresh temporary name and published by rename (`store`); readers open "r".
`libver` is capped at 1.10's features, so that the HDF5 of older modules can read what we publish.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from condhpc.errors import CorruptArtefactError

SCHEMA = 1
_LIBVER = ("earliest", "v110")
_CHUNK_BYTES = 1 << 20

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class CondensedSet:
    """N labelled images. Real ones carry their position in the training split."""

    images_NHWC: NDArray[np.uint8]
    labels_N: NDArray[np.int64]
    source_index_N: NDArray[np.int64] | None = None
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class Embeddings:
    """Feature vectors of a split; row i belongs to source index i."""

    vectors_ND: NDArray[np.floating[Any]]
    labels_N: NDArray[np.int64]
    attributes: Attributes = field(default_factory=dict)


@dataclass(frozen=True)
class ArrayFile:
    """Named arrays with attributes: model weights, training dynamics."""

    arrays: Mapping[str, NDArray[Any]]
    attributes: Attributes = field(default_factory=dict)


def write_condensed_set(path: Path, condensed: CondensedSet) -> None:
    """Write `images` (N,H,W,C) uint8, `labels`, and `source_index` where known, and read it back.

    Refuses an existing path; raises CorruptArtefactError for arrays of another kind.
    """
    arrays: dict[str, NDArray[Any]] = {"images": condensed.images_NHWC, "labels": condensed.labels_N}
    if condensed.source_index_N is not None:
        arrays["source_index"] = condensed.source_index_N
    write(path, "condensed_set", ArrayFile(arrays, condensed.attributes))
    read_condensed_set(path)


def read_condensed_set(path: Path) -> CondensedSet:
    """Read and check a condensed set; raises CorruptArtefactError."""
    held = read(path, "condensed_set")
    images = _require(path, held, "images", np.uint8, 4)
    labels = _require(path, held, "labels", np.int64, 1)
    if len(images) != len(labels):
        raise CorruptArtefactError(f"{path}: {len(images)} images but {len(labels)} labels")
    source = _require(path, held, "source_index", np.int64, 1) if "source_index" in held.arrays else None
    if source is not None and len(source) != len(labels):
        raise CorruptArtefactError(f"{path}: {len(source)} source indices but {len(labels)} labels")
    return CondensedSet(images, labels, source, held.attributes)


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write `vectors` (N,D) and `labels`, and read them back; the row is the source index. Refuses an existing path."""
    arrays = {"vectors": embeddings.vectors_ND, "labels": embeddings.labels_N}
    write(path, "embeddings", ArrayFile(arrays, embeddings.attributes))
    read_embeddings(path)


def read_embeddings(path: Path) -> Embeddings:
    """Read and check embeddings; raises CorruptArtefactError."""
    held = read(path, "embeddings")
    vectors = held.arrays.get("vectors")
    if vectors is None or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise CorruptArtefactError(f"{path}: 'vectors' is missing or not a float matrix; `condhpc retry` checks it")
    labels = _require(path, held, "labels", np.int64, 1)
    if len(vectors) != len(labels):
        raise CorruptArtefactError(f"{path}: {len(vectors)} vectors but {len(labels)} labels")
    return Embeddings(vectors, labels, held.attributes)


def write(path: Path, kind: str, content: ArrayFile) -> None:
    """Write named arrays, checksummed (fletcher32) and chunked near 1 MiB; mode "x", never "w"."""
    with h5py.File(path, "x", libver=_LIBVER) as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["kind"] = kind
        for name, value in content.attributes.items():
            file.attrs[name] = value
        for name, array in content.arrays.items():
            _write_array(file, name, np.ascontiguousarray(array))


def read(path: Path, kind: str) -> ArrayFile:
    """Read all arrays of a file of that kind; raises CorruptArtefactError for anything else."""
    try:
        with h5py.File(path, "r") as file:
            found = (file.attrs.get("kind"), file.attrs.get("schema"))
            if found != (kind, SCHEMA):
                raise CorruptArtefactError(
                    f"{path}: holds {found[0]} schema {found[1]}, expected {kind} schema {SCHEMA}"
                )
            arrays = {name: file[name][()] for name in _dataset_names(file)}
            return ArrayFile(arrays, {k: v for k, v in file.attrs.items() if k not in {"kind", "schema"}})
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # what h5py makes of broken bytes
        raise CorruptArtefactError(f"{path}: not a readable HDF5 file ({error}); it will not be used") from error


def _write_array(file: h5py.File, name: str, array: NDArray[Any]) -> None:
    if array.ndim == 0 or array.size == 0:
        file.create_dataset(name, data=array)  # scalar and empty datasets cannot be chunked
        return
    row_bytes = max(1, array.nbytes // len(array))
    rows = min(len(array), max(1, _CHUNK_BYTES // row_bytes))
    file.create_dataset(name, data=array, chunks=(rows, *array.shape[1:]), fletcher32=True)


def _dataset_names(file: h5py.File) -> list[str]:
    found: list[str] = []
    file.visititems(lambda name, item: found.append(name) if isinstance(item, h5py.Dataset) else None)
    return found


def _require(path: Path, held: ArrayFile, name: str, dtype: type, ndim: int) -> NDArray[Any]:
    array = held.arrays.get(name)
    if array is None or array.dtype != dtype or array.ndim != ndim:
        found = "missing" if array is None else f"{array.dtype} of {array.ndim} dimensions"
        raise CorruptArtefactError(f"{path}: '{name}' is {found}, expected {np.dtype(dtype)} of {ndim}")
    return array
