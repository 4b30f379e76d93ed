"""Small generators for tests: on pixels, with fixed random weights everywhere, so that no term vanishes."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from condhpc import diffusers_models, diffusion, rng
from condhpc.generators import Generator
from condhpc.spec import DiffusionTransformer

ARCH = DiffusionTransformer(patch=4, width=16, depth=2, heads=2)


def tiny_generator(classes: int, resolution: int, labels: Sequence[int] = ()) -> Generator:
    """Two blocks, 16 wide; knows more classes where `labels` say so."""
    own_K = np.asarray(labels or range(classes), dtype=np.int64)
    network = diffusers_models.build(ARCH, (3, resolution, resolution), int(own_K.max()) + 1, seed=5)
    draw = rng.stream(11, "tiny-generator")
    with torch.no_grad():
        for parameter in network.parameters():
            parameter.add_(torch.from_numpy(draw.normal(scale=0.05, size=tuple(parameter.shape)).astype(np.float32)))
    return Generator(network, None, diffusion.linear_chain(), own_K).placed("cpu")
