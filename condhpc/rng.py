"""Random streams by name: what a stream is called decides its numbers, never who draws them or in which order."""

from __future__ import annotations

import numpy as np

from condhpc import keys


def stream(seed: int, *names: str | int) -> np.random.Generator:
    """The random stream of that name under a seed, at its beginning.

    Philox, keyed by a 128-bit digest of (seed, names): 1 and "1" differ, as do ("a", "b") and ("ab",).
    """
    return np.random.Generator(np.random.Philox(key=_number("numpy", seed, names)))


def torch_seed(seed: int, *names: str | int) -> int:
    """A seed in 0..2⁶³−1 for `torch.Generator.manual_seed`, by the same rule."""
    return _number("torch", seed, names) >> 65


def _number(purpose: str, seed: int, names: tuple[str | int, ...]) -> int:
    return int(keys.digest(keys.encode([purpose, int(seed), *(_canonical(n) for n in names)])), 16)


def _canonical(name: str | int) -> str | int:
    return name if isinstance(name, str) else int(name)  # NumPy integers name the same stream as Python's
