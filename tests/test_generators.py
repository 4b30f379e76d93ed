"""Generators: images to latents and back, labels, guidance, and folders that diffusers reads."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_generators import ARCH, tiny_generator
from tiny_data import MemorySplit

from condhpc import diffusers_models, diffusion, generators
from condhpc.errors import StageError
from condhpc.generators import Generator
from condhpc.spec import DiffusionTransformer

PIXELS = tiny_generator(3, 8)


def noisy(n: int, channels: int = 3, side: int = 8) -> torch.Tensor:
    """Noise."""
    return torch.randn(n, channels, side, side, generator=torch.Generator().manual_seed(2))


def tiny_vae() -> Any:
    """Halves both sides of an image, two channels."""
    from diffusers import AutoencoderKL

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(4)
        return AutoencoderKL(
            down_block_types=("DownEncoderBlock2D",) * 2,
            up_block_types=("UpDecoderBlock2D",) * 2,
            block_out_channels=(8, 8),
            layers_per_block=1,
            latent_channels=2,
            norm_num_groups=4,
            sample_size=8,
            scaling_factor=0.5,
        ).eval()


def test_pixels_come_back() -> None:
    """Without an autoencoder every grey level survives, and latents are −1..1."""
    images = torch.arange(192, dtype=torch.uint8).reshape(1, 8, 8, 3) + 60
    latents = PIXELS.encode(images)
    assert (float(latents.min()), float(latents.max())) == pytest.approx((60 / 127.5 - 1, 251 / 127.5 - 1))
    torch.testing.assert_close(PIXELS.decode(latents, 8), images)
    assert PIXELS.decode(latents, 4).shape == (1, 4, 4, 3)


def test_latents_are_the_modes_of_the_autoencoder_scaled() -> None:
    """As the transformer sees them; decoding scales them back."""
    vae = tiny_vae()
    network = diffusers_models.build(ARCH, generators.latent_shape(vae, 16), 3, seed=0)
    made = Generator(network, vae, diffusion.linear_chain(), np.arange(3)).placed("cpu")
    assert (made.latent_shape, made.resolution) == ((2, 8, 8), 16)
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (2, 16, 16, 3), dtype=np.uint8))
    with torch.no_grad():
        expected = vae.encode(images.permute(0, 3, 1, 2) / 127.5 - 1).latent_dist.mode() * 0.5
        decoded = vae.decode(expected / 0.5).sample
    torch.testing.assert_close(made.encode(images), expected)
    grey = ((decoded + 1) * 127.5).round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
    torch.testing.assert_close(made.decode(expected, 16), grey)


def test_an_autoencoder_takes_some_images_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """An embedding's batch of 256 large images would not fit on a GPU; the latents and the order are the same."""
    vae = tiny_vae()
    network = diffusers_models.build(ARCH, generators.latent_shape(vae, 16), 3, seed=0)
    made = Generator(network, vae, diffusion.linear_chain(), np.arange(3)).placed("cpu")
    images = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (5, 16, 16, 3), dtype=np.uint8))
    whole = made.encode(images)
    seen: list[int] = []
    encode, decode = vae.encode, vae.decode
    monkeypatch.setattr(vae, "encode", lambda part: [seen.append(len(part)), encode(part)][1])
    monkeypatch.setattr(vae, "decode", lambda part: [seen.append(len(part)), decode(part)][1])
    drawn = made.decode(whole, 16)
    monkeypatch.setattr(generators, "_VAE_IMAGES", 2)
    torch.testing.assert_close(made.encode(images), whole)
    assert (made.decode(whole, 16).int() - drawn.int()).abs().max() <= 1
    assert seen == [5, 2, 2, 1, 2, 2, 1]


def test_an_autoencoder_takes_multiples_of_its_step() -> None:
    """Other sizes are refused before anything is trained."""
    with pytest.raises(StageError, match="multiples of 2 px, not of 9"):
        generators.latent_shape(tiny_vae(), 9)


def test_labels_are_the_datasets() -> None:
    """A generator of more classes is asked for the ones that the dataset's are; −1 is no class."""
    made = tiny_generator(2, 8, labels=[4, 1])
    plain = dataclasses.replace(made, labels_K=np.arange(5))
    x, times = noisy(2), np.array([10, 900])
    found = made.predicted(x, times, np.array([0, 1]))
    torch.testing.assert_close(found.noise_nCSS, plain.predicted(x, times, np.array([4, 1])).noise_nCSS)
    nothing = made.predicted(x, times, np.array([-1, -1])).noise_nCSS
    network: Any = made.network
    direct = network(x, timestep=torch.from_numpy(times), class_labels=torch.tensor([5, 5])).sample[:, :3]
    torch.testing.assert_close(nothing, direct)
    assert float((nothing - found.noise_nCSS).abs().max()) > 1e-4


@pytest.mark.parametrize("channels", [0, 1])
def test_guidance_leads_away_from_no_class(channels: int) -> None:
    """ε = ε₀ + s (ε_c − ε₀), in all channels or the first ones; the variance is that of the class."""
    x, times, labels = noisy(2), np.array([10, 900]), np.array([0, 2])
    with_class, without = PIXELS.predicted(x, times, labels), PIXELS.predicted(x, times, np.array([-1, -1]))
    expected = without.noise_nCSS + 4.0 * (with_class.noise_nCSS - without.noise_nCSS)
    if channels:
        expected[:, channels:] = with_class.noise_nCSS[:, channels:]
    found = PIXELS.guided(x, times, labels, 4.0, channels)
    torch.testing.assert_close(found.noise_nCSS, expected, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(found.share_nCSS, with_class.share_nCSS, rtol=1e-4, atol=1e-5)
    plain = PIXELS.guided(x, times, labels, 1.0, channels)
    torch.testing.assert_close(plain.noise_nCSS, with_class.noise_nCSS)


def test_clean_pixels_stay_within_their_range() -> None:
    """x̂0 of pixels is cut to −1..1; that of latents is not."""
    x, step_n = noisy(2), np.array([900, 999])
    found = PIXELS.clean(x, step_n, torch.zeros_like(x), PIXELS.chain)
    assert float(found.abs().max()) == 1.0
    latent = dataclasses.replace(PIXELS, vae=tiny_vae())
    assert float(latent.clean(x, step_n, torch.zeros_like(x), PIXELS.chain).abs().max()) > 10


def test_a_fresh_network_starts_at_zero_with_one_embedding() -> None:
    """adaLN-Zero: blocks are the identity and the output is zero; equal seeds give equal weights."""
    network: Any = diffusers_models.build(ARCH, (3, 8, 8), 3, seed=1)
    found = network(noisy(2), timestep=torch.tensor([1, 500]), class_labels=torch.tensor([0, 3])).sample
    assert found.shape == (2, 6, 8, 8)
    assert not found.any()
    assert network.transformer_blocks[1].norm1.emb is network.transformer_blocks[0].norm1.emb
    again, other = (diffusers_models.build(ARCH, (3, 8, 8), 3, seed=seed) for seed in (1, 2))
    pairs = zip(network.parameters(), again.parameters(), other.parameters(), strict=True)
    assert all(torch.equal(a, b) for a, b, _ in pairs)
    assert not torch.equal(network.pos_embed.proj.weight, other.pos_embed.proj.weight)


def test_patches_must_tile_the_latent() -> None:
    """The message names the field."""
    arch = DiffusionTransformer(patch=3, width=16, depth=1, heads=2)
    with pytest.raises(StageError, match="patches of 3 cannot tile 8 × 8; change `patch`"):
        diffusers_models.build(arch, (3, 8, 8), 3, seed=0)


def test_a_copy_is_the_copys_own() -> None:
    """Tuning a copy leaves the generator alone, and the copy's blocks share the copy's embedding."""
    copied: Any = PIXELS.own_copy()
    assert copied.transformer_blocks[1].norm1.emb is copied.transformer_blocks[0].norm1.emb
    before = PIXELS.network.proj_out_2.weight.clone()  # type: ignore[union-attr, operator]
    with torch.no_grad():
        copied.proj_out_2.weight.zero_()
    torch.testing.assert_close(PIXELS.network.proj_out_2.weight, before)


def unshared() -> Any:
    """The network as diffusers has it, an embedding in each block."""
    network: Any = diffusers_models.network_of(json.loads(diffusers_models.config_of(PIXELS.network)))
    network.load_state_dict(PIXELS.network.state_dict())
    return network


def saved(folder: Path, **scheduler: Any) -> Path:
    """A diffusers folder."""
    from diffusers import DDPMScheduler

    network = unshared()
    network.save_pretrained(folder / "transformer")
    tiny_vae().save_pretrained(folder / "vae")
    DDPMScheduler(**scheduler).save_pretrained(folder / "scheduler")
    return folder


def test_a_folder_is_read(tmp_path: Path) -> None:
    """Transformer, autoencoder and schedule, without the network; equal embeddings are one again."""
    home = saved(tmp_path, beta_end=0.01)
    network: Any = diffusers_models.read_network(home)
    state = PIXELS.network.state_dict()
    assert all(torch.equal(value, state[name]) for name, value in network.state_dict().items())
    assert network.transformer_blocks[1].norm1.emb is network.transformer_blocks[0].norm1.emb
    for folder in (home, home / "vae"):
        assert diffusers_models.read_vae(folder).config.scaling_factor == 0.5  # type: ignore[union-attr]
    assert diffusers_models.read_betas(home)[-1] == pytest.approx(0.01)
    assert diffusers_models.read_betas(home / "vae")[-1] == pytest.approx(0.02)


def test_other_folders_are_refused(tmp_path: Path) -> None:
    """One without the parts, and one whose network predicts something else."""
    with pytest.raises(StageError, match="transformer: not a DiTTransformer2DModel as diffusers saves one"):
        diffusers_models.read_network(tmp_path)
    home = saved(tmp_path, prediction_type="v_prediction")
    with pytest.raises(StageError, match="predicts 'v_prediction', expected 'epsilon'"):
        diffusers_models.read_betas(home)


def test_a_network_is_rebuilt_from_its_configuration() -> None:
    """What an artefact holds: JSON and weights."""
    found = dataclasses.replace(PIXELS, network=unshared().eval()).predicted(noisy(1), np.array([7]), np.array([1]))
    torch.testing.assert_close(found.noise_nCSS, PIXELS.predicted(noisy(1), np.array([7]), np.array([1])).noise_nCSS)


def test_embeddings_that_differ_stay_apart() -> None:
    """A network tuned elsewhere may have an embedding of its own in each block."""
    network = unshared()
    with torch.no_grad():
        network.transformer_blocks[1].norm1.emb.class_embedder.embedding_table.weight += 1
    found: Any = diffusers_models.with_shared_embedding(network)
    assert found.transformer_blocks[1].norm1.emb is not found.transformer_blocks[0].norm1.emb


def test_classes_are_found_by_name() -> None:
    """In the order of the dataset; unknown ones are named."""
    found = generators.class_places(["n3", "n1"], ["n1", "n2", "n3"], "imagenet1k")
    np.testing.assert_array_equal(found, [2, 0])
    with pytest.raises(StageError, match=r"knows the classes of 'imagenet1k', and \['cat'\] are not among them"):
        generators.class_places(["n1", "cat"], ["n1"], "imagenet1k")


def test_squares_of_another_size_are_cut_from_stored_images() -> None:
    """Of its own size a split gives what it gives; of another the centre of the whole image, resized."""
    split = MemorySplit(2, 3, 8)
    positions = np.array([4, 1])
    np.testing.assert_array_equal(generators.squares(split, positions, 8), split.read(positions))
    split.images[4] = np.zeros((8, 16, 3), dtype=np.uint8)
    split.images[4][:, 4:12] = 200
    found = generators.squares(split, positions, 4)
    assert found.shape == (2, 4, 4, 3)
    assert found[0].min() > 150
