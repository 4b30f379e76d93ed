"""Transformers, autoencoders and schedules of diffusers, built, read and described; the only home of that package."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn

from condhpc import diffusion
from condhpc.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from numpy.typing import NDArray

    from condhpc.spec import DiffusionTransformer

_HINT = "generators need the package: pip install 'condhpc[diffusion]'"
_INIT_STD = 0.02
_PLAIN = {"low_cpu_mem_usage": False}
"""Of models: without the package accelerate, and without a word about it."""


def build(arch: DiffusionTransformer, shape: tuple[int, int, int], classes: int, seed: int) -> nn.Module:
    """A fresh diffusion transformer for latents of a shape (C, S, S), with learned variances, in adaLN-Zero's start.

    Blocks share the embedding of step and class, as DiT's do. Raises StageError where patches do not fit.
    """
    channels, side, _ = shape
    if side % arch.patch:
        raise StageError(
            f"a generator with patches of {arch.patch} cannot tile {side} × {side}; change `patch` of its block"
        )
    config = {
        "num_attention_heads": arch.heads,
        "attention_head_dim": arch.width // arch.heads,
        "in_channels": channels,
        "out_channels": 2 * channels,
        "num_layers": arch.depth,
        "sample_size": side,
        "patch_size": arch.patch,
        "num_embeds_ada_norm": classes,
    }
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        network = network_of(config)
        _share_embedding(network)
        _initialise(network)
    return network


def network_of(config: Mapping[str, Any]) -> nn.Module:
    """A network of diffusers' configuration, where each block has an embedding of step and class of its own."""
    network: nn.Module = _diffusers().DiTTransformer2DModel(**config)
    return network


def vae_of(config: Mapping[str, Any]) -> nn.Module:
    """An autoencoder of diffusers' configuration."""
    found: nn.Module = _diffusers().AutoencoderKL.from_config(dict(config))
    return found


def config_of(module: nn.Module) -> str:
    """What `network_of` or `vae_of` build a module's like from, as JSON."""
    config: Any = module.config
    return json.dumps({name: value for name, value in config.items() if not name.startswith("_")}, sort_keys=True)


def read_network(folder: Path) -> nn.Module:
    """The `transformer` of a diffusers folder."""
    return with_shared_embedding(_read(_diffusers().DiTTransformer2DModel, folder, "transformer", _PLAIN))


def with_shared_embedding(network: Any) -> nn.Module:
    """The same network; where the blocks' embeddings of step and class are equal, as DiT's are, they become one."""
    embeddings = [block.norm1.emb for block in network.transformer_blocks]
    first = embeddings[0].state_dict()
    if all(torch.equal(value, first[name]) for e in embeddings for name, value in e.state_dict().items()):
        _share_embedding(network)
    found: nn.Module = network
    return found


def read_vae(folder: Path) -> nn.Module:
    """The autoencoder of a diffusers folder: its `vae`, or the folder itself."""
    found: nn.Module = _read(_diffusers().AutoencoderKL, folder, "vae" if (folder / "vae").is_dir() else "", _PLAIN)
    return found


def read_betas(folder: Path) -> NDArray[np.float64]:
    """Variances of the chain that a folder's `scheduler` describes; DDPM's where it has none."""
    if not (folder / "scheduler").is_dir():
        return np.asarray(diffusion.linear_chain().beta_T)
    scheduler = _read(_diffusers().DDPMScheduler, folder, "scheduler")
    if scheduler.config.prediction_type != "epsilon":
        raise StageError(
            f"{folder}/scheduler: the network predicts '{scheduler.config.prediction_type}', expected 'epsilon', "
            "the noise; use another generator"
        )
    found: NDArray[np.float64] = scheduler.betas.double().numpy()
    return found


def _read(kind: Any, folder: Path, part: str, options: Mapping[str, Any] | None = None) -> Any:
    """Raises StageError where a folder does not hold such a thing."""
    try:
        return kind.from_pretrained(folder, subfolder=part or None, local_files_only=True, **(options or {}))
    except (OSError, ValueError, KeyError, TypeError, RuntimeError) as error:
        where = folder / part if part else folder
        raise StageError(
            f"{where}: not a {kind.__name__} as diffusers saves one ({error}); give the profile its folder"
        ) from error


def _diffusers() -> Any:
    try:
        import diffusers
    except ImportError as error:
        raise StageError(_HINT) from error
    return diffusers


def _share_embedding(network: Any) -> None:
    for block in network.transformer_blocks:
        block.norm1.emb = network.transformer_blocks[0].norm1.emb


def _initialise(network: Any) -> None:
    """DiT's start: Xavier weights, small embeddings, and all that modulates or ends a residual at zero."""
    for module in network.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            nn.init.xavier_uniform_(module.weight.flatten(1))
            if module.bias is not None:
                nn.init.zeros_(module.bias)
    embedding = network.transformer_blocks[0].norm1.emb
    for weight in (
        embedding.timestep_embedder.linear_1.weight,
        embedding.timestep_embedder.linear_2.weight,
        embedding.class_embedder.embedding_table.weight,
    ):
        nn.init.normal_(weight, std=_INIT_STD)
    for module in (
        network.proj_out_1,
        network.proj_out_2,
        *(block.norm1.linear for block in network.transformer_blocks),
    ):
        nn.init.zeros_(module.weight)
