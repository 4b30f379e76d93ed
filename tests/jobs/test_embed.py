"""The stage `embed`."""

from __future__ import annotations

import threading
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
from made_stages import DATASET, DIGITS, INDEX, Lab, condense, embed
from torchvision.models import get_model

from condhpc import arrays, encoders, keys, models, scores
from condhpc.errors import StageError
from condhpc.spec import NetworkSpec, Rows
from condhpc_jobs import embed as embed_stage
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


def test_scores_stand_beside_the_vectors(lab: Lab, teacher_key: str, embedding_key: str) -> None:
    """What the classifier makes of each image, against numpy on its logits in double precision."""
    task = embed(teacher_key)
    held = arrays.read_embeddings(lab.artefact(task, "embeddings"))
    assert set(held.scores) == set(scores.NAMES)
    model = inputs.load_teacher(lab.context(task), "encoder")
    images_NCHW = torch.from_numpy(DIGITS.split(INDEX, None, "train", 8).read(np.arange(COUNT))).permute(0, 3, 1, 2)
    mean_C11, std_C11 = (torch.tensor(v).view(3, 1, 1) for v in (DATASET.mean, DATASET.std))
    with torch.no_grad():
        logits_NK = model((images_NCHW.float() / 255 - mean_C11) / std_C11).numpy().astype(np.float64)
    p_NK = np.exp(logits_NK - logits_NK.max(axis=1, keepdims=True))
    p_NK /= p_NK.sum(axis=1, keepdims=True)
    own_N = p_NK[np.arange(COUNT), held.labels_N]
    ordered_NK = np.sort(p_NK, axis=1)
    error_N = np.linalg.norm(p_NK - np.eye(10)[held.labels_N], axis=1)
    expected = {
        "el2n": error_N,
        "grand": error_N * np.sqrt(1 + (held.vectors_ND.astype(np.float64) ** 2).sum(axis=1)),
        "nearness": 1 - (ordered_NK[:, -1] - ordered_NK[:, -2]),
        "entropy": -(p_NK * np.log(p_NK)).sum(axis=1),
        "doubt": 1 - ordered_NK[:, -1],
        "own_probability": own_N,
        "correct": logits_NK.argmax(axis=1) == held.labels_N,
    }
    for name, values in expected.items():
        np.testing.assert_allclose(held.scores[name], values, rtol=1e-3, atol=1e-4, err_msg=name)


def test_parts_are_the_whole_cut_into_pieces(lab: Lab, teacher_key: str) -> None:
    """Whole batches make a part, so no bit depends on the parts; joined, they read like one file."""
    whole = arrays.read_embeddings(lab.artefact(embed(teacher_key, batch=64), "embeddings"))
    cuts = [(0, 512), (512, 512), (1024, COUNT - 1024)]
    tasks = [embed(teacher_key, batch=64, rows=Rows(first=first, count=count)) for first, count in cuts]
    parts = [arrays.read_embeddings(lab.artefact(task, "embeddings")) for task in tasks]
    assert [(len(part.vectors_ND), part.attributes["first"]) for part in parts] == [(c, f) for f, c in cuts]
    both = arrays.joined(parts)
    assert np.array_equal(both.vectors_ND[:], whole.vectors_ND)
    assert np.array_equal(both.labels_N, whole.labels_N)
    assert all(np.array_equal(both.scores[name], whole.scores[name]) for name in scores.NAMES)


def test_a_set_chosen_from_parts_is_that_from_the_whole(lab: Lab, teacher_key: str, embedding_key: str) -> None:
    """A coreset does not notice that its embedding came in several files."""
    cuts = [(0, 768), (768, COUNT - 768)]
    found = [lab.key(embed(teacher_key, rows=Rows(first=first, count=count))) for first, count in cuts]
    from_parts = condense("herding", {f"embedding.{i}": key for i, key in enumerate(found)})
    sets = [
        arrays.read_condensed_set(lab.artefact(task, "set")).source_index_N
        for task in (from_parts, condense("herding", {"embedding": embedding_key}))
    ]
    assert np.array_equal(*sets)


def test_a_part_cut_short_goes_on_from_its_checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a stop nothing is encoded twice, and the file holds the bits of an uninterrupted run."""
    seen: list[int] = []
    stop = threading.Event()
    encode = encoders.pixels

    def noting(images_nHWC: torch.Tensor, labels_n: torch.Tensor) -> encoders.Seen:
        seen.append(len(images_nHWC))
        if len(seen) == 3:
            stop.set()
        return encode(images_nHWC, labels_n)

    monkeypatch.setattr(encoders, "pixels", noting)
    lab, task = Lab(tmp_path), embed(batch=100)
    assert lab.attempt(task, stop) == "stopped"
    assert len(seen) == 3
    assert lab.attempt(task, threading.Event()) == "recorded"
    assert sum(seen) == COUNT
    held = arrays.read_embeddings(lab.artefact(task, "embeddings"))
    split = DIGITS.split(INDEX, None, "train", 8)
    assert np.array_equal(held.vectors_ND, split.read(np.arange(COUNT)).reshape(COUNT, -1).astype(np.float32) / 255)


def network(library: str, arch: str, path: Path, resolution: int) -> NetworkSpec:
    """A network made elsewhere, in that file."""
    return NetworkSpec(
        library=library,  # type: ignore[arg-type]
        arch=arch,
        weights="own",
        sha256=keys.sha256_file(path),
        resolution=resolution,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
    )


@pytest.mark.parametrize(
    ("library", "arch", "resolution", "width"),
    [("torchvision", "resnet18", 64, 512), ("timm", "test_vit", 48, 64), ("timm", "test_resnet", 40, 96)],
)
def test_a_network_made_elsewhere(tmp_path: Path, library: str, arch: str, resolution: int, width: int) -> None:
    """Its features of resized images are those of a plain forward pass; it has no scores, and names its weights."""
    torch.manual_seed(0)
    made = get_model(arch) if library == "torchvision" else timm.create_model(arch, **_sized(arch, resolution))
    torch.save(made.state_dict(), tmp_path / "own.pth")
    lab = Lab(tmp_path, weights={"own": str(tmp_path / "own.pth")})
    spec = network(library, arch, tmp_path / "own.pth", resolution)
    task = embed(batch=16, network=spec, rows=Rows(first=16, count=20))
    held = arrays.read_embeddings(lab.artefact(task, "embeddings"))
    assert (held.vectors_ND.shape, dict(held.scores)) == ((20, width), {})
    assert lab.record(task).values["source"] == "weights:own"
    images_NCHW = torch.from_numpy(DIGITS.split(INDEX, None, "train", 8).read(np.arange(16, 36))).permute(0, 3, 1, 2)
    resized_NCHW = torch.nn.functional.interpolate(
        images_NCHW.float(), size=(resolution, resolution), mode="bicubic", antialias=True
    )
    made.fc, made.head = torch.nn.Identity(), torch.nn.Identity()
    with torch.no_grad():
        expected_ND = made.eval()((resized_NCHW.round().clamp(0, 255) / 255 - 0.5) / 0.25)
    np.testing.assert_allclose(held.vectors_ND, expected_ND, rtol=1e-3, atol=1e-3)


def _sized(arch: str, resolution: int) -> dict[str, int]:
    return {"img_size": resolution} if "vit" in arch else {}


@pytest.mark.parametrize(
    ("arch", "wrong", "said"),
    [
        ("test_resnet", "test_vit", "weights 'own': "),
        ("test_resnet", "test_vit", "does not fit timm's 'test_resnet': "),
        ("test_vi", "test_vit", "knows no network 'test_vi'; did you mean 'test_vit'?"),
    ],
)
def test_weights_of_another_network(tmp_path: Path, arch: str, wrong: str, said: str) -> None:
    """A file that does not fit, or a name that timm does not know, is refused and never half loaded."""
    torch.save(timm.create_model(wrong).state_dict(), tmp_path / "own.pth")
    lab = Lab(tmp_path, weights={"own": str(tmp_path / "own.pth")})
    reason = lab.failure(embed(network=network("timm", arch, tmp_path / "own.pth", 48)))
    assert said in reason
    assert "\n" not in reason  # tables show the last line
    assert len(reason) < 500 + len(str(tmp_path))


def test_float16_under_bf16_holds_all_digits_or_says_so() -> None:
    """Every bf16 number in range is kept exactly; what float16 cannot hold is an error, not an infinity."""
    values_nD = torch.randn(50, 7).bfloat16().float().numpy()
    held = embed_stage._Held(50, np.float16)
    held.add(embed_stage.Encoded(values_nD, {}))
    assert np.array_equal(held.finished(0).vectors_ND.astype(np.float32), values_nD)
    large = embed_stage._Held(1, np.float16)
    large.add(embed_stage.Encoded(np.full((1, 2), 1e5, dtype=np.float32), {}))
    with pytest.raises(StageError, match=r"1 of 1 embeddings .* exceeds float16"):
        large.finished(0)


def test_pixels_need_no_teacher(lab: Lab) -> None:
    """The encoder `pixels` is the image itself, in 0..1."""
    held = arrays.read_embeddings(lab.artefact(embed(), "embeddings"))
    split = DIGITS.split(INDEX, None, "train", 8)
    assert np.array_equal(held.vectors_ND[5], split.read(np.array([5]))[0].reshape(-1).astype(np.float32) / 255)
    assert held.attributes["encoder"] == "pixels"


def test_a_diverged_encoder_is_noticed(lab: Lab, teacher_key: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Vectors that are not finite are not published."""
    monkeypatch.setattr(
        models, "forward_with_features", lambda _model, x_NCHW: (x_NCHW.flatten(1) / 0.0, torch.zeros(len(x_NCHW), 10))
    )
    reason = lab.failure(embed(teacher_key, batch=32))
    assert f"of {COUNT} embeddings are NaN or infinite (first: image 0)" in reason
