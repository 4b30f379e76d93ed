"""The stage `condense`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from made_stages import DATASET, DIGITS, INDEX, Lab, condense, embed

from condhpc import arrays, registry, rng
from condhpc.arrays import CondensedSet
from condhpc.coresets.base import ClassImages, Coreset
from condhpc.errors import StageError
from condhpc_jobs.condense import require_valid

TRAIN = DIGITS.split(INDEX, None, "train", 8)
NEEDS = {"random": None, "herding": "embedding", "kcenter": "embedding", "rded": "observer"}


def _inputs(name: str, teacher_key: str, embedding_key: str) -> dict[str, str]:
    role = NEEDS[name]
    return {} if role is None else {role: embedding_key if role == "embedding" else teacher_key}


@pytest.mark.parametrize("name", NEEDS)
def test_every_condenser_leaves_a_balanced_set(lab: Lab, teacher_key: str, embedding_key: str, name: str) -> None:
    """Two images of each digit, class by class, with what a reader needs to know in the attributes."""
    task = condense(name, _inputs(name, teacher_key, embedding_key))
    held = arrays.read_condensed_set(lab.artefact(task, "set"))
    assert held.labels_N.tolist() == [label for label in range(10) for _ in range(2)]
    assert held.images_NHWC.shape == (20, 8, 8, 3)
    found = dict(held.attributes)
    assert list(found.pop("class_names")) == [str(d) for d in range(10)]
    assert np.allclose(found.pop("mean"), DATASET.mean)
    assert np.allclose(found.pop("std"), DATASET.std)
    assert found == {
        "value_range": "0..255",
        "seed": -1 if task.spec.seed is None else 0,  # type: ignore[union-attr]
        "ipc": 2,
        "resolution": 8,
        "condenser": name,
        "key": lab.record(task).key,
    }
    assert lab.record(task).values == {"count": 20, "set_bytes": 20 * 8 * 8 * 3, "soft_label_bytes": 0}


@pytest.mark.parametrize("name", ["random", "herding", "kcenter"])
def test_coresets_are_real_images_under_their_own_labels(
    lab: Lab, teacher_key: str, embedding_key: str, name: str
) -> None:
    """The source index leads back to the very image and label."""
    task = condense(name, _inputs(name, teacher_key, embedding_key))
    held = arrays.read_condensed_set(lab.artefact(task, "set"))
    assert held.source_index_N is not None
    assert np.array_equal(held.images_NHWC, TRAIN.read(held.source_index_N))
    assert np.array_equal(held.labels_N, TRAIN.labels_N[held.source_index_N])


def test_random_draws_each_class_from_its_own_stream(lab: Lab) -> None:
    """A class's images do not depend on other classes, and come from the stream of that name."""
    held = arrays.read_condensed_set(lab.artefact(condense("random"), "set"))
    assert held.source_index_N is not None
    of_7 = TRAIN.of_class(7)
    expected = of_7[rng.stream(0, "random", 7).permutation(len(of_7))[:2]]
    assert held.source_index_N[14:16].tolist() == expected.tolist()


def test_another_set_seed_is_another_set(lab: Lab) -> None:
    """The set seed reaches the plug-in."""
    first, second = (lab.artefact(condense("random", seed=seed), "set") for seed in (0, 1))
    chosen = [arrays.read_condensed_set(path).source_index_N for path in (first, second)]
    assert not np.array_equal(chosen[0], chosen[1])


def test_herding_looks_at_the_rows_of_its_class(lab: Lab, embedding_key: str) -> None:
    """The stage hands each class its own embeddings: the first pick is the image nearest to the class mean."""
    held = arrays.read_condensed_set(lab.artefact(condense("herding", {"embedding": embedding_key}), "set"))
    folder = lab.layout.task("embed", embedding_key).path
    vectors_ND = arrays.read_embeddings(next(folder.glob("embeddings.*.h5"))).vectors_ND.astype(np.float64)
    plugin: Coreset = registry.load("coresets", "herding")
    of_3 = TRAIN.of_class(3)
    within = plugin.select(ClassImages(len(of_3), rng.stream(0, "herding", 3), vectors_ND[of_3]), 2, plugin.Params())
    assert held.source_index_N is not None
    assert held.source_index_N[6:8].tolist() == of_3[within].tolist()


def test_embeddings_of_another_split_are_refused(tmp_path: Path) -> None:
    """Rows that are not the training images select nothing."""
    lab = Lab(tmp_path)
    task = embed()
    short = msgspec.structs.replace(task, spec=msgspec.structs.replace(task.spec, split="test"))
    reason = lab.failure(condense("herding", {"embedding": lab.key(short)}))
    assert f"rows, the training split {len(TRAIN)} images" in reason


def test_a_class_that_is_too_small_fails_clearly(tmp_path: Path) -> None:
    """An ipc above the class size is the plug-in's error, kept in the diary."""
    assert "lower ipc" in Lab(tmp_path).failure(condense("random", ipc=1000))


def _valid() -> dict[str, Any]:
    return {
        "images_NHWC": np.zeros((20, 8, 8, 3), dtype=np.uint8),
        "labels_N": np.repeat(np.arange(10), 2),
        "source_index_N": np.arange(20),
    }


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images_NHWC": np.zeros((20, 8, 8, 3), dtype=np.float32)}, r"images float32 .* expected uint8 \(20, 8, 8, 3"),
        ({"images_NHWC": np.zeros((19, 8, 8, 3), dtype=np.uint8)}, r"images uint8 \(19, 8, 8, 3\)"),
        ({"labels_N": np.tile(np.arange(10), 2)}, "labels must be int64, class by class, 2 of each of 10"),
        ({"labels_N": np.repeat(np.arange(10), 2).astype(np.int32)}, "labels must be int64"),
        ({"source_index_N": np.arange(19)}, "source index must be 20 positions in 0..99"),
        ({"source_index_N": np.arange(20) + 90}, "source index must be 20 positions"),
        ({"source_index_N": np.arange(20) // 2}, "an image was chosen twice"),
    ],
)
def test_a_plugin_that_breaks_its_contract_is_named(change: dict[str, Any], message: str) -> None:
    """Budget, balance, order and types are checked before a set is published."""
    spec: Any = condense("random").spec
    require_valid(CondensedSet(**_valid()), spec, 100)
    require_valid(CondensedSet(**{**_valid(), "source_index_N": None}), spec, 100)
    with pytest.raises(StageError, match=f"condenser 'random' broke its contract: {message}"):
        require_valid(CondensedSet(**{**_valid(), **change}), spec, 100)
