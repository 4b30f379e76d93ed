"""Measures over what the encoder's own classifier makes of each set point."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any, ClassVar

from condhpc.metrics.base import Measurement, Metric, Scene, checked, mean_over_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Scored(Metric):
    """Mean over the set points of a class, then over classes. No value where the encoder is no classifier."""

    better = "higher"
    score: ClassVar[str]
    """Name in `condhpc.scores`."""

    @abstractmethod
    def of(self, score_M: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is averaged."""

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        import numpy as np

        values: list[float | None] = []
        for label, points in enumerate(scene.classes):
            score_M = checked(label, points).scores.get(self.score)
            values.append(None if score_M is None else float(self.of(score_M.astype(np.float64)).mean()))
        reason = f"the encoder '{params.encoder}' is no classifier of these classes" if None in values else ""
        return mean_over_classes(values, reason)
