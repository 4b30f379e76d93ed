"""Unbiased squared maximum mean discrepancy (Gretton et al. 2012, eq. 3) between real and set points."""

from __future__ import annotations

from abc import abstractmethod
from typing import TYPE_CHECKING, Any

from condhpc.metrics.base import Measurement, Metric, Points, PooledParams, Scene, checked, mean_over_classes, pooled

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.kernels import Discrepancy, Kernel


class Mmd(Metric):
    """Mean over classes; no value where a class has one set point or one real point. Around 0 for real points drawn at
    random, also below. The interval is over real points by their influence; bandwidths stay as they are.
    """

    Params = PooledParams
    unit = "MMD²"
    better = "lower"
    name: str
    """Of the kernel, with its parameters, for what is kept."""

    @abstractmethod
    def kernel(self, setting: float) -> Kernel:
        """The kernel of a class."""

    def setting(self, real_ND: NDArray[np.float64], draw: np.random.Generator) -> float:
        """What the kernel takes from the real points of a class; 0 where that has no meaning."""
        del real_ND, draw
        return 1.0

    def compute(self, scene: Scene, params: Any) -> Measurement:
        """Measure over all classes, label order. Raises StageError where a point is not finite."""
        from condhpc import resampling

        found = list(self._of_classes(scene))
        values = [None if isinstance(one, str) else one.value for one in found]
        reasons = [one for one in found if isinstance(one, str)]
        more: dict[str, Any] = {"pooled": self._pooled(scene, params), "reference": 0.0}
        if not reasons:
            parts = [one.contribution_N for one in found if not isinstance(one, str)]
            more |= resampling.interval(parts, scene.stream)
        return mean_over_classes(values, reasons[0] if reasons else "", **more)

    def _of_classes(self, scene: Scene) -> list[Discrepancy | str]:
        import numpy as np

        sizes = [len(points.real_ND) for points in scene.classes]
        kept = scene.kept(f"{self.name} rows", lambda: self._rows_of_classes(scene))
        rows = np.split(kept, np.cumsum([size + 1 for size in sizes])[:-1])
        found: list[Discrepancy | str] = []
        for label, (points, held) in enumerate(zip(scene.classes, rows, strict=True)):
            one = self._of(checked(label, points), held, scene.device)
            found.append(f"class {label} {one}" if isinstance(one, str) else one)
        return found

    def _rows_of_classes(self, scene: Scene) -> NDArray[np.float64]:
        import numpy as np

        return np.concatenate(
            [
                self._rows(checked(label, points), scene.stream("bandwidth", label), scene.device)
                for label, points in enumerate(scene.classes)
            ]
        )

    def _pooled(self, scene: Scene, params: Any) -> float | None:
        if not params.pooled_points:
            return None
        points = pooled(scene, params.pooled_points)
        draw = scene.stream("bandwidth")
        name = f"{self.name} rows pooled={params.pooled_points}"
        found = self._of(points, scene.kept(name, lambda: self._rows(points, draw, scene.device)), scene.device)
        return None if isinstance(found, str) else found.value

    def _rows(self, points: Points, draw: np.random.Generator, device: str) -> NDArray[np.float64]:
        """The kernel's setting, then the sums over pairs with each real point."""
        import numpy as np

        from condhpc import kernels

        real_ND, _ = self._placed(points)
        setting = self.setting(real_ND, draw) if len(real_ND) > 1 else 0.0
        if setting == 0.0:
            return np.zeros(1 + len(real_ND))
        kernel = self.kernel(setting)
        sums_N = kernels.row_sums(kernel, real_ND, real_ND, device) - kernel.paired(real_ND, real_ND)
        return np.concatenate([[setting], sums_N])

    def _of(self, points: Points, held: NDArray[np.float64], device: str) -> Discrepancy | str:
        from condhpc import kernels

        if min(len(points.real_ND), len(points.set_MD)) < 2:
            return f"has {len(points.real_ND)} real and {len(points.set_MD)} set points, pairs need two of each"
        if held[0] == 0.0:
            return "has real points of which most pairs coincide, so there is no bandwidth"
        real_ND, set_MD = self._placed(points)
        return kernels.unbiased(self.kernel(float(held[0])), (real_ND, held[1:]), set_MD, points.own_M, device)

    def _placed(self, points: Points) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Real and set points as the kernel takes them."""
        import numpy as np

        return points.real_ND.astype(np.float64), points.set_MD.astype(np.float64)
