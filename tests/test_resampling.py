"""Bootstrap intervals against the normal approximation and against themselves in other batches."""

import numpy as np
import pytest

from condhpc import resampling, rng


def stream(*names: str | int) -> np.random.Generator:
    """Any stream."""
    return rng.stream(7, *names)


def test_interval_of_a_mean() -> None:
    """Two classes of different spread: the half-width is 1.96 standard errors of the mean of class means."""
    parts = [stream("a").normal(3.0, 2.0, 400), stream("b").normal(-1.0, 0.5, 900)]
    found = resampling.interval(parts, stream)
    error = np.sqrt(sum(part.var() / len(part) for part in parts)) / 2
    middle = np.mean([part.mean() for part in parts])
    assert found["high"] - middle == pytest.approx(1.96 * error, rel=0.1)
    assert middle - found["low"] == pytest.approx(1.96 * error, rel=0.1)
    assert found["interval_over"] == "real points"


def test_batches_of_replicates_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """Large classes are resampled a few replicates at a time."""
    parts = [stream("c").normal(size=50)]
    whole = resampling.interval(parts, stream)
    monkeypatch.setattr(resampling, "_ENTRIES", 170)
    assert resampling.interval(parts, stream) == whole


def test_interval_of_a_quantile() -> None:
    """Any statistic of the rows of a matrix of resampled points."""
    parts = [np.arange(1000.0)]
    found = resampling.interval(parts, stream, lambda drawn: np.quantile(drawn, 0.9, axis=1))
    assert found["low"] == pytest.approx(899 - 1.96 * np.sqrt(0.9 * 0.1 * 1000), abs=4)
    assert found["high"] == pytest.approx(899 + 1.96 * np.sqrt(0.9 * 0.1 * 1000), abs=4)
