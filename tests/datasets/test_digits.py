"""The packaged digits."""

import importlib.util
import subprocess
import sys

import msgspec
import numpy as np
import pytest

from condhpc.datasets import digits
from condhpc.datasets.digits import INFO, PLUGIN
from condhpc.errors import InputError, StageError


def whole(name: str) -> tuple[np.ndarray, np.ndarray]:
    """Images and labels of a split."""
    split = PLUGIN.split(PLUGIN.index(None), None, name, 8)
    return split.read(np.arange(len(split))), split.labels_N


def test_images_are_scikit_learns() -> None:
    """Both splits together hold each image of `load_digits` once, scaled from 0..16 to 0..255 on three channels."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    index = PLUGIN.index(None)
    expected = np.round(bunch.images * 255 / 16).astype(np.uint8)
    rows_seen: list[int] = []
    for name in ("train", "test"):
        images, labels = whole(name)
        rows = [int(path.split("#")[1]) for path in index.splits[name].paths]
        rows_seen += rows
        np.testing.assert_array_equal(labels, bunch.target[rows])
        for channel in range(3):
            np.testing.assert_array_equal(images[..., channel], expected[rows])
    assert sorted(rows_seen) == list(range(1797))


def test_every_fifth_of_a_class_is_test() -> None:
    """Within a class, in file order, images 5, 10, … are test data."""
    from sklearn.datasets import load_digits

    target = load_digits().target
    expected = sorted(int(row) for digit in range(10) for row in np.flatnonzero(target == digit)[4::5])
    assert [int(p.split("#")[1]) for p in PLUGIN.index(None).splits["test"].paths] == expected


def test_facts_are_those_of_the_training_split() -> None:
    """Class sizes, mean and standard deviation in INFO are measured ones."""
    images, labels = whole("train")
    assert tuple(np.bincount(labels)) == INFO.train_class_sizes
    assert INFO.mean == pytest.approx(images.mean(axis=(0, 1, 2)) / 255, abs=1e-4)
    assert INFO.std == pytest.approx((images / 255).std(axis=(0, 1, 2)), abs=1e-4)


def test_raw_is_a_row_of_read() -> None:
    """An image before resizing is the image: digits are used at their own size."""
    split = PLUGIN.split(PLUGIN.index(None), None, "test", 8)
    np.testing.assert_array_equal(split.raw(11), split.read(np.array([3, 11]))[1])


def test_raw_is_a_copy() -> None:
    """Writing into an image that was handed out does not change the data set."""
    split = PLUGIN.split(PLUGIN.index(None), None, "test", 8)
    split.raw(0)[:] = 7
    assert not (split.raw(0) == 7).all()


def test_index_is_cheap() -> None:
    """The login node lists the digits without NumPy and without importing scikit-learn."""
    code = (
        "import sys; from condhpc.datasets.digits import PLUGIN; PLUGIN.index(None);"
        "print([m for m in ('numpy', 'sklearn', 'torch') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_without_scikit_learn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where scikit-learn is not installed the error says what to install."""
    digits.csv_bytes.cache_clear()
    monkeypatch.setattr(importlib.util, "find_spec", lambda _name: None)
    with pytest.raises(InputError, match=r"pip install 'condhpc\[digits\]'"):
        PLUGIN.index(None)


def test_content_is_in_the_digest(monkeypatch: pytest.MonkeyPatch) -> None:
    """One grey value that differs makes another digest, though labels and sizes agree."""
    before = PLUGIN.index(None)
    data = digits.csv_bytes()
    changed = data.replace(b"0,0,5,", b"0,0,6,", 1)
    assert changed != data
    monkeypatch.setattr(digits, "csv_bytes", lambda: changed)
    after = PLUGIN.index(None)
    assert after.splits == before.splits
    assert after.digest() != before.digest()
    with pytest.raises(StageError, match="not the file that was indexed"):
        PLUGIN.split(before, None, "train", 8)


def test_index_survives_json() -> None:
    """An index kept in the store has the digest of the one that was made."""
    index = PLUGIN.index(None)
    assert msgspec.json.decode(msgspec.json.encode(index), type=type(index)).digest() == index.digest()


def test_unknown_split_and_resolution() -> None:
    """There is a train and a test split at 8 × 8, and nothing else."""
    with pytest.raises(InputError, match="no split"):
        PLUGIN.index(None, ("train", "val"))
    with pytest.raises(StageError, match="no split 'val'"):
        PLUGIN.split(PLUGIN.index(None), None, "val", 8)
    with pytest.raises(StageError, match="8×8"):
        PLUGIN.split(PLUGIN.index(None), None, "test", 16)
