"""Bytes of files, against networks that are built and files that are written."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from made_runs import DATASET, MadeRun
from torch import nn

from condhpc import arrays, models, storage
from condhpc.arrays import CondensedSet
from condhpc.efforts import Efforts
from condhpc.spec import DatasetSpec, Task

UNPOOLED = ("convnet3", "convnet4", "convnet6")


@pytest.mark.parametrize(("arch", "resolution"), [(a, 64) for a in models.ARCHS] + [(a, 224) for a in UNPOOLED])
def test_networks_are_counted(arch: str, resolution: int) -> None:
    """All parameters and buffers, to 2 %, and what enters the last layer, exactly."""
    model = models.build(arch, 10, resolution, 0)
    held = [*model.parameters(), *model.buffers()]
    last = [module for module in model.modules() if isinstance(module, nn.Linear)][-1]
    assert storage.feature_count(arch, resolution) == last.in_features
    assert storage.network_bytes(arch, 10, resolution) == pytest.approx(4 * sum(t.numel() for t in held), rel=0.02)


def _kept(made: MadeRun, key: str) -> float | None:
    def behind(task: Task, role: str) -> Task | None:
        return made.tasks.get(task.inputs[role])

    def count(dataset: DatasetSpec, split: str) -> int:
        del dataset, split
        return 1000

    return storage.kept_bytes(made.tasks[key], Efforts(behind, count), count)


def test_a_set_takes_what_its_file_takes(root: Path, tmp_path: Path) -> None:
    """Written and looked at; the format's own share is small from some images on."""
    made = MadeRun(root)
    images = np.random.default_rng(0).integers(0, 255, (500, 8, 8, 3), dtype=np.uint8)
    path = tmp_path / "set.h5"
    arrays.write_condensed_set(path, CondensedSet(images, np.zeros(500, np.int64), None, {"key": "k"}))
    assert _kept(made, made.condense(ipc=50)) == pytest.approx(path.stat().st_size, rel=0.15)


def test_embeddings_and_evaluations(root: Path) -> None:
    """Single precision times images times features; an evaluation leaves numbers alone."""
    made = MadeRun(root)
    teacher = made.teacher()
    assert _kept(made, made.embed(teacher)) == 1000 * 4 * storage.feature_count("convnet3", DATASET.resolution)  # type: ignore[operator]
    assert _kept(made, made.evaluate(made.condense())) == 0.0


def test_a_network_of_others_has_no_known_size() -> None:
    """Rather than a wrong one."""
    assert storage.network_bytes("theirs", 10, 32) is None
