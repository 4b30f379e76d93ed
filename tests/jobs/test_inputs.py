"""What stages read."""

from __future__ import annotations

from pathlib import Path

import msgspec
import numpy as np
import pytest
from made_stages import DATASET, INDEX, Lab, condense, teacher

from condhpc import arrays, keys, store
from condhpc.arrays import CondensedSet
from condhpc.errors import CorruptArtefactError, StageError
from condhpc_jobs import inputs


def test_index_comes_from_the_root(tmp_path: Path) -> None:
    """The list that was planned is used, not a new listing."""
    lab = Lab(tmp_path)
    renamed = msgspec.structs.replace(INDEX, class_names=tuple("abcdefghij"))
    lab.layout.index(renamed.digest()).write_bytes(keys.encode(renamed))
    ctx = lab.context(teacher())
    dataset = msgspec.structs.replace(DATASET, index=renamed.digest())
    assert inputs.open_index(ctx, dataset).class_names == tuple("abcdefghij")


@pytest.mark.parametrize("damage", ["missing", "torn", "another"])
def test_a_lost_index_is_listed_anew(tmp_path: Path, damage: str) -> None:
    """Where the copy under the root is gone or damaged, the same files give the same index."""
    lab = Lab(tmp_path)
    path = lab.layout.index(DATASET.index)
    if damage == "missing":
        path.unlink()
    elif damage == "torn":
        path.write_bytes(path.read_bytes()[:100])
    else:
        path.write_bytes(keys.encode(msgspec.structs.replace(INDEX, content="other")))
    assert inputs.open_index(lab.context(teacher()), DATASET) == INDEX


def test_another_dataset_is_refused(tmp_path: Path) -> None:
    """Files that do not give the planned digest are not trained on."""
    dataset = msgspec.structs.replace(DATASET, index="0" * 32)
    with pytest.raises(StageError, match="'digits' at its package is not the one that was planned"):
        inputs.open_index(Lab(tmp_path).context(teacher()), dataset)


def test_a_dataset_without_a_folder_is_named(tmp_path: Path) -> None:
    """A folder dataset that the profile does not map says which one it is."""
    dataset = msgspec.structs.replace(DATASET, name="pets", loader="image_folder", index="0" * 32)
    with pytest.raises(StageError, match="dataset 'pets': "):
        inputs.open_index(Lab(tmp_path).context(teacher()), dataset)


def test_split_is_the_datasets(tmp_path: Path) -> None:
    """The split by name, at the dataset's resolution."""
    split = inputs.open_split(Lab(tmp_path).context(teacher()), DATASET, "test")
    assert split.labels_N.tolist() == list(INDEX.splits["test"].labels)
    assert split.resolution == 8


def _with_set(lab: Lab, held: CondensedSet) -> store.Record:
    """A recorded set of any content."""
    task = condense("random", ipc=3)
    folder = lab.folder(task)
    store.write_task(folder, keys.preimage(task))
    path = folder.artefact("set", 1, "h5")
    arrays.write_condensed_set(path, held)
    artefact = store.Artefact(path.name, path.stat().st_size, keys.sha256_file(path))
    record = store.Record(
        key=keys.key(task),
        stage="condense",
        attempt=1,
        artefacts={"set": artefact},
        values={},
        cost={},
        environment={},
        started=0.0,
        ended=0.0,
    )
    folder.record.write_bytes(keys.encode(record))
    return record


@pytest.mark.parametrize(
    ("side", "classes", "message"), [(8, 9, "9 classes, 'digits' has 10"), (9, 10, r"its task says \(8, 8, 3\)")]
)
def test_a_set_of_another_dataset_is_refused(tmp_path: Path, side: int, classes: int, message: str) -> None:
    """Classes and sizes must be the dataset's."""
    lab = Lab(tmp_path)
    held = CondensedSet(np.zeros((classes, side, side, 3), dtype=np.uint8), np.arange(classes))
    ctx = lab.context(teacher())
    ctx.task.inputs["set"] = _with_set(lab, held).key
    with pytest.raises(CorruptArtefactError, match=message):
        inputs.load_set(ctx, DATASET)


def test_an_altered_artefact_is_refused(tmp_path: Path) -> None:
    """A flipped bit of a set is noticed before it is used."""
    lab = Lab(tmp_path)
    ctx = lab.context(teacher())
    ctx.task.inputs["set"] = lab.key(condense("random", ipc=1))
    path = lab.artefact(condense("random", ipc=1), "set")
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(CorruptArtefactError, match="its bytes changed since it was recorded"):
        inputs.load_set(ctx, DATASET)


def test_a_teacher_role_must_be_a_teacher(tmp_path: Path) -> None:
    """A role that points at another stage's task is a clear error."""
    lab = Lab(tmp_path)
    ctx = lab.context(teacher())
    ctx.task.inputs["set"] = lab.key(condense("random", ipc=1))
    with pytest.raises(StageError, match=r"input 'set' of .* is not a teacher"):
        inputs.load_teacher(ctx, "set")
