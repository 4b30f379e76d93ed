"""Condensed sets made elsewhere, from the stage `condense` to a student."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from made_image_files import image_folder, smooth
from made_stages import DATASET, INDEX, Lab, analyze, embed, evaluate
from made_training import digits

from condhpc import arrays, keys, registry
from condhpc.arrays import ArrayFile
from condhpc.spec import CondenseSpec, Task

IMAGE_FOLDER = registry.load("datasets", "image_folder")


def take(path: Path, form: str, ipc: int = 10, resolution: int = 8) -> Task:
    """The task that takes a set as it is."""
    spec = CondenseSpec(
        dataset=DATASET,
        kind="external",
        condenser="external",
        params={"name": "theirs", "format": form, "sha256": keys.sha256_of(path), "class_folders": "names"},
        ipc=ipc,
        seed=None,
        resolution=resolution,
        precision="fp32",
    )
    return Task(stage="condense", spec=spec, inputs={}, version=(1, 1))


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    """A store whose profile names one set."""
    return Lab(tmp_path / "root", sets={"theirs": str(tmp_path / "set")})


def hdf5(path: Path, images_NHWC: Any, labels_N: Any, **more: Any) -> Path:
    """A set as others write it."""
    arrays.write(path, "somebody's", ArrayFile({"images": images_NHWC, "labels": labels_N, **more}))
    return path


def test_a_list_of_real_images_is_judged(tmp_path: Path, lab: Lab) -> None:
    """Ten of each class by position: a student learns from them, and measures know their own images."""
    train = digits("train")
    positions = [int(p) for label in range(10) for p in train.of_class(label)[:10]]
    (tmp_path / "set").write_text("\n".join(map(str, positions)))
    task = take(tmp_path / "set", "indices")
    record = lab.record(task)
    assert (record.values["count"], record.values["soft_label_bytes"]) == (100, 0)
    held = arrays.read_condensed_set(lab.artefact(task, "set"))
    assert held.source_index_N is not None
    assert held.source_index_N.tolist() == positions
    assert held.attributes["condenser"] == "external"
    student = lab.record(evaluate("erm", {"set": record.key}, steps=60))
    assert student.values["top1_pct"] > 40
    measured = lab.record(analyze("coverage", {"set": record.key, "embedding": lab.key(embed())}, encoder="pixels"))
    assert measured.values["value"] > 0


def test_soft_labels_of_a_set_teach(tmp_path: Path, lab: Lab) -> None:
    """Under `set_labels` a student learns what the soft labels say, here another class for each image."""
    train = digits("train")
    positions = np.concatenate([train.of_class(label)[:20] for label in range(10)])
    soft_NK = np.eye(10, dtype=np.float16)[(train.labels_N[positions] + 1) % 10]
    hdf5(tmp_path / "set", train.read(positions), train.labels_N[positions], soft_labels=soft_NK)
    key = lab.key(take(tmp_path / "set", "hdf5", ipc=20))
    taught = lab.record(evaluate("set_labels", {"set": key}, steps=80)).values
    plain = lab.record(evaluate("erm", {"set": key}, steps=80)).values
    assert taught["top1_pct"] < 15
    assert plain["top1_pct"] > 60


def test_a_set_is_trained_and_tested_at_its_own_resolution(tmp_path: Path) -> None:
    """Images of 12 pixels of a dataset that is used with 8: student and test images have 12."""
    home = image_folder(tmp_path / "data", classes=("a", "b"), each=4)
    index = IMAGE_FOLDER.index(home, ("train", "test"))
    changes: dict[str, Any] = {"name": "pets", "loader": "image_folder", "index": index.digest(), "classes": 2}
    dataset = msgspec.structs.replace(DATASET, **changes)
    for label, name in enumerate(index.class_names):
        (tmp_path / "set" / name).mkdir(parents=True)
        for i in range(2):
            smooth(12, 12, 10 * label + i).save(tmp_path / "set" / name / f"{i}.png")
    lab = Lab(tmp_path / "root", sets={"theirs": str(tmp_path / "set")}, data={"pets": str(home)})
    lab.layout.index(index.digest()).write_bytes(keys.encode(index))
    held = take(tmp_path / "set", "folder", ipc=2, resolution=12)
    task = msgspec.structs.replace(held, spec=msgspec.structs.replace(held.spec, dataset=dataset))
    assert arrays.read_condensed_set(lab.artefact(task, "set")).images_NHWC.shape == (4, 12, 12, 3)
    values = lab.record(evaluate("erm", {"set": lab.key(task)}, steps=3, dataset=dataset)).values
    assert (values["resolution"], values["test_count"]) == (12, 8)


def test_a_set_of_another_size_says_what_to_write(tmp_path: Path, lab: Lab) -> None:
    """Nothing is resized: a published set is judged as it was published."""
    train = digits("train")
    positions = np.concatenate([train.of_class(label)[:10] for label in range(10)])
    large = train.read(positions).repeat(2, axis=1).repeat(2, axis=2)
    hdf5(tmp_path / "set", large, train.labels_N[positions])
    assert "write resolution = 16" in lab.failure(take(tmp_path / "set", "hdf5"))


def test_a_set_that_the_profile_does_not_name(tmp_path: Path) -> None:
    """The error says where to name it."""
    (tmp_path / "set").write_text("0")
    assert 'the profile has no path for it; add `theirs = "…"` under [sets]' in Lab(tmp_path / "root").failure(
        take(tmp_path / "set", "indices")
    )


def test_another_content_is_refused(tmp_path: Path, lab: Lab) -> None:
    """A set that was replaced after planning is not judged under its old name."""
    (tmp_path / "set").write_text("\n".join(map(str, range(len(INDEX.splits["train"].labels)))))
    task = take(tmp_path / "set", "indices")
    (tmp_path / "set").write_text("0")
    assert "the task names" in lab.failure(task)
    assert msgspec.structs.asdict(task)["stage"] == "condense"
