"""The stage `generator`, latents by one, and both methods that draw with it, on the digits."""

from __future__ import annotations

import threading
import types
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
from made_stages import DATASET, DIGITS, INDEX, Lab, condense, generator, latents, prepare

from condhpc import arrays, diffusers_models, keys, registry
from condhpc.errors import CorruptArtefactError
from condhpc.spec import FolderSpec, GeneratorSpec
from condhpc_jobs import inputs

TRAIN = DIGITS.split(INDEX, None, "train", 8)


@pytest.fixture(scope="module")
def generator_key(lab: Lab) -> str:
    """Forty steps."""
    return lab.key(generator())


def test_record_and_artefact(lab: Lab, generator_key: str) -> None:
    """The record says how it went and what it saw; what a later stage loads is the network that was trained."""
    record = lab.record(generator())
    assert record.key == generator_key
    told = {name: record.values[name] for name in ("source", "pretrained_on", "space", "resolution", "steps", "batch")}
    assert told == {
        "source": "trained", "pretrained_on": "", "space": "pixel", "resolution": 8, "steps": 40, "batch": 64,
    }  # fmt: skip
    assert record.values["train_count"] == len(TRAIN)
    assert 0 < record.values["loss_last"] < 3
    ctx = lab.context(condense("minimax", {"generator": generator_key}, seed=901))
    made = inputs.load_generator(ctx, "generator", "fp32")
    assert sum(p.numel() for p in made.network.parameters()) == record.values["parameters"]
    np.testing.assert_array_equal(made.labels_K, np.arange(10))
    assert made.network.proj_out_2.weight.any()  # type: ignore[union-attr, operator]
    assert not any(p.requires_grad for p in made.network.parameters())


def test_a_stopped_generator_goes_on_to_the_same_bits(tmp_path: Path, stop_at: threading.Event) -> None:
    """A second attempt resumes from the first one's checkpoint and publishes the same weights."""
    task = generator(steps=6)
    stopped, whole = Lab(tmp_path / "a"), Lab(tmp_path / "b")
    assert stopped.attempt(task, stop_at) == "stopped"
    assert len(list(stopped.folder(task).path.glob("checkpoint.*"))) == 1
    stop_at.clear()
    first, second = (arrays.read(one.artefact(task, "generator"), "generator") for one in (stopped, whole))
    assert stopped.record(task).attempt == 2
    assert {n: a.tobytes() for n, a in first.arrays.items()} == {n: a.tobytes() for n, a in second.arrays.items()}
    assert stopped.record(task).values == whole.record(task).values


def test_a_training_that_diverges_says_so(tmp_path: Path) -> None:
    """With the step, and what to do."""
    spec: Any = generator().spec
    task = generator(training=msgspec.structs.replace(spec.training, lr=1e20, steps=20))
    assert "training diverged" in Lab(tmp_path).failure(task)


def test_latents_are_embeddings(lab: Lab, generator_key: str) -> None:
    """On pixels: the images themselves in −1..1, channel by channel, a row for each image."""
    found = arrays.read_embeddings(lab.artefact(latents(generator_key), "embeddings"))
    images = TRAIN.read(np.arange(len(TRAIN)))
    expected = (images.transpose(0, 3, 1, 2) / 127.5 - 1).reshape(len(TRAIN), -1)
    np.testing.assert_allclose(found.vectors_ND, expected, atol=1e-6)
    assert found.attributes["encoder"] == f"generator:{generator_key}"


FAST: dict[str, dict[str, Any]] = {
    "minimax": {"phase_classes": 10, "mirror": False, "epochs": 1, "batch": 128, "ema_decay": 0.5, "steps": 5},
    "mgd3": {"steps": 6, "stop": 3, "generator": "generator"},
}


def of_method(lab: Lab, generator_key: str, name: str) -> Any:
    """Its task on digits, with all inputs there."""
    given = {"generator": generator_key}
    if name == "mgd3":
        embedded = lab.key(latents(generator_key))
        given["modes"] = lab.key(prepare("mgd3", "modes", {"latents": embedded}, ipc=2, latents="generator:latents"))
    params = msgspec.to_builtins(registry.load("methods", name).Params(**FAST[name]))
    return condense(name, given, params=params)


@pytest.mark.parametrize("name", ["minimax", "mgd3"])
def test_a_set_is_drawn(lab: Lab, generator_key: str, name: str) -> None:
    """Through the stage, in seconds: two images of each digit, no two the same."""
    held = arrays.read_condensed_set(lab.artefact(of_method(lab, generator_key, name), "set"))
    assert held.images_NHWC.shape == (20, 8, 8, 3)
    assert len(np.unique(held.images_NHWC.reshape(20, -1), axis=0)) == 20


@pytest.mark.parametrize("name", ["minimax", "mgd3"])
def test_a_stopped_set_goes_on_to_the_same_bits(
    lab: Lab, generator_key: str, name: str, stop_at: threading.Event
) -> None:
    """As the stage does it, from its third step."""
    stop_at.clear()
    task = of_method(lab, generator_key, name)
    whole = arrays.read_condensed_set(lab.artefact(task, "set"))
    again = msgspec.structs.replace(task, version=(1, 99))
    stop_at.clear()
    assert lab.attempt(again, stop_at) == "stopped"
    stop_at.clear()
    found = arrays.read_condensed_set(lab.artefact(again, "set"))
    assert lab.record(again).attempt == 2
    np.testing.assert_array_equal(found.images_NHWC, whole.images_NHWC)


def saved(home: Path, classes: int) -> FolderSpec:
    """A folder with a transformer of so many classes and an autoencoder that halves the sides."""
    from diffusers import AutoencoderKL, DiTTransformer2DModel

    DiTTransformer2DModel(
        num_attention_heads=1, attention_head_dim=8, in_channels=2, out_channels=4, num_layers=2, sample_size=4,
        patch_size=2, num_embeds_ada_norm=classes,
    ).save_pretrained(home / "transformer")  # fmt: skip
    AutoencoderKL(
        down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
        block_out_channels=(8, 8), latent_channels=2, norm_num_groups=4, sample_size=8,
    ).save_pretrained(home / "vae")  # fmt: skip
    return FolderSpec(name="xl", sha256=keys.sha256_of(home))


def loaded(folder: FolderSpec, **changes: Any) -> Any:
    """A generator made elsewhere."""
    return generator(arch=None, training=None, folder=folder, pretrained_on="photographs", **changes)


def test_a_folder_is_taken_over(tmp_path: Path) -> None:
    """Nothing is trained; what it saw and where it is from is in the record; its latents are the autoencoder's."""
    home = tmp_path / "xl"
    lab = Lab(tmp_path / "root", weights={"xl": str(home)})
    task = loaded(saved(home, 10))
    values = lab.record(task).values
    assert (values["source"], values["pretrained_on"], values["space"]) == ("weights:xl", "photographs", "latent")
    assert values["resolution"] == 8
    embedded = arrays.read_embeddings(lab.artefact(latents(keys.key(task)), "embeddings"))
    assert embedded.vectors_ND.shape == (len(TRAIN), 32)
    network, vae = diffusers_models.read_network(home), diffusers_models.read_vae(home)
    ctx = lab.context(condense("minimax", {"generator": keys.key(task)}))
    made = inputs.load_generator(ctx, "generator", "fp32")
    assert made.vae is not None
    for held, read in ((made.network, network), (made.vae, vae)):
        other = read.state_dict()
        assert all(np.array_equal(value, other[name]) for name, value in held.state_dict().items())
    drawn = condense(
        "minimax", {"generator": keys.key(task)}, params=msgspec.to_builtins(
            registry.load("methods", "minimax").Params(**FAST["minimax"])
        )
    )  # fmt: skip
    assert arrays.read_condensed_set(lab.artefact(drawn, "set")).images_NHWC.shape == (20, 8, 8, 3)


def test_an_autoencoder_made_elsewhere_serves_a_training_here(tmp_path: Path) -> None:
    """The space is its latents."""
    home = tmp_path / "xl"
    folder = saved(home, 10)
    lab = Lab(tmp_path / "root", weights={"xl": str(home)})
    values = lab.record(generator(steps=3, vae=folder, pretrained_on="photographs")).values
    assert (values["space"], values["resolution"], values["source"]) == ("latent", 8, "weights:xl")


@pytest.mark.parametrize("classes", [9, 11, 1000])
def test_a_generator_of_other_classes_is_refused(tmp_path: Path, classes: int) -> None:
    """Fewer, and more: without a word on whose labels it has, its first ten would be drawn as the digits."""
    home = tmp_path / "xl"
    folder = saved(home, classes)
    lab = Lab(tmp_path / "root", weights={"xl": str(home)})
    assert f"knows {classes} classes, 'digits' has 10; name the dataset" in lab.failure(loaded(folder))


def test_folders_that_do_not_fit_are_refused(tmp_path: Path) -> None:
    """Another digest, labels of a dataset of another size, and classes that its dataset does not have."""
    home = tmp_path / "xl"
    folder = saved(home, 10)
    lab = Lab(tmp_path / "root", weights={"xl": str(home)})
    other = msgspec.structs.replace(folder, sha256="0" * 64)
    assert "the task names 000" in lab.failure(loaded(other))
    wrong = loaded(folder, classes="imagenet1k")
    assert "the generator knows 10 classes, 'imagenet1k' has 1000; correct `classes`" in lab.failure(wrong)
    unknown = loaded(folder, classes="imagenette")
    assert "the generator knows the classes of 'imagenette', and ['0', '1', '2'] are not" in lab.failure(unknown)


def test_a_torn_generator_is_not_used(tmp_path: Path) -> None:
    """A file that lacks the network's configuration says so, and what to do."""
    path = tmp_path / "torn.h5"
    arrays.write(path, "generator", arrays.ArrayFile({"betas": np.zeros(3)}, {}))

    ctx = types.SimpleNamespace(input=lambda _role, _artefact: path, device="cpu")
    with pytest.raises(CorruptArtefactError, match=r"not a generator .*; delete its task and submit"):
        inputs.load_generator(ctx, "generator", "fp32")  # type: ignore[arg-type]


def test_the_spec_of_a_dataset_without_a_recipe_is_refused(tmp_path: Path) -> None:
    """Neither trained nor loaded."""
    spec = GeneratorSpec(
        dataset=DATASET, seed=0, split="train", arch=None, training=None, vae=None, folder=None, classes="",
        pretrained_on="",
    )  # fmt: skip
    task = msgspec.structs.replace(generator(), spec=spec)
    assert "has neither training nor folder" in Lab(tmp_path).failure(task)
