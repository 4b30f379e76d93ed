"""HDF5, at home here, in `label_files` and in `packs`: condensed sets, embeddings, weights; verified on every read.

Files are written once under a fresh temporary name and published by rename (`store`); readers open "r".
`libver` is capped at 1.10's features, so that the HDF5 of older modules can read what we publish.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from numpy.typing import NDArray

from condhpc.errors import CorruptArtefactError
from condhpc.joined_rows import JoinedRows

SCHEMA = 1
LIBVER = ("earliest", "v110")
CHUNK_BYTES = 1 << 20
_DYNAMICS = "dynamics/"
_SCORES = "scores/"

Attributes = Mapping[str, Any]


@dataclass(frozen=True)
class CondensedSet:
    """N labelled images. Real ones carry their position in the training split."""

    images_NHWC: NDArray[np.uint8]
    labels_N: NDArray[np.int64]
    source_index_N: NDArray[np.int64] | None = None
    attributes: Attributes = field(default_factory=dict)
    soft_labels_NK: NDArray[np.float16] | None = None
    """Probabilities that came with a set made elsewhere."""
    listing: tuple[str, ...] | None = None
    """Of real images a line each, that leads back to its file (see `condhpc.image_list`)."""


@dataclass(frozen=True)
class Embeddings:
    """Feature vectors of a split; row i belongs to source index i."""

    vectors_ND: NDArray[np.floating[Any]] | JoinedRows
    """As read from files: mapped, not in memory, and not to be written to."""
    labels_N: NDArray[np.int64]
    attributes: Attributes = field(default_factory=dict)
    scores: Mapping[str, NDArray[np.float32]] = field(default_factory=dict)
    """What the encoder makes of each image, (N,) by name (see `condhpc.scores`); none where it has no classes."""

    def rows(self, positions_n: NDArray[np.int64]) -> NDArray[np.floating[Any]]:
        """Vectors (n, D) of some positions: without a copy where these follow each other within a file."""
        if len(positions_n) and bool((np.diff(positions_n) == 1).all()):
            return self.vectors_ND[int(positions_n[0]) : int(positions_n[-1]) + 1]
        return self.vectors_ND[positions_n]


@dataclass(frozen=True)
class ArrayFile:
    """Named arrays with attributes: model weights, training dynamics."""

    arrays: Mapping[str, NDArray[Any]]
    attributes: Attributes = field(default_factory=dict)


def write_condensed_set(path: Path, condensed: CondensedSet) -> None:
    """Write `images` (N,H,W,C) uint8, `labels`; `source_index`, `listing`, `soft_labels` (N,K) where known; read back.

    Refuses an existing path; raises CorruptArtefactError for arrays of another kind.
    """
    arrays: dict[str, NDArray[Any]] = {"images": condensed.images_NHWC, "labels": condensed.labels_N}
    if condensed.source_index_N is not None:
        arrays["source_index"] = condensed.source_index_N
    if condensed.soft_labels_NK is not None:
        arrays["soft_labels"] = condensed.soft_labels_NK
    if condensed.listing is not None:
        arrays["listing"] = np.array([line.encode() for line in condensed.listing], dtype=np.bytes_)
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
    soft = _require(path, held, "soft_labels", np.float16, 2) if "soft_labels" in held.arrays else None
    if soft is not None and len(soft) != len(labels):
        raise CorruptArtefactError(f"{path}: {len(soft)} soft labels but {len(labels)} labels")
    return CondensedSet(images, labels, source, held.attributes, soft, _listing(held))


def read_listing(path: Path) -> tuple[tuple[str, ...] | None, Attributes]:
    """Lines of the real images that a condensed set holds, None where they are not real, and the set's attributes.

    Raises CorruptArtefactError for anything but a condensed set.
    """
    held = read(path, "condensed_set", but="images")
    return _listing(held), held.attributes


def read_set_labels(path: Path) -> tuple[NDArray[np.int64], Attributes]:
    """Labels (N,) and attributes of a condensed set, of which nothing else is read; raises CorruptArtefactError."""
    held = _read_only(path, "labels", None)
    return _require(path, held, "labels", np.int64, 1), held.attributes


def read_set_images(path: Path, positions_n: NDArray[np.int64]) -> NDArray[np.uint8]:
    """Some images (n, R, R, 3) of a condensed set, by ascending positions; raises CorruptArtefactError."""
    return _require(path, _read_only(path, "images", positions_n), "images", np.uint8, 4)


def _read_only(path: Path, name: str, rows_n: NDArray[np.int64] | None) -> ArrayFile:
    """One array of a condensed set, or some rows of it."""
    try:
        with h5py.File(path, "r") as file:
            if file.attrs.get("kind") != "condensed_set":
                raise CorruptArtefactError(f"{path}: holds {file.attrs.get('kind')}, expected condensed_set")
            return ArrayFile({name: file[name][() if rows_n is None else rows_n]}, dict(file.attrs))
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CorruptArtefactError(f"{path}: '{name}' cannot be read ({error}); it will not be used") from error


def _listing(held: ArrayFile) -> tuple[str, ...] | None:
    lines = held.arrays.get("listing")
    return None if lines is None else tuple(line.decode(errors="replace") for line in lines.tolist())


def write_embeddings(path: Path, embeddings: Embeddings) -> None:
    """Write `vectors` (N,D), `labels` and `scores/<name>` (N), and read them back. Refuses an existing path.

    Vectors lie in one piece at one place, so that readers can map them; the record's SHA-256 guards their bytes.
    """
    arrays: dict[str, NDArray[Any]] = {"labels": embeddings.labels_N}
    arrays |= {f"{_SCORES}{name}": score_N for name, score_N in embeddings.scores.items()}
    write(path, "embeddings", ArrayFile(arrays, embeddings.attributes))
    with h5py.File(path, "r+", libver=LIBVER) as file:
        file.create_dataset("vectors", data=embeddings.vectors_ND)
    read_embeddings(path)


def read_embeddings(path: Path) -> Embeddings:
    """Map and check embeddings; raises CorruptArtefactError."""
    held = read(path, "embeddings", but="vectors")
    vectors = _mapped(path, "vectors")
    if vectors is None or vectors.ndim != 2 or vectors.dtype.kind != "f":
        raise CorruptArtefactError(f"{path}: 'vectors' is missing or not a float matrix; `condhpc retry` checks it")
    labels = _require(path, held, "labels", np.int64, 1)
    scores = {
        name.removeprefix(_SCORES): _require(path, held, name, np.float32, 1)
        for name in held.arrays
        if name.startswith(_SCORES)
    }
    for what, column in (("labels", labels), *scores.items()):
        if len(vectors) != len(column):
            raise CorruptArtefactError(f"{path}: {len(vectors)} vectors but {len(column)} {what}")
    return Embeddings(vectors, labels, held.attributes, scores)


def joined(parts: Sequence[Embeddings]) -> Embeddings:
    """Embeddings of the parts of a split, in their order, as one; raises CorruptArtefactError where they differ."""
    if len(parts) == 1:
        return parts[0]
    kinds = {(part.vectors_ND.shape[1], str(part.vectors_ND.dtype), tuple(sorted(part.scores))) for part in parts}
    if len(kinds) > 1:
        raise CorruptArtefactError(f"parts of an embedding differ: {sorted(kinds)}; `condhpc retry` checks them")
    return Embeddings(
        JoinedRows([part.vectors_ND[:] for part in parts]),
        np.concatenate([part.labels_N for part in parts]),
        parts[0].attributes,
        {name: np.concatenate([part.scores[name] for part in parts]) for name in parts[0].scores},
    )


def _mapped(path: Path, name: str) -> NDArray[Any] | None:
    """An array of a file, mapped read-only where it lies in one piece, else read; None where there is none."""
    try:
        with h5py.File(path, "r") as file:
            found = file.get(name)
            if not isinstance(found, h5py.Dataset):
                return None
            offset, shape, dtype = found.id.get_offset(), found.shape, found.dtype
            if offset is None or not found.size or found.chunks is not None or found.external:
                return found[()]  # type: ignore[no-any-return]
        return np.memmap(path, dtype, "r", offset, shape)
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:
        raise CorruptArtefactError(f"{path}: '{name}' cannot be read ({error}); it will not be used") from error


def read_dynamics(path: Path, names: Sequence[str]) -> dict[str, NDArray[Any]]:
    """Of a teacher's training those of `margin`, `correct` and `el2n` that are named, (epochs, N) each, nothing else.

    Raises CorruptArtefactError where one is missing or of another kind.
    """
    held = read_any(path, [f"{_DYNAMICS}{name}" for name in names]).arrays
    found = {name: held.get(f"{_DYNAMICS}{name}") for name in names}
    shapes = {array.shape for array in found.values() if array is not None}
    for name, array in found.items():
        if array is None or array.ndim != 2 or array.dtype.kind not in "fb" or len(shapes) > 1:
            what = "missing" if array is None else f"{array.dtype} {array.shape}"
            raise CorruptArtefactError(
                f"{path}: '{_DYNAMICS}{name}' is {what}, expected (epochs, images) like the others"
            )
    return {name: array for name, array in found.items() if array is not None}


def write(path: Path, kind: str, content: ArrayFile) -> None:
    """Write named arrays, checksummed (fletcher32) and chunked near 1 MiB; mode "x", never "w"."""
    with h5py.File(path, "x", libver=LIBVER) as file:
        file.attrs["schema"] = SCHEMA
        file.attrs["kind"] = kind
        for name, value in content.attributes.items():
            file.attrs[name] = value
        for name, array in content.arrays.items():
            _write_array(file, name, np.ascontiguousarray(array))


def read(path: Path, kind: str, but: str = "") -> ArrayFile:
    """Read all arrays of a file of that kind, `but` one; raises CorruptArtefactError for anything else."""
    try:
        with h5py.File(path, "r") as file:
            found = (file.attrs.get("kind"), file.attrs.get("schema"))
            if found != (kind, SCHEMA):
                raise CorruptArtefactError(
                    f"{path}: holds {found[0]} schema {found[1]}, expected {kind} schema {SCHEMA}"
                )
            arrays = {name: file[name][()] for name in _dataset_names(file) if name != but}
            return ArrayFile(arrays, {k: v for k, v in file.attrs.items() if k not in {"kind", "schema"}})
    except (OSError, KeyError, RuntimeError, TypeError, ValueError) as error:  # what h5py makes of broken bytes
        raise CorruptArtefactError(f"{path}: not a readable HDF5 file ({error}); it will not be used") from error


def read_any(path: Path, names: Sequence[str]) -> ArrayFile:
    """Read those of the named arrays that an HDF5 of others has, in this very file, for its digest covers no other.

    What is behind an external link counts as missing; raises CorruptArtefactError for values kept in another file.
    """
    try:
        with h5py.File(path, "r") as file:
            held = {name: file[name] for name in _dataset_names(file) if name in names}
            for name, found in held.items():
                if found.external or found.is_virtual:
                    raise CorruptArtefactError(f"{path}: '{name}' keeps its values in another file, expected them here")
            return ArrayFile({name: found[()] for name, found in held.items()}, dict(file.attrs))
    except (OSError, KeyError, RuntimeError, TypeError, ValueError, MemoryError) as error:  # promised too much
        raise CorruptArtefactError(f"{path}: not a readable HDF5 file ({error})") from error


def _write_array(file: h5py.File, name: str, array: NDArray[Any]) -> None:
    if array.ndim == 0 or array.size == 0:
        file.create_dataset(name, data=array)  # scalar and empty datasets cannot be chunked
        return
    row_bytes = max(1, array.nbytes // len(array))
    rows = min(len(array), max(1, CHUNK_BYTES // row_bytes))
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
