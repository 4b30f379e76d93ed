"""Class-conditional diffusion transformers (DiT, Peebles and Xie 2023) as methods use them.

A generator works on pixels, scaled to [−1, 1], or on latents of an autoencoder (VAE), scaled to about unit variance.
Labels are the dataset's; which label of the generator each is, the generator knows.
Shapes: n images, R × R pixels, C channels and S × S places of a latent, K classes of the dataset.
"""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from condhpc import encoders, models
from condhpc.device import to_device
from condhpc.encoders import Seen
from condhpc.errors import StageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.datasets.base import Split
    from condhpc.diffusion import Chain
    from condhpc.encoders import Encoder
    from condhpc.spec import Precision

_VAE_IMAGES = 32
"""That an autoencoder takes at a time: each map of its first layers holds 32 MiB per image of 256 px, in fp32."""


class Predicted(NamedTuple):
    """What a generator sees in noisy images."""

    noise_nCSS: Tensor
    share_nCSS: Tensor | None
    """Its variance between the least and the most possible, −1..1; None where it learned none."""


@dataclass(frozen=True)
class Generator:
    """A frozen network with its chain, and what leads from images to its latents and back."""

    network: nn.Module
    vae: nn.Module | None
    """None: it works on pixels."""
    chain: Chain
    labels_K: NDArray[np.int64]
    """The generator's label of each class of the dataset."""
    precision: Precision = "fp32"

    @property
    def device(self) -> torch.device:
        """Where it computes."""
        return next(self.network.parameters()).device

    @property
    def latent_shape(self) -> tuple[int, int, int]:
        """(C, S, S)."""
        config: Any = self.network.config
        return int(config.in_channels), int(config.sample_size), int(config.sample_size)

    @property
    def resolution(self) -> int:
        """Side of the images that it makes, pixels."""
        return self.latent_shape[1] * _reduction(self.vae)

    @property
    def nothing(self) -> int:
        """The label that stands for no class, of classifier-free guidance."""
        config: Any = self.network.config
        return int(config.num_embeds_ada_norm)

    def placed(self, device: str) -> Generator:
        """The same on a device, frozen."""
        vae = None if self.vae is None else models.frozen(models.placed(self.vae, device))
        network = models.frozen(self.network.to(device))
        return Generator(network, vae, self.chain, self.labels_K, self.precision)

    def with_network(self, network: nn.Module) -> Generator:
        """The same with another network, such as a tuned one."""
        return Generator(network, self.vae, self.chain, self.labels_K, self.precision)

    def own_copy(self) -> nn.Module:
        """A copy of the network to change; parts that blocks share stay shared."""
        return copy.deepcopy(self.network)

    def encode(self, images_nRRC: Tensor) -> Tensor:
        """Latents (n, C, S, S) of uint8 images on the device, of any size; of an autoencoder the mode, scaled."""
        images = encoders.resized(images_nRRC, self.resolution, "bicubic").permute(0, 3, 1, 2).float() / 127.5 - 1.0
        if self.vae is None:
            return images
        vae: Any = self.vae
        with torch.no_grad(), self._autocast():
            latents = [vae.encode(part).latent_dist.mode().float() for part in torch.split(images, _VAE_IMAGES)]
        scaled: Tensor = (torch.cat(latents) - _shift(vae)) * vae.config.scaling_factor
        return scaled

    def decode(self, latents_nCSS: Tensor, side: int) -> Tensor:
        """Images (n, side, side, 3) uint8 on the device."""
        images = latents_nCSS
        if self.vae is not None:
            vae: Any = self.vae
            with torch.no_grad(), self._autocast():
                scaled_nCSS = latents_nCSS / vae.config.scaling_factor + _shift(vae)
                images = torch.cat([vae.decode(part).sample.float() for part in torch.split(scaled_nCSS, _VAE_IMAGES)])
        grey = ((images + 1.0) * 127.5).round().clamp(0, 255).to(torch.uint8)
        return encoders.resized(grey.permute(0, 2, 3, 1).contiguous(), side, "bicubic")

    def as_encoder(self) -> Encoder:
        """Flattened latents as vectors of images."""

        def encode(images_nRRC: Tensor, labels_n: Tensor) -> Seen:
            del labels_n
            return Seen(self.encode(images_nRRC).flatten(1), {})

        return encode

    def predicted(self, noisy_nCSS: Tensor, time_n: NDArray[np.int64], label_n: NDArray[np.int64]) -> Predicted:
        """Noise in images of the dataset's classes (−1: of no class), at steps of the chain it was trained on."""
        own_n = np.where(label_n < 0, self.nothing, self.labels_K[label_n])
        times, labels = (to_device(array_n, noisy_nCSS.device) for array_n in (time_n, own_n))
        with self._autocast():
            found: Tensor = self.network(noisy_nCSS, timestep=times, class_labels=labels).sample.float()
        channels = noisy_nCSS.shape[1]
        if found.shape[1] == channels:
            return Predicted(found, None)
        return Predicted(found[:, :channels], found[:, channels:])

    def guided(
        self, noisy_nCSS: Tensor, time_n: NDArray[np.int64], label_n: NDArray[np.int64], scale: float, channels: int
    ) -> Predicted:
        """As `predicted`, the noise moved away from that of no class: classifier-free guidance (Ho and Salimans 2022).

        `channels`: how many, from the first on, are guided; 0: all. A scale of 1 is no guidance, at half the work.
        """
        if scale == 1.0:
            return self.predicted(noisy_nCSS, time_n, label_n)
        twice_n = np.concatenate([label_n, np.full_like(label_n, -1)])
        both = self.predicted(torch.cat([noisy_nCSS, noisy_nCSS]), np.concatenate([time_n, time_n]), twice_n)
        noise_nCSS, without_nCSS = both.noise_nCSS.chunk(2)
        guided_nCSS = without_nCSS + scale * (noise_nCSS - without_nCSS)
        if channels:
            guided_nCSS = torch.cat([guided_nCSS[:, :channels], noise_nCSS[:, channels:]], dim=1)
        return Predicted(guided_nCSS, None if both.share_nCSS is None else both.share_nCSS.chunk(2)[0])

    def clean(self, noisy_nCSS: Tensor, step_n: NDArray[np.int64], noise_nCSS: Tensor, chain: Chain) -> Tensor:
        """x̂0 at steps of `chain`; of pixels within [−1, 1]."""
        found_nCSS = chain.clean(noisy_nCSS, step_n, noise_nCSS)
        return found_nCSS.clamp(-1.0, 1.0) if self.vae is None else found_nCSS

    def _autocast(self) -> torch.autocast:
        return torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=self.precision == "bf16")


def squares(split: Split, positions_n: NDArray[np.int64], side: int) -> NDArray[np.uint8]:
    """Images (n, side, side, 3) of a split: as it hands them out, or of another size the centre of the stored ones."""
    if split.resolution == side:
        return split.read(positions_n)
    from PIL import Image, ImageOps

    stored = (Image.fromarray(split.raw(int(position))) for position in positions_n)
    return np.stack([np.asarray(ImageOps.fit(image, (side, side), Image.Resampling.BICUBIC)) for image in stored])


def latent_shape(vae: nn.Module | None, resolution: int) -> tuple[int, int, int]:
    """(C, S, S) of images of a resolution: in an autoencoder's latents, or without one the pixels'.

    Raises StageError where the autoencoder cannot take such images.
    """
    if vae is None:
        return 3, resolution, resolution
    config: Any = vae.config
    if resolution % _reduction(vae):
        raise StageError(f"the autoencoder takes images of multiples of {_reduction(vae)} px, not of {resolution}")
    side = resolution // _reduction(vae)
    return int(config.latent_channels), side, side


def _reduction(vae: nn.Module | None) -> int:
    """Pixels of an image along one pixel of its latent."""
    if vae is None:
        return 1
    config: Any = vae.config
    return int(2 ** (len(config.block_out_channels) - 1))


def _shift(vae: Any) -> float:
    return float(getattr(vae.config, "shift_factor", None) or 0.0)


def class_places(names: Sequence[str], known: Sequence[str], whose: str) -> NDArray[np.int64]:
    """The generator's label of each class, by the classes' names; raises StageError for one that it does not know."""
    place = {name: i for i, name in enumerate(known)}
    missing = [name for name in names if name not in place]
    if missing:
        raise StageError(
            f"the generator knows the classes of '{whose}', and {missing[:3]} are not among them; "
            "correct `classes` of its block, or use another generator"
        )
    return np.array([place[name] for name in names], dtype=np.int64)
