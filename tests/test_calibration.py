"""Factors between records and predictions, against numpy's quantiles."""

from __future__ import annotations

import numpy as np
import pytest

from condhpc.calibration import FEW, FEW_FACTOR, MODEL_ALONE, spread


def test_many_records_spread_by_themselves() -> None:
    """The middle is the ratio of sums, the ends are the tenth and ninetieth percent of single ratios."""
    rng = np.random.default_rng(0)
    predicted, measured = rng.uniform(1, 5, 40), rng.uniform(1, 5, 40)
    found = spread(list(zip(measured, predicted, strict=True)))
    assert found.basis == "records"
    assert found.mid == pytest.approx(measured.sum() / predicted.sum())
    assert (found.low, found.high) == pytest.approx(tuple(np.quantile(measured / predicted, [0.1, 0.9])))


def test_few_records_are_widened() -> None:
    """Two that agree are no proof that the third does."""
    found = spread([(2.0, 1.0), (6.0, 2.0)])
    assert found == (2.0 / FEW_FACTOR, pytest.approx(8 / 3), 3.0 * FEW_FACTOR, "few records")


@pytest.mark.parametrize("pairs", [[], [(3.0, 0.0)]])
def test_without_records_the_model_has_its_own_spread(pairs: list[tuple[float, float]]) -> None:
    """What was predicted to take nothing calibrates nothing."""
    assert spread(pairs) == MODEL_ALONE


def test_the_middle_is_within_the_range() -> None:
    """A single large task may outweigh many small ones."""
    found = spread([(1.0, 1.0)] * FEW * 4 + [(9000.0, 1000.0)])
    assert found.low <= found.mid <= found.high
    assert found.mid > 8
