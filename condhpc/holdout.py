"""What chosen images are worth before any test data is seen: a student learns from them, held-out train tests it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec
import numpy as np

from condhpc import images, judge, labels, models, recipe, rng, train
from condhpc.coresets.base import held_out
from condhpc.datasets.base import Split
from condhpc.errors import StageError
from condhpc.spec import Augment, Optimizer, Training

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from condhpc.coresets.base import Trials
    from condhpc.images import Images
    from condhpc.methods.base import Reporter
    from condhpc.spec import CondenseSpec

_OPTIMIZER = Optimizer(name="adamw", lr=1e-3, weight_decay=0.01)
"""Of the protocol `erm`."""
_AUGMENT = Augment(crop_scale_min=0.6, flip=False, cutmix_alpha=0.0)
"""Whether a mirrored image keeps its label is not known here."""

Choose = Callable[[Any, "Sequence[NDArray[np.int64]]"], "NDArray[np.int64]"]
"""From parameters and, class by class, positions to choose among to the positions chosen, class-major."""


@dataclass(frozen=True)
class Bench:
    """Where trials are held."""

    spec: CondenseSpec
    train: Split
    device: str
    threads: int
    report: Reporter


def accuracies(trials: Trials, choose: Choose, bench: Bench) -> list[float]:
    """Accuracy of each candidate's student on the slice, percent; the same start, order and slice for all.

    The slice is new to the students, though not to a proxy that was trained on all of train. Finished trials outlive a
    stop. Raises StageError where a class is too small to hold out a slice.
    """
    found = _resumed(bench.report.checkpoint())[: len(trials.candidates)]
    slices = [_slice(bench, label, trials.share) for label in range(bench.spec.dataset.classes)]
    exam = images.images_of(
        Part(bench.train, np.concatenate([held_n for held_n, _ in slices])), bench.device, bench.threads
    )
    for candidate in trials.candidates[len(found) :]:
        chosen_N = choose(candidate, [rest_n for _, rest_n in slices])
        report = _Turn(bench.report, found, (len(trials.candidates), trials.steps))
        found.append(_accuracy(trials, Part(bench.train, chosen_N), exam, bench, report))
    return found


class Part(Split):
    """Some images of a split, in an order of their own."""

    def __init__(self, whole: Split, positions_N: NDArray[np.int64]) -> None:
        self.labels_N = whole.labels_N[positions_N]
        self.resolution = whole.resolution
        self._whole = whole
        self._positions_N = positions_N

    def read(self, positions_n: NDArray[np.int64]) -> NDArray[np.uint8]:
        """The split's images."""
        return self._whole.read(self._positions_N[positions_n])

    def raw(self, position: int) -> NDArray[np.uint8]:
        """The split's image."""
        return self._whole.raw(int(self._positions_N[position]))

    def glimpse(self, position: int) -> NDArray[np.uint8]:
        """The split's image, for a look."""
        return self._whole.glimpse(int(self._positions_N[position]))


class _Turn:
    """The task's reporter while one of several trainings runs: a checkpoint is the accuracies of those before."""

    def __init__(self, report: Reporter, found: Sequence[float], extent: tuple[int, int]) -> None:
        """`extent`: how many trainings, and steps of each."""
        self._report = report
        self._found = msgspec.json.encode(list(found))
        self._done = len(found) * extent[1]
        self._total = extent[0] * extent[1]

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """Progress over all of them."""
        del total, save
        self._report.tick(self._done + step, self._total, self._save, **values)

    def checkpoint(self) -> Path | None:
        """None: a training that was stopped begins anew."""
        return None

    def _save(self, path: Path) -> None:
        path.write_bytes(self._found)


def _resumed(path: Path | None) -> list[float]:
    if path is None:
        return []
    try:
        return msgspec.json.decode(path.read_bytes(), type=list[float])
    except (OSError, msgspec.MsgspecError):
        return []  # trials are held again


def _slice(bench: Bench, label: int, share: float) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of a class that are held out, and the rest; both ascending."""
    positions_n = bench.train.of_class(label)
    count, ipc = held_out(len(positions_n), share), bench.spec.ipc
    if len(positions_n) - count < ipc:
        raise StageError(
            f"class {label} has {len(positions_n)} images: {count} held out for trials leave fewer than ipc = {ipc}; "
            "lower the share that is held out, or give the parameter instead of trying several"
        )
    order_n = rng.stream(bench.spec.seed or 0, "holdout", label).permutation(len(positions_n))
    return positions_n[np.sort(order_n[:count])], positions_n[np.sort(order_n[count:])]


def _accuracy(trials: Trials, chosen: Part, exam: Images, bench: Bench, report: Reporter) -> float:
    spec, dataset = bench.spec, bench.spec.dataset
    batch = recipe.set_batch(dataset.classes, spec.ipc)
    training = Training(
        steps=trials.steps,
        batch=batch,
        bn_group=batch,
        optimizer=_OPTIMIZER,
        augment=_AUGMENT,
        precision=spec.precision,
    )
    seed = spec.seed or 0
    student = models.build(trials.student, dataset.classes, chosen.resolution, rng.torch_seed(seed, "holdout-init"))
    run = train.Run(
        training=training,
        loss=labels.hard_labels(smoothing=0.0),
        mean=dataset.mean,
        std=dataset.std,
        seed=seed,
        device=bench.device,
        report=report,
    )
    train.train(student, images.images_of(chosen, bench.device, bench.threads), run)
    return judge.score(student, exam, dataset.mean, dataset.std, bench.device).top1_pct
