"""The stage `condense`."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from click.testing import CliRunner
from made_image_files import image_folder
from made_stages import DATASET, DIGITS, INDEX, Lab, condense, embed, teacher

from condhpc import arrays, cli, keys, registry, rng
from condhpc.arrays import CondensedSet
from condhpc.coresets.base import ClassImages, Coreset
from condhpc.errors import StageError
from condhpc.spec import CondenseSpec, DatasetSpec, Task, WeightsSpec
from condhpc_jobs.condense import require_valid

TRAIN = DIGITS.split(INDEX, None, "train", 8)
CORESETS = registry.names("coresets")


def _inputs(name: str, teacher_key: str, embedding_key: str) -> dict[str, str]:
    plugin = registry.load(registry.condenser_kind(name), name)
    needs = plugin.needs(plugin.Params())
    return {role: embedding_key if need.stage == "embed" else teacher_key for role, need in needs.items()}


@pytest.mark.parametrize("name", [*CORESETS, "rded"])
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
        "dataset": "digits",
        "value_range": "0..255",
        "seed": -1 if task.spec.seed is None else 0,  # type: ignore[union-attr]
        "ipc": 2,
        "resolution": 8,
        "condenser": name,
        "key": lab.record(task).key,
    }
    assert lab.record(task).values == {"count": 20, "set_bytes": 20 * 8 * 8 * 3, "soft_label_bytes": 0}


@pytest.mark.parametrize("name", CORESETS)
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


def test_scores_and_dynamics_are_those_of_the_class(lab: Lab, teacher_key: str, embedding_key: str) -> None:
    """The stage hands each class its own rows of scores and columns of dynamics."""
    of_3 = TRAIN.of_class(3)
    model = next(lab.layout.task("teacher", teacher_key).path.glob("model.*.h5"))
    embedding = arrays.read_embeddings(next(lab.layout.task("embed", embedding_key).path.glob("embeddings.*.h5")))
    margin_EN = arrays.read_dynamics(model, ["margin"])["margin"].astype(np.float64)
    expected = {"aum": margin_EN.mean(axis=0)[of_3], "entropy": -embedding.scores["entropy"][of_3].astype(np.float64)}
    for name, easiness_n in expected.items():
        held = arrays.read_condensed_set(lab.artefact(condense(name, _inputs(name, teacher_key, embedding_key)), "set"))
        assert held.source_index_N is not None
        assert held.source_index_N[6:8].tolist() == of_3[np.argsort(easiness_n, kind="stable")[:2]].tolist()


def test_a_committee_of_proxies(lab: Lab, teacher_key: str) -> None:
    """Members come as `proxy.0`, `proxy.1`; their order changes nothing."""
    other_key = lab.key(teacher(seed=1, steps=12))
    both = {"proxy.0": teacher_key, "proxy.1": other_key}
    turned = {"proxy.0": other_key, "proxy.1": teacher_key}
    alone = {"proxy": teacher_key}
    first, second, third = (
        arrays.read_condensed_set(lab.artefact(condense("aum", inputs, ipc=10), "set")).source_index_N
        for inputs in (both, turned, alone)
    )
    assert np.array_equal(first, second)
    assert not np.array_equal(first, third)


def test_dynamics_of_another_training_are_refused(tmp_path: Path) -> None:
    """A proxy that was trained on test data, or elsewhere, says nothing about these images."""
    lab = Lab(tmp_path)
    tested = lab.key(teacher(split="test", steps=3))
    assert "trained on the split 'test' of 'digits', expected 'train'" in lab.failure(
        condense("aum", {"proxy": tested})
    )
    model = lab.artefact(teacher(split="test", steps=3), "model")
    held = arrays.read(model, "model").arrays
    path = tmp_path / "weights.pth"
    start = "weights/"
    torch.save({n.removeprefix(start): torch.from_numpy(a) for n, a in held.items() if n.startswith(start)}, path)
    lab = Lab(tmp_path, weights={"w": str(path)})
    loaded = lab.key(teacher(weights=WeightsSpec(name="w", sha256=keys.sha256_file(path))))
    assert "was not trained here and left no dynamics" in lab.failure(condense("aum", {"proxy": loaded}))


def test_a_cut_off_is_tuned_on_training_data(lab: Lab, teacher_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The best of those tried selects from all training images, and the record tells; no test image is read."""
    opened: list[str] = []
    split_of = type(DIGITS).split

    def opening(self: Any, index: Any, folder: Any, name: str, resolution: int) -> Any:
        opened.append(name)
        return split_of(self, index, folder, name, resolution)

    monkeypatch.setattr(type(DIGITS), "split", opening)
    params = {"cutoffs": [0.7, 0.0, 0.3], "holdout_steps": 8}
    plugin = registry.load("coresets", "ccs")
    full = msgspec.to_builtins(plugin.Params()) | params
    tuned = lab.record(condense("ccs", {"proxy": teacher_key}, ipc=3, params=full))
    assert set(opened) == {"train"}
    assert [t["cutoff"] for t in tuned.values["trials"]] == [0.0, 0.3, 0.7]
    accuracy = [t["holdout_top1_pct"] for t in tuned.values["trials"]]
    assert tuned.values["tuned"] == {"cutoff": [0.0, 0.3, 0.7][accuracy.index(max(accuracy))]}
    fixed = msgspec.to_builtins(plugin.Params()) | tuned.values["tuned"]
    first, second = (
        arrays.read_condensed_set(lab.artefact(condense("ccs", {"proxy": teacher_key}, ipc=3, params=p), "set"))
        for p in (full, fixed)
    )
    assert np.array_equal(first.source_index_N, second.source_index_N)


def test_a_single_candidate_is_not_tried(lab: Lab, teacher_key: str) -> None:
    """There is nothing to choose; the set is that of the fixed cut-off."""
    plugin = registry.load("coresets", "ccs")
    full = msgspec.to_builtins(plugin.Params()) | {"cutoffs": [0.5]}
    record = lab.record(condense("ccs", {"proxy": teacher_key}, params=full))
    assert "trials" not in record.values
    fixed = msgspec.to_builtins(plugin.Params()) | {"cutoff": 0.5}
    sets = [
        arrays.read_condensed_set(lab.artefact(condense("ccs", {"proxy": teacher_key}, params=p), "set"))
        for p in (full, fixed)
    ]
    assert np.array_equal(sets[0].source_index_N, sets[1].source_index_N)


def test_the_list_of_images_is_a_set_again(tmp_path: Path) -> None:
    """What was chosen is listed by position with digests of pixels; as a set made elsewhere the list is accepted."""
    lab = Lab(tmp_path)
    task = condense("random", ipc=3)
    chosen = arrays.read_condensed_set(lab.artefact(task, "set"))
    path = tmp_path / "list.txt"
    asked = ["--root", str(tmp_path), "data", "list", keys.key(task)]
    assert CliRunner().invoke(cli.main, [*asked, "--out", str(path)]).exit_code == 0
    assert CliRunner().invoke(cli.main, asked).stdout == path.read_text()
    title, *lines = path.read_text().splitlines()
    assert title == f"# 30 training images of digits, chosen by random, task {keys.key(task)}"
    assert tuple(lines) == chosen.listing
    assert chosen.source_index_N is not None
    for line, position in zip(lines, chosen.source_index_N.tolist(), strict=True):
        assert line == f"{position}  # pixels-sha256:{hashlib.sha256(TRAIN.raw(position).tobytes()).hexdigest()}"
    again = Lab(tmp_path, sets={"theirs": str(path)})
    taken = arrays.read_condensed_set(again.artefact(_external(DATASET, path, ipc=3, resolution=8), "set"))
    assert np.array_equal(taken.source_index_N, chosen.source_index_N)
    assert np.array_equal(taken.images_NHWC, chosen.images_NHWC)


def test_the_list_of_image_files_has_their_paths_and_digests(tmp_path: Path) -> None:
    """As `sha256sum` prints them, class by class in the order chosen; a name that a list cannot hold is a position."""
    folder = image_folder(tmp_path / "pets", each=4)
    (folder / "train" / "b" / "0.jpg").rename(folder / "train" / "b" / "no #1.jpg")
    loader = registry.load("datasets", "image_folder")
    index = loader.index(folder)
    dataset = msgspec.structs.replace(
        DATASET, name="pets", loader="image_folder", index=index.digest(), classes=2, resolution=16
    )
    lab = Lab(tmp_path / "root", data={"pets": str(folder)})
    task = condense("random", ipc=4, dataset=dataset, resolution=16)
    chosen = arrays.read_condensed_set(lab.artefact(task, "set"))
    assert chosen.source_index_N is not None
    assert chosen.listing is not None
    for line, position in zip(chosen.listing, chosen.source_index_N.tolist(), strict=True):
        path = index.splits["train"].paths[position]
        digest = f"sha256:{hashlib.sha256((folder / path).read_bytes()).hexdigest()}"
        odd = "#" in path
        assert line == (f"{position}  # {digest} 'train/b/no #1.jpg'" if odd else f"{path}  # {digest}")
    listed = tmp_path / "list.txt"
    listed.write_text("\n".join(chosen.listing))
    again = Lab(tmp_path / "root", data={"pets": str(folder)}, sets={"theirs": str(listed)})
    taken = arrays.read_condensed_set(again.artefact(_external(dataset, listed, ipc=4, resolution=16), "set"))
    assert np.array_equal(taken.source_index_N, chosen.source_index_N)


@pytest.mark.parametrize("named", ["0" * 32, "../../etc", "gone.h5"])
def test_a_list_of_nothing(tmp_path: Path, named: str) -> None:
    """What is neither a file nor a recorded set is named, and no path is made of it."""
    result = CliRunner().invoke(cli.main, ["--root", str(tmp_path), "data", "list", named])
    assert result.exit_code == 2
    assert f"{named}: neither a file nor the key of a recorded set" in str(result.exception) + result.output


def test_a_distilled_set_has_no_list(tmp_path: Path) -> None:
    """Images that are not real lead back to no file."""
    path = tmp_path / "set.h5"
    arrays.write_condensed_set(path, CondensedSet(np.zeros((1, 8, 8, 3), dtype=np.uint8), np.zeros(1, dtype=np.int64)))
    result = CliRunner().invoke(cli.main, ["data", "list", str(path)])
    assert result.exit_code == 2
    assert "no list of real images in it" in str(result.exception) + result.output


def _external(dataset: DatasetSpec, path: Path, ipc: int, resolution: int) -> Task:
    spec = CondenseSpec(
        dataset=dataset,
        kind="external",
        condenser="external",
        params={"name": "theirs", "format": "indices", "sha256": keys.sha256_of(path), "class_folders": "names"},
        ipc=ipc,
        seed=None,
        resolution=resolution,
        precision="fp32",
    )
    return Task(stage="condense", spec=spec, inputs={}, version=(1, 1))


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
