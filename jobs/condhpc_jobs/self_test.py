"""Whether weights made elsewhere do what they are known for on this dataset, before anything rests on them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from condhpc.errors import StageError, first_few
from condhpc.relabelling import Relabelling, best_relabelling

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from condhpc.judge import Score
    from condhpc.spec import WeightsSpec

_SHOWN = 3
_LIKELY_TOO_HIGH = "test images that they were trained on"
_LIKELY_TOO_LOW = "resolution, mean or std, some classes in another order ({:.2f} % when outputs are renamed)"


def check(
    score: Score, labels_N: NDArray[np.int64], class_names: Sequence[str], weights: WeightsSpec
) -> dict[str, Any]:
    """Values for the record; raises StageError for another class order, or another accuracy than expected."""
    found = best_relabelling(score.predicted_N, labels_N, len(class_names))
    if found.is_mismatch:
        raise StageError(_mismatch(found, class_names, weights))
    expected = weights.expected_top1_pct
    if expected is not None and abs(score.top1_pct - expected) > weights.tolerance_pct:
        likely = _LIKELY_TOO_HIGH if score.top1_pct > expected else _LIKELY_TOO_LOW.format(found.after_pct)
        raise StageError(
            f"weights '{weights.name}': test accuracy is {score.top1_pct:.2f} %, the manifest expects {expected:.2f} ± "
            f"{weights.tolerance_pct:g} %; look for other weights than meant, another test split, {likely}, or correct "
            "expected_top1_pct"
        )
    return {"expected_top1_pct": expected, "relabelled_top1_pct": found.after_pct}


def _mismatch(found: Relabelling, class_names: Sequence[str], weights: WeightsSpec) -> str:
    moved = [
        f"output {output} is this dataset's class {label} ('{class_names[label]}')"
        for output, label in enumerate(found.class_of_output_K.tolist())
        if output != label
    ]
    return (
        f"weights '{weights.name}': label order mismatch: test accuracy is {found.before_pct:.2f} %, but "
        f"{found.after_pct:.2f} % when outputs are renamed one to one: {first_few(moved, _SHOWN)}. They were "
        "trained with the classes in another order: list `classes` in that order in a [datasets.x] block, or use other "
        "weights"
    )
