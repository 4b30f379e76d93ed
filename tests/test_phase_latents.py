"""Latents of a phase: those of the images at hand, decoded once, whether they are held or not."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from made_generators import ARCH, tiny_generator
from tiny_data import MemorySplit

from condhpc import diffusers_models, diffusion, generators, phase_latents
from condhpc.generators import Generator
from condhpc.phase_latents import PhaseLatents

POSITIONS = np.array([7, 2, 11, 4, 5, 0, 9])
ROWS, MIRRORED = np.array([6, 0, 3]), np.array([False, True, True])


def of_autoencoder() -> Generator:
    """A generator on latents of 4 × 4 of images of 8 × 8."""
    from diffusers import AutoencoderKL

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        vae = AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2, up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8), latent_channels=2, norm_num_groups=4, sample_size=8,
        )  # fmt: skip
    network = diffusers_models.build(ARCH, generators.latent_shape(vae, 8), 3, seed=0)
    return Generator(network, vae, diffusion.linear_chain(), np.arange(3)).placed("cpu")


def expected(made: Generator, split: MemorySplit) -> torch.Tensor:
    """Image by image."""
    images = split.read(POSITIONS[ROWS])
    images[MIRRORED] = images[MIRRORED][:, :, ::-1]
    return torch.cat([made.encode(torch.from_numpy(image[None].copy())) for image in images])


@pytest.mark.parametrize("held", [True, False])
@pytest.mark.parametrize("latent", [True, False])
def test_latents_are_those_of_the_images(monkeypatch: pytest.MonkeyPatch, *, latent: bool, held: bool) -> None:
    """As stored and mirrored, from pixels and from an autoencoder, held or read anew."""
    if not held:
        monkeypatch.setattr(phase_latents, "HELD_BYTES", 1)
    made, split = of_autoencoder() if latent else tiny_generator(3, 8), MemorySplit(3, 4, 8)
    found = PhaseLatents(made, split, POSITIONS, batch=2, mirror=True)
    assert found.fits is held
    ticks: list[int] = []
    found.fill(lambda: ticks.append(0))
    assert bool(ticks) is held
    torch.testing.assert_close(found.read(ROWS, MIRRORED), expected(made, split))


@pytest.mark.parametrize("latent", [True, False])
def test_images_are_decoded_once(monkeypatch: pytest.MonkeyPatch, *, latent: bool) -> None:
    """However often they are asked for, each image of the phase is read a single time, and no other."""
    made, split = of_autoencoder() if latent else tiny_generator(3, 8), MemorySplit(3, 4, 8)
    reads: list[int] = []
    read = split.read

    def noting(positions_n: np.ndarray) -> np.ndarray:  # type: ignore[type-arg]
        reads.extend(positions_n.tolist())
        return read(positions_n)

    monkeypatch.setattr(split, "read", noting)
    found = PhaseLatents(made, split, POSITIONS, batch=2, mirror=True)
    found.fill(lambda: None)
    for _ in range(3):
        found.read(ROWS, MIRRORED)
    assert sorted(reads) == sorted(POSITIONS.tolist())


def test_images_of_another_size_are_cut_from_stored_ones() -> None:
    """Stored images are of any shape; threads and portions change nothing in what becomes of them."""
    made, split = tiny_generator(3, 4), MemorySplit(3, 4, 8)
    found = PhaseLatents(made, split, POSITIONS, batch=2, mirror=False)
    found.fill(lambda: None)
    images = torch.from_numpy(generators.squares(split, POSITIONS[ROWS], 4))
    before = torch.get_num_threads()
    torch.testing.assert_close(found.read(ROWS, np.zeros(3, dtype=bool)), made.encode(images))
    try:
        torch.set_num_threads(3)
        again = PhaseLatents(made, split, POSITIONS, batch=2, mirror=False)
        again.fill(lambda: None)
        torch.testing.assert_close(again.read(ROWS, np.zeros(3, dtype=bool)), made.encode(images), rtol=0, atol=0)
    finally:
        torch.set_num_threads(before)
