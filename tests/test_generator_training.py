"""Training of a generator: what is drawn, and that it learns."""

from functools import partial
from typing import Any

import numpy as np
import pytest
import torch
from tiny_data import Recorder

from condhpc import diffusers_models, diffusion, generator_training, registry, rng
from condhpc.generators import Generator
from condhpc.images import ResidentImages, StreamedImages
from condhpc.spec import DiffusionTransformer, GeneratorTraining

DIGITS = registry.load("datasets", "digits")


def digits() -> ResidentImages:
    """All training digits."""
    split = DIGITS.split(DIGITS.index(None), None, "train", 8)
    return ResidentImages(split.read(np.arange(len(split))), split.labels_N, "cpu")


def recipe(**changes: Any) -> GeneratorTraining:
    """Eighty steps."""
    fields: dict[str, Any] = {
        "steps": 80, "batch": 64, "lr": 3e-3, "ema_decay": 0.9, "label_dropout": 0.1, "mirror": False,
        "precision": "fp32",
    }  # fmt: skip
    return GeneratorTraining(**{**fields, **changes})


def fresh() -> Generator:
    """A network at its start, on the digits' pixels."""
    network = diffusers_models.build(DiffusionTransformer(patch=2, width=32, depth=2, heads=2), (3, 8, 8), 10, seed=0)
    return Generator(network, None, diffusion.linear_chain(), np.arange(10)).placed("cpu")


def error_on_digits(made: Generator, images: ResidentImages) -> float:
    """Squared error of the noise in the first 500 digits, at steps and noises of its own; 1 at the start."""
    draw = rng.stream(3, "held out")
    latents = made.encode(images.images_NHWC[:500])
    step_n = draw.integers(1000, size=500)
    noise = torch.from_numpy(draw.standard_normal((500, 3, 8, 8), dtype=np.float32))
    with torch.inference_mode():
        seen = made.predicted(made.chain.noised(latents, step_n, noise), step_n, images.labels_N[:500].numpy())
        return float((seen.noise_nCSS - noise).square().mean())


def test_a_generator_learns() -> None:
    """Its error on digits falls well below that of a fresh one, which sees no noise at all, and it ends frozen."""
    made, images = fresh(), digits()
    assert error_on_digits(made, images) == pytest.approx(1.0, abs=0.05)
    loss_last = generator_training.train(made, images, recipe(), 0, Recorder())
    assert error_on_digits(made, images) < 0.6
    assert np.isfinite(loss_last)
    assert not any(p.requires_grad for p in made.network.parameters())


def test_images_that_are_decoded_on_the_way_give_the_same_weights() -> None:
    """Of a split too large for the device: the same batches with the same draws, decoded ahead by threads."""
    split = DIGITS.split(DIGITS.index(None), None, "train", 8)
    weights = []
    for images in (digits(), StreamedImages(split, "cpu", threads=2)):
        made, noted = fresh(), Recorder()
        generator_training.train(made, images, recipe(steps=30, batch=100, mirror=True), 0, noted)
        assert [step for step, _ in noted.ticks] == list(range(1, 31))
        weights.append(made.network.state_dict())
    assert all(torch.equal(value, weights[1][name]) for name, value in weights[0].items())


def test_what_is_drawn() -> None:
    """An epoch has each image once; steps span the chain; a tenth of the labels is left out; half is mirrored."""
    stream, made = partial(rng.stream, 0), fresh()
    drawing = generator_training.Drawing(recipe(mirror=True), stream, 1000, made)
    found = [drawing.at(step) for step in range(16)]
    assert sorted(np.concatenate([d.positions_n for d in found]).tolist()) == list(range(1000))
    assert [len(d.positions_n) for d in found] == [64] * 15 + [40]
    steps = np.concatenate([d.step_n for d in found])
    assert (steps.min() < 20, steps.max() > 980, steps.max() < 1000) == (True, True, True)
    assert np.concatenate([d.unlabelled_n for d in found]).mean() == pytest.approx(0.1, abs=0.03)
    assert np.concatenate([d.mirrored_n for d in found]).mean() == pytest.approx(0.5, abs=0.05)
    after, other = drawing.at(16), generator_training.Drawing(recipe(), stream, 1000, made)
    assert not np.array_equal(after.positions_n, found[0].positions_n)
    other.at(40)
    again = other.at(3)
    np.testing.assert_array_equal(again.positions_n, found[3].positions_n)
    np.testing.assert_array_equal(again.noise_nCSS, found[3].noise_nCSS)
    assert not again.mirrored_n.any()


def test_mirroring() -> None:
    """Left to right, of those images that are drawn."""
    images = torch.arange(12, dtype=torch.uint8).reshape(2, 1, 3, 2)
    found = generator_training.mirrored(images, np.array([False, True]))
    assert found[0].tolist() == images[0].tolist()
    assert found[1].tolist() == [images[1, 0].tolist()[::-1]]
