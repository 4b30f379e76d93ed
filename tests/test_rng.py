"""Random streams by name."""

import subprocess
import sys

import numpy as np
import pytest

from condhpc import rng


def test_same_name_same_numbers() -> None:
    """A stream starts at its beginning whenever it is named."""
    np.testing.assert_array_equal(rng.stream(3, "crop", 5).random(8), rng.stream(3, "crop", 5).random(8))


@pytest.mark.parametrize(
    "other",
    [
        (4, "crop", 5),
        (3, "crop", 6),
        (3, "crop", "5"),
        (3, "crop"),
        (3, "crop", 5, 0),
        (3, "cro", "p5"),
        (3, 5, "crop"),
    ],
)
def test_different_names_differ(other: tuple[int, str]) -> None:
    """Seed, every name, its type and the order of names all count."""
    assert not np.array_equal(rng.stream(3, "crop", 5).random(8), rng.stream(*other).random(8))
    assert rng.torch_seed(3, "crop", 5) != rng.torch_seed(*other)


def test_numpy_integers_name_the_same_stream() -> None:
    """A label read from an array names the stream of the plain integer."""
    assert rng.torch_seed(3, np.int64(5)) == rng.torch_seed(3, 5)  # type: ignore[arg-type]


def test_torch_seed_is_63_bits() -> None:
    """Seeds are non-negative, below 2⁶³ and use the upper bits."""
    seeds = [rng.torch_seed(0, i) for i in range(200)]
    assert min(seeds) >= 0
    assert 2**62 < max(seeds) < 2**63
    assert len(set(seeds)) == 200


def test_numbers_are_fixed() -> None:
    """The numbers themselves never change, in any process or version: keys promise it."""
    code = "from condhpc import rng; print(rng.stream(0, 'a', 1).integers(2**62), rng.torch_seed(0, 'a', 1))"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert out.split() == ["326903901360985812", "8324527167524050303"]
