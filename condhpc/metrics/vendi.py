"""Vendi score (Friedman & Dieng 2023; cosine kernel, q = 1): the effective number of different images of a class.

From 1 (all the same) to ipc (all at right angles); `details` has it ÷ ipc. The eigenvalues are those of the smaller of
the M × M and the D × D matrix, in float64: they are the same but for zeros.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.metrics._cosine import units
from condhpc.metrics.base import Measurement, Metric, Scene, checked, mean_over_classes

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


class Vendi(Metric):
    """Mean over classes; pooled: of the whole set, at most its number of images. It looks at no real image."""

    unit = "images"
    better = "higher"

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        import numpy as np

        del params
        sets = [checked(label, points).set_MD for label, points in enumerate(scene.classes)]
        values = [vendi_score(set_MD, scene.device) for set_MD in sets]
        shares = [value / len(set_MD) for value, set_MD in zip(values, sets, strict=True)]
        details = {"share_of_ipc": sum(shares) / len(shares)}
        return mean_over_classes(values, pooled=vendi_score(np.concatenate(sets), scene.device), details=details)


def vendi_score(set_MD: NDArray[np.floating[Any]], device: str = "cpu") -> float:
    """The exponential of the entropy of the eigenvalues of the cosine kernel ÷ M."""
    import numpy as np

    (unit_MD,) = units(set_MD)
    short = unit_MD.T if len(unit_MD) > unit_MD.shape[1] else unit_MD
    share = np.maximum(_squared_singular_values(short, device) / len(unit_MD), 0.0)
    return float(np.exp(-(share * np.log(np.where(share > 0.0, share, 1.0))).sum()))


def _squared_singular_values(short: NDArray[np.float64], device: str) -> NDArray[Any]:
    import numpy as np
    import torch

    found: NDArray[Any]
    if device == "cpu":  # NumPy sees that the product is symmetric and computes half of it
        found = np.linalg.eigvalsh(short @ short.T)
    else:
        wide = torch.from_numpy(short).to(device)
        found = torch.linalg.eigvalsh(wide @ wide.T).cpu().numpy()
    return found


PLUGIN = Vendi()
