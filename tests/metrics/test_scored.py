"""What the encoder's classifier makes of the set."""

import msgspec
import numpy as np
import pytest

from condhpc import registry
from condhpc.errors import StageError
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
    """Pixels and networks made elsewhere classify nothing, which is said before anything is computed."""
    plugin = registry.load("metrics", name)
    for encoder in ("pixels", "encoder:dinov2"):
        with pytest.raises(msgspec.ValidationError, match="teacher"):
            msgspec.convert({"encoder": encoder}, plugin.Params)
    points = Points(np.ones((3, 2)), np.ones((4, 2)), np.full(4, -1))
    with pytest.raises(StageError, match=r"of class 0: found only \[\].* set `encoder` to teacher:<role>"):
        plugin.compute(Scene([points]), plugin.Params())
