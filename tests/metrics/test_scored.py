"""What the encoder's classifier makes of the set."""

import numpy as np
import pytest

from condhpc import registry
from condhpc.metrics.base import MetricParams, Points, Scene

NAMES = ["classifier_accuracy", "classifier_confidence", "rded_realism"]
SCORES = {
    "correct": np.array([1, 0, 1, 1], dtype=np.float32),
    "own_probability": np.array([0.5, 0.25, 1.0, 0.0], dtype=np.float32),
}


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("classifier_accuracy", 0.75),
        ("classifier_confidence", 0.4375),
        ("rded_realism", (np.log(0.5) + np.log(0.25) - 149 * np.log(2)) / 4),
    ],
)
def test_means_of_scores(name: str, expected: float) -> None:
    """Shares, probabilities and their logarithms; a probability of 0 in float32 stays finite."""
    points = Points(np.ones((3, 2)), np.ones((4, 2)), np.full(4, -1), None, SCORES)
    found = registry.load("metrics", name).compute(Scene([points]), MetricParams())
    assert found.value == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", NAMES)
def test_no_classifier(name: str) -> None:
    """Pixels classify nothing."""
    points = Points(np.ones((3, 2)), np.ones((4, 2)), np.full(4, -1))
    found = registry.load("metrics", name).compute(Scene([points]), MetricParams(encoder="pixels"))
    assert found.value is None
    assert found.reason == "the encoder 'pixels' is no classifier of these classes"
