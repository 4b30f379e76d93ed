"""The stage `analyze`."""

from __future__ import annotations

import msgspec
import numpy as np
import pytest
from made_stages import DIGITS, INDEX, Lab, analyze, condense, embed

from condhpc import arrays, neighbours, registry
from condhpc.arrays import CondensedSet, Embeddings
from condhpc.errors import StageError
from condhpc.metrics.base import Points, Scene
from condhpc_jobs.analyze import ClassesOfSet
from condhpc_jobs.embed import Encoded

TRAIN = DIGITS.split(INDEX, None, "train", 8)


@pytest.mark.parametrize("metric", ["coverage", "covering_radius"])
def test_record_of_a_measure_in_pixels(lab: Lab, metric: str) -> None:
    """The stage's value is the plug-in's on the real images and the set's, computed here by hand."""
    set_task = condense("random")
    values = lab.record(
        analyze(metric, {"set": lab.key(set_task), "embedding": lab.key(embed())}, encoder="pixels")
    ).values
    plugin = registry.load("metrics", metric)
    pixels_ND = TRAIN.read(np.arange(len(TRAIN))).reshape(len(TRAIN), -1).astype(np.float32) / 255
    source = arrays.read_condensed_set(lab.artefact(set_task, "set")).source_index_N
    assert source is not None
    classes = []
    for label in range(10):
        rows, own = TRAIN.of_class(label), source[2 * label : 2 * label + 2]
        at = np.array([rows.tolist().index(i) for i in own])
        classes.append(Points(pixels_ND[rows], pixels_ND[own], at))
    expected = plugin.compute(Scene(classes), plugin.Params())
    assert values["value"] == pytest.approx(expected.value, rel=1e-6)
    assert values["per_class"] == pytest.approx(list(expected.per_class), rel=1e-6)
    assert (values["reason"], values["unit"], values["better"]) == ("", plugin.unit, plugin.better)


def test_a_set_is_embedded_as_the_real_images_were(lab: Lab, teacher_key: str, embedding_key: str) -> None:
    """In the teacher's space a set of all training images would cover everything, and 50 per class more than 1."""
    found = []
    for ipc in (1, 50):
        inputs = {"set": lab.key(condense("random", ipc=ipc)), "embedding": embedding_key, "encoder": teacher_key}
        found.append(lab.record(analyze("coverage", inputs)).values["value"])
    assert 0 < found[0] < 0.2
    assert 0.7 < found[1] <= 1.0


def test_sets_that_are_no_real_images_own_no_rows(lab: Lab, teacher_key: str, embedding_key: str) -> None:
    """A distilled set is measured like any other, with nothing left out."""
    set_key = lab.key(condense("rded", {"observer": teacher_key}))
    values = lab.record(
        analyze("covering_radius", {"set": set_key, "embedding": embedding_key, "encoder": teacher_key})
    ).values
    assert values["value"] > 0
    assert len(values["per_class"]) == 10


def test_own_rows_are_rows_within_the_class() -> None:
    """A set point knows which row of its class it is; a point that is none is −1."""
    real = Embeddings(np.arange(6.0).reshape(6, 1), np.array([0, 1, 0, 1, 0, 1]))
    images = np.zeros((3, 1, 1, 3), dtype=np.uint8)
    labels = np.array([0, 0, 1])
    held = CondensedSet(images, labels, np.array([4, 0, 3]))
    set_MD = np.zeros((3, 1), dtype=np.float32)
    first, second = ClassesOfSet(real, held, Encoded(set_MD, {}))
    assert (first.own_M.tolist(), second.own_M.tolist()) == ([2, 0], [1])
    assert first.real_ND[:, 0].tolist() == [0.0, 2.0, 4.0]
    unsourced = ClassesOfSet(real, CondensedSet(images, labels), Encoded(set_MD, {}))
    assert [p.own_M.tolist() for p in unsourced] == [[-1, -1], [-1]]


def test_all_that_was_found_is_in_the_record(lab: Lab, teacher_key: str, embedding_key: str) -> None:
    """Pooled value, reference, interval and details stand beside the headline, with the encoder's key."""
    inputs = {"set": lab.key(condense("random")), "embedding": embedding_key, "encoder": teacher_key}
    values = lab.record(analyze("coverage", inputs)).values
    assert values["low"] <= values["value"] <= values["high"]
    assert values["interval_over"] == "real points"
    assert 0 < values["reference"] < 0.1
    assert 0 < values["pooled"] < 0.1
    assert values["encoder"] == f"teacher:{teacher_key}"
    curve = lab.record(analyze("epsilon_coverage", inputs)).values["details"]["covered"]
    assert curve == sorted(curve)
    assert curve[-1] > 0.5


def test_the_classifier_of_the_encoder_scores_the_set(lab: Lab, teacher_key: str, embedding_key: str) -> None:
    """The trained teacher knows its own training images."""
    set_key = lab.key(condense("random"))
    inputs = {"set": set_key, "embedding": embedding_key, "encoder": teacher_key}
    accuracy = lab.record(analyze("classifier_accuracy", inputs)).values["value"]
    realism = lab.record(analyze("rded_realism", inputs)).values["value"]
    assert 0.5 < accuracy <= 1.0
    assert -np.log(10) < realism < 0


def test_held_out_images_come_from_the_test_split(lab: Lab) -> None:
    """Real training images that are in the set are about as far from the others as test images are."""
    whole = embed()
    test = msgspec.structs.replace(whole, spec=msgspec.structs.replace(whole.spec, split="test"))
    inputs = {"set": lab.key(condense("random", ipc=20)), "embedding": lab.key(whole), "heldout": lab.key(test)}
    ratio = lab.record(analyze("nn_distance_ratio", inputs, encoder="pixels")).values
    assert 0.8 < ratio["value"] < 1.25
    assert ratio["interval_over"] == "held-out real points"
    authentic = lab.record(analyze("authpct", inputs, encoder="pixels")).values
    assert authentic["value"] == pytest.approx(authentic["reference"], abs=15)


def test_what_depends_on_real_images_alone_is_shared(lab: Lab, monkeypatch: pytest.MonkeyPatch) -> None:
    """A second set, and another measure, find the radii that the first left; a torn file only costs time."""
    k = 7
    embedding = lab.key(embed())
    of = [{"set": lab.key(condense("random", seed=seed)), "embedding": embedding} for seed in (0, 1)]
    before = set((lab.layout.root / "cache").glob("*.npy"))
    lab.key(analyze("coverage", of[0], encoder="pixels", k=k))
    made = set((lab.layout.root / "cache").glob("*.npy")) - before
    assert len(made) == 2
    for path in made:
        path.write_bytes(path.read_bytes()[:-1])
    again = lab.record(analyze("density", of[0], encoder="pixels", k=k)).values["value"]
    assert set((lab.layout.root / "cache").glob("*.npy")) - before == made
    with monkeypatch.context() as patch:
        patch.setattr(neighbours, "k_nearest_others", None)  # not needed any more
        assert lab.record(analyze("coverage", of[1], encoder="pixels", k=k)).values["value"] is not None
    assert again > 0


@pytest.mark.parametrize("wrong", [1, 5, 77])
def test_a_source_of_another_class_is_refused(wrong: int) -> None:
    """A source index that does not name an image of the class means that set and embeddings do not belong together."""
    real = Embeddings(np.arange(6.0).reshape(6, 1), np.array([0, 1, 0, 1, 0, 1]))
    held = CondensedSet(np.zeros((1, 1, 1, 3), dtype=np.uint8), np.array([0]), np.array([wrong]))
    with pytest.raises(StageError, match="class 0: the set's source index names images of another class or split"):
        ClassesOfSet(real, held, Encoded(np.zeros((1, 1), dtype=np.float32), {}))
