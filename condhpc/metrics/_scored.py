"""Measures over what the encoder's own classifier makes of each set point."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

from msgspec import Meta

from condhpc.errors import StageError
from condhpc.metrics.base import Measurement, Metric, MetricParams, Scene, checked, mean_over_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class ClassifierParams(MetricParams, frozen=True):
    """Pixels and networks made elsewhere know no classes of the dataset."""

    encoder: Annotated[
        str, Meta(description="`teacher:<role>`, the classifier that is asked", pattern="^teacher:.+$")
    ] = "teacher:judge"


class Scored(Metric):
    """Mean over the set points of a class, then over classes."""

    Params = ClassifierParams
    better = "higher"
    score: ClassVar[str]
    """Name in `condhpc.scores`."""

    @abstractmethod
    def of(self, score_M: NDArray[np.float64]) -> NDArray[np.float64]:
        """What is averaged."""

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite or has no score."""
        import numpy as np

        del params
        values = []
        for label, points in enumerate(scene.classes):
            score_M = checked(label, points).scores.get(self.score)
            if score_M is None:
                raise StageError(
                    f"score '{self.score}' of class {label}: found only {sorted(points.scores)}; embeddings by a "
                    "teacher of this dataset hold it: set `encoder` to teacher:<role>, and submit again"
                )
            values.append(float(self.of(score_M.astype(np.float64)).mean()))
        return mean_over_classes(values)
