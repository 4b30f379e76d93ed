"""HDF5 files: what is read is what was written, or an error that says why not."""

from __future__ import annotations

import random
import signal
from pathlib import Path

import h5py
import numpy as np
import pytest
from children import fork, reap

from condhpc import arrays, files
from condhpc.arrays import ArrayFile, CondensedSet, Embeddings
from condhpc.errors import CorruptArtefactError


def _set(count: int = 6) -> CondensedSet:
    images = np.arange(count * 8 * 8 * 3, dtype=np.uint64).astype(np.uint8).reshape(count, 8, 8, 3)
    labels = np.arange(count, dtype=np.int64) % 2
    return CondensedSet(images, labels, labels + 10, {"ipc": 3, "condenser": "herding", "mean": (0.5, 0.4, 0.3)})


def test_embeddings_are_mapped(tmp_path: Path) -> None:
    """Vectors are not read into memory, cannot be written to, and a run of rows is no copy."""
    vectors = np.arange(24, dtype=np.float16).reshape(8, 3)
    scores = {"el2n": np.arange(8, dtype=np.float32)}
    arrays.write_embeddings(tmp_path / "a", Embeddings(vectors, np.zeros(8, dtype=np.int64), {}, scores))
    found = arrays.read_embeddings(tmp_path / "a")
    assert isinstance(found.vectors_ND, np.memmap)
    assert np.array_equal(found.scores["el2n"], scores["el2n"])
    run = found.rows(np.array([2, 3, 4]))
    assert np.shares_memory(run, found.vectors_ND)
    assert np.array_equal(run, vectors[2:5])
    assert np.array_equal(found.rows(np.array([5, 1])), vectors[[5, 1]])
    assert found.rows(np.array([], dtype=np.int64)).shape == (0, 3)
    with pytest.raises(ValueError, match="read-only"):
        run[0] = 0


def test_embeddings_of_older_files(tmp_path: Path) -> None:
    """Vectors in checksummed chunks, as files had them before they were mapped, are read all the same."""
    vectors, labels = np.ones((4, 2), dtype=np.float32), np.zeros(4, dtype=np.int64)
    arrays.write(tmp_path / "a", "embeddings", ArrayFile({"vectors": vectors, "labels": labels}))
    assert np.array_equal(arrays.read_embeddings(tmp_path / "a").vectors_ND, vectors)


def test_parts_that_differ_are_not_joined() -> None:
    """Another width, type or set of scores means another encoder."""
    labels = np.zeros(2, dtype=np.int64)
    narrow, wide = Embeddings(np.zeros((2, 3)), labels), Embeddings(np.zeros((2, 4)), labels)
    with pytest.raises(CorruptArtefactError, match="parts of an embedding differ"):
        arrays.joined([narrow, wide])


def test_condensed_set_comes_back(tmp_path: Path) -> None:
    """Pixels, labels, source indices and attributes survive; a set without source indices has none."""
    arrays.write_condensed_set(tmp_path / "a", _set())
    found = arrays.read_condensed_set(tmp_path / "a")
    np.testing.assert_array_equal(found.images_NHWC, _set().images_NHWC)
    np.testing.assert_array_equal(found.labels_N, _set().labels_N)
    np.testing.assert_array_equal(found.source_index_N, _set().labels_N + 10)
    assert (found.attributes["ipc"], found.attributes["condenser"]) == (3, "herding")
    np.testing.assert_array_equal(found.attributes["mean"], (0.5, 0.4, 0.3))
    arrays.write_condensed_set(tmp_path / "b", CondensedSet(_set().images_NHWC, _set().labels_N))
    assert arrays.read_condensed_set(tmp_path / "b").source_index_N is None


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_embeddings_come_back(tmp_path: Path, dtype: type) -> None:
    """Vectors keep their precision."""
    vectors = np.linspace(0, 1, 40).astype(dtype).reshape(8, 5)
    arrays.write_embeddings(tmp_path / "a", Embeddings(vectors, np.zeros(8, dtype=np.int64), {"encoder": "pixels"}))
    found = arrays.read_embeddings(tmp_path / "a")
    np.testing.assert_array_equal(found.vectors_ND, vectors)
    assert found.vectors_ND.dtype == dtype
    assert found.attributes == {"encoder": "pixels"}


def test_weights_come_back_with_scalars_and_empty_arrays(tmp_path: Path) -> None:
    """A model's state has 0-d counters, empty buffers and names with dots and slashes."""
    held = {"bn.num": np.array(7), "empty": np.zeros((0, 3), dtype=np.float32), "block/conv.w": np.ones((2, 2))}
    arrays.write(tmp_path / "a", "weights", ArrayFile(held, {"arch": "convnet3"}))
    found = arrays.read(tmp_path / "a", "weights")
    assert set(found.arrays) == set(held)
    for name, array in held.items():
        np.testing.assert_array_equal(found.arrays[name], array)
        assert found.arrays[name].dtype == array.dtype


def test_dynamics_are_read_without_the_weights(tmp_path: Path) -> None:
    """Those that are named come back; a missing one and one of another shape or kind are refused."""
    margin, correct = np.ones((3, 5), np.float16), np.zeros((3, 5), bool)
    held = {"weights/w": np.ones(4), "dynamics/margin": margin, "dynamics/correct": correct}
    path = tmp_path / "model.h5"
    arrays.write(path, "model", ArrayFile(held))
    found = arrays.read_dynamics(path, ["margin", "correct"])
    assert found.keys() == {"margin", "correct"}
    assert found["margin"].dtype == np.float16
    assert found["correct"].dtype == np.bool_
    with pytest.raises(CorruptArtefactError, match=r"'dynamics/el2n' is missing, expected \(epochs, images\)"):
        arrays.read_dynamics(path, ["margin", "el2n"])
    for other, match in ((np.ones((3, 6), np.float16), r"float16 \(3, 5\)"), (np.ones((3, 5), int), "int64")):
        arrays.write(tmp_path / "other.h5", "model", ArrayFile({**held, "dynamics/correct": other}))
        with pytest.raises(CorruptArtefactError, match=match):
            arrays.read_dynamics(tmp_path / "other.h5", ["margin", "correct"])
        (tmp_path / "other.h5").unlink()


def test_large_arrays_are_chunked_and_checksummed(tmp_path: Path) -> None:
    """Chunks are near 1 MiB along the first axis, each with fletcher32; the format is one that HDF5 1.10 reads."""
    images = np.zeros((40, 128, 128, 3), dtype=np.uint8)
    arrays.write_condensed_set(tmp_path / "a", CondensedSet(images, np.zeros(40, dtype=np.int64)))
    with h5py.File(tmp_path / "a", "r") as file:
        assert file["images"].chunks == (21, 128, 128, 3)
        assert file["images"].fletcher32
        assert file["labels"].fletcher32
        assert file["images"].compression is None
    assert (tmp_path / "a").read_bytes()[8] == 0  # superblock version 0


def test_an_existing_file_is_never_opened_for_writing(tmp_path: Path) -> None:
    """Mode "w" truncates before it looks; ours refuses."""
    arrays.write_condensed_set(tmp_path / "a", _set())
    before = (tmp_path / "a").read_bytes()
    with pytest.raises(FileExistsError):
        arrays.write_condensed_set(tmp_path / "a", _set(2))
    assert (tmp_path / "a").read_bytes() == before


_IMAGES, _LABELS = _set().images_NHWC, _set().labels_N
_WRONG: list[tuple[CondensedSet | Embeddings, str]] = [
    (CondensedSet(_IMAGES / 255.0, _LABELS), "'images' is float64"),
    (CondensedSet(_IMAGES[0], _LABELS), "'images' is uint8 of 3 dimensions"),
    (CondensedSet(_IMAGES, _LABELS[:-1]), "6 images but 5 labels"),
    (CondensedSet(_IMAGES, _LABELS.astype(np.int32)), "'labels' is int32"),
    (CondensedSet(_IMAGES, _LABELS, _LABELS[:2]), "2 source indices"),
    (Embeddings(np.zeros((3, 2)), np.zeros(2, dtype=np.int64)), "3 vectors but 2 labels"),
    (Embeddings(np.zeros(3), np.zeros(3, dtype=np.int64)), "not a float matrix"),
]


@pytest.mark.parametrize(("held", "match"), _WRONG)
def test_what_could_not_be_read_is_not_written(tmp_path: Path, held: CondensedSet | Embeddings, match: str) -> None:
    """A writer reads its file back, so that a wrong dtype or length never gets a record."""
    with pytest.raises(CorruptArtefactError, match=match):
        _write(tmp_path / "a", held)


def _write(path: Path, held: CondensedSet | Embeddings) -> None:
    if isinstance(held, CondensedSet):
        arrays.write_condensed_set(path, held)
    else:
        arrays.write_embeddings(path, held)


@pytest.mark.parametrize("data", [b"", b"not HDF5", b"\x89HDF\r\n\x1a\n" + b"\0" * 100])
def test_what_is_no_hdf5_is_refused(tmp_path: Path, data: bytes) -> None:
    """Empty, foreign or just a signature: one error that names the file."""
    (tmp_path / "a").write_bytes(data)
    with pytest.raises(CorruptArtefactError, match="not a readable HDF5 file"):
        arrays.read(tmp_path / "a", "weights")
    with pytest.raises(CorruptArtefactError, match="not a readable HDF5 file"):
        arrays.read(tmp_path / "none", "weights")


def test_other_kinds_and_schemas_are_refused(tmp_path: Path) -> None:
    """A sound file of another kind, of a newer schema or by another program is foreign."""
    arrays.write(tmp_path / "a", "weights", ArrayFile({}))
    with pytest.raises(CorruptArtefactError, match="holds weights schema 1, expected condensed_set schema 1"):
        arrays.read_condensed_set(tmp_path / "a")
    with h5py.File(tmp_path / "b", "x") as file:
        file["images"] = np.zeros(3)
    with pytest.raises(CorruptArtefactError, match="holds None schema None"):
        arrays.read_condensed_set(tmp_path / "b")
    with h5py.File(tmp_path / "c", "x") as file:
        file.attrs["kind"] = np.array(["condensed_set", "weights"], dtype="S")
        file.attrs["schema"] = 1
    with pytest.raises(CorruptArtefactError):
        arrays.read_condensed_set(tmp_path / "c")


@pytest.mark.parametrize("share", [0.05, 0.3, 0.6, 0.9, 0.999])
def test_truncated_file_is_refused(tmp_path: Path, share: float) -> None:
    """A file that lost its tail is never read in part."""
    arrays.write_condensed_set(tmp_path / "a", _set(50))
    data = (tmp_path / "a").read_bytes()
    (tmp_path / "a").write_bytes(data[: int(share * len(data))])
    with pytest.raises(CorruptArtefactError):
        arrays.read_condensed_set(tmp_path / "a")


def test_flipped_bits_in_arrays_are_detected_without_a_record(tmp_path: Path) -> None:
    """Fletcher32 finds a flip in pixels and labels even for who has only the file."""
    condensed, path, draw = _set(50), tmp_path / "a", random.Random(5)
    arrays.write_condensed_set(path, condensed)
    whole = path.read_bytes()
    for array in (condensed.images_NHWC, condensed.labels_N):
        start = whole.index(array.tobytes())
        for _ in range(10):
            data = bytearray(whole)
            data[start + draw.randrange(array.nbytes)] ^= 1 << draw.randrange(8)
            path.write_bytes(data)
            with pytest.raises(CorruptArtefactError, match="not a readable HDF5 file"):
                arrays.read_condensed_set(path)


def test_killed_writer_publishes_nothing(tmp_path: Path) -> None:
    """Killed between writing and closing, HDF5 leaves an unreadable file; under its final name there is none."""
    path = tmp_path / "images.0001.h5"

    def write() -> None:
        with files.under_construction(path) as temp, h5py.File(temp, "x") as file:
            file["images"] = np.zeros((100, 8, 8, 3), dtype=np.uint8)
            signal.raise_signal(signal.SIGKILL)

    assert reap(fork(write)) == -signal.SIGKILL
    assert not path.exists()
