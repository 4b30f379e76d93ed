"""The stage `embed`."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_stages import DATASET, DIGITS, INDEX, Lab, embed

from condhpc import arrays, models
from condhpc_jobs import inputs

COUNT = len(INDEX.splits["train"].labels)


def test_vectors_are_the_teachers_penultimate_layer(lab: Lab, teacher_key: str, embedding_key: str) -> None:
    """Row i is the feature of training image i, as a plain forward pass over all of them gives it."""
    task = embed(teacher_key)
    held = arrays.read_embeddings(lab.artefact(task, "embeddings"))
    assert held.vectors_ND.shape == (COUNT, 128)
    assert held.vectors_ND.dtype == np.float32
    assert held.labels_N.tolist() == list(INDEX.splits["train"].labels)
    ctx = lab.context(embed(teacher_key, batch=999))
    model = inputs.load_teacher(ctx, "encoder")
    split = DIGITS.split(INDEX, None, "train", 8)
    images_NCHW = torch.from_numpy(split.read(np.arange(COUNT))).permute(0, 3, 1, 2).float() / 255
    mean_C11, std_C11 = (torch.tensor(v).view(3, 1, 1) for v in (DATASET.mean, DATASET.std))
    with torch.no_grad():
        expected = models.penultimate(model, (images_NCHW - mean_C11) / std_C11).numpy()
    np.testing.assert_allclose(held.vectors_ND, expected, atol=1e-4)
    assert held.attributes["encoder"] == f"teacher:{teacher_key}"
    assert held.attributes["split"] == "train"
    assert "8×8 RGB / 255" in held.attributes["preprocessing"]
    assert lab.record(task).values == {"count": COUNT, "dimensions": 128}


def test_pixels_need_no_teacher(lab: Lab) -> None:
    """The encoder `pixels` is the image itself, in 0..1."""
    held = arrays.read_embeddings(lab.artefact(embed(), "embeddings"))
    split = DIGITS.split(INDEX, None, "train", 8)
    assert np.array_equal(held.vectors_ND[5], split.read(np.array([5]))[0].reshape(-1).astype(np.float32) / 255)
    assert held.attributes["encoder"] == "pixels"


def test_a_diverged_encoder_is_noticed(lab: Lab, teacher_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors that are not finite are not published."""
    monkeypatch.setattr(models, "penultimate", lambda _model, images_NCHW: images_NCHW.flatten(1) / 0.0)
    reason = lab.failure(embed(teacher_key, batch=64))
    assert f"of {COUNT} embeddings are NaN or infinite (first: image 0)" in reason
