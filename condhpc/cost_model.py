"""What work costs on a GPU, predicted: images that pass through networks, and what a kind of GPU makes of that.

Every rate has its source beside it: [P] published, [M] measured on one core of a Xeon for this project, [E] estimated.
Predictions of one network and batch hold within a factor of two or three; records of real runs calibrate them.
No torch in here: a login node predicts.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import ceil
from typing import NamedTuple

from condhpc.spec import Precision

FORWARD = 1.0
"""Passes that an image makes through a network that is only asked."""
TO_PIXELS = 2.0
"""Forward, and backward to the pixels: the weights are frozen."""
TRAINED = 3.0
"""Forward, and backward to pixels and weights."""
MATCHED = 2.8
"""Forward and backward to the pixels with the batch-norm statistics of every layer: 41 % more than without [M]."""
MATCHED_CONVOLUTIONS = 22.0
"""As MATCHED, with statistics of every convolution's input and of its patches as well: fitted to what G-VBSM and EDC
publish, 17.3 s and 5.0 s per image on an RTX 4090 [P]."""

_SMALL_BELOW_PX = 64
_START_S = 3.0
"""What any task takes beside its work: CUDA's start in the forked child, opening files, the record [E]."""
_LAYER_S = 15e-6
"""Of one pass through one layer, however small the batch: launching kernels [E]."""
_FP32_SHARE = 0.6
"""Of a GPU's single-precision peak that convolutions reach without TF32 [E]."""
_TENSOR_SHARE = 0.4
"""Of a GPU's bf16 peak that wide transformers reach [E]."""
_JPEG_PER_S = 500.0
"""Full-size images that one core decodes and crops: 497 [M]."""
_SMALL_PER_S = 10_000.0
"""Files of images below 64 px [E]."""
_STREAM_BYTES_S = 15e9
"""That one core reads from memory [M]."""


class Gpu(NamedTuple):
    """A kind of GPU, by its maker's data sheet, dense [P]."""

    name: str
    memory_tb_s: float
    fp32_tflops: float
    bf16_tflops: float
    tdp_w: float
    """Rated power; of several form factors the one with sockets (SXM)."""


GPUS = (
    Gpu("B200", 8.0, 75.0, 2250.0, 1000.0),
    Gpu("H200", 4.8, 67.0, 989.0, 700.0),
    Gpu("H100", 3.35, 67.0, 989.0, 700.0),
    Gpu("A100", 2.04, 19.5, 312.0, 400.0),
    Gpu("L40S", 0.864, 91.6, 362.0, 350.0),
    Gpu("A6000", 0.768, 38.7, 155.0, 300.0),
    Gpu("4090", 1.008, 82.6, 165.0, 450.0),
    Gpu("3090", 0.936, 35.6, 71.0, 350.0),
    Gpu("V100", 0.9, 15.7, 125.0, 300.0),
)
REFERENCE = next(gpu for gpu in GPUS if gpu.name == "H100")
"""Where neither the profile nor a record says what it is."""
_TIMM_GPU = next(gpu for gpu in GPUS if gpu.name == "3090")


def gpu_named(text: str) -> Gpu | None:
    """The kind behind what Slurm (`h100`) or CUDA (`NVIDIA H100 80GB HBM3`) calls it; None for one not listed."""
    return next((gpu for gpu in GPUS if gpu.name.lower() in text.lower()), None)


class Network(NamedTuple):
    """A network as far as time is concerned."""

    kmac_px: float
    """Thousand multiply-adds of a forward pass per pixel, from 64 px up (counted: `tests/test_cost_model.py`)."""
    small_kmac_px: float
    """The same below 64 px, with the stem for small images."""
    us_per_gmac: float
    """Microseconds of a training step per image and GMAC on an RTX 3090 at 224 px under autocast, channels last."""
    layers: int
    """Modules without children, whose kernels are launched one by one."""
    dense: bool = False
    """Bound by arithmetic (wide transformers), not by memory (convolutions with their norms)."""

    def gmac(self, resolution: int) -> float:
        """Multiply-adds of a forward pass of one square image, in 10⁹."""
        return (self.small_kmac_px if resolution < _SMALL_BELOW_PX else self.kmac_px) * resolution**2 / 1e6

    def pass_s(self, resolution: int, gpu: Gpu, precision: Precision) -> float:
        """Seconds of one pass of one image of a large batch."""
        gmac = self.gmac(resolution)
        single_s = 2e9 * gmac / (_FP32_SHARE * gpu.fp32_tflops * 1e12)
        if self.dense:
            return single_s if precision == "fp32" else 2e9 * gmac / (_TENSOR_SHARE * gpu.bf16_tflops * 1e12)
        mixed_s = gmac * self.us_per_gmac * 1e-6 / TRAINED * _TIMM_GPU.memory_tb_s / gpu.memory_tb_s
        return mixed_s if precision == "bf16" else max(2 * mixed_s, single_s)


# Rates are from timm's table `benchmark-train-amp-nhwc-pt112-cu113-rtx3090.csv` [P]: 3,482 images/s of resnet18, 1,218
# of resnet50, 748 of resnet101, 914 of densenet121, 2,313 of mobilenetv2_100, 1,752 of efficientnet_b0 and 2,300 of
# vit_tiny. Plain convolutions that it does not list take resnet18's rate, ShuffleNets that of mobilenetv2 [E].
_NETWORKS: Mapping[str, Network] = {
    "alexnet": Network(14.2, 832.0, 159.0, 21),
    "convnet3": Network(49.6, 49.6, 159.0, 14),
    "convnet4": Network(51.8, 51.8, 159.0, 18),
    "convnet6": Network(52.6, 52.6, 159.0, 26),
    "densenet121": Network(56.5, 867.5, 386.0, 366),
    "efficientnet_b0": Network(7.7, 113.4, 1478.0, 230),
    "mobilenet_v2": Network(6.0, 85.9, 1436.0, 141),
    "resnet18": Network(36.1, 542.4, 159.0, 52),
    "resnet50": Network(81.5, 1267.4, 201.0, 126),
    "resnet101": Network(155.4, 2451.2, 171.0, 245),
    "resnetap10": Network(36.3, 431.8, 159.0, 40),
    "shufflenet_v2_x0_5": Network(0.8, 10.6, 1436.0, 164),
    "shufflenet_v2_x1_0": Network(2.9, 43.9, 1436.0, 164),
    "vit_tiny": Network(23.5, 356.6, 347.0, 112),
}


def network(arch: str) -> Network | None:
    """One of our architectures; None for a network that only others know."""
    return _NETWORKS.get(arch)


def transformer(width: int, depth: int, patch: int, *, mlp: int = 4) -> Network:
    """A transformer over square patches of so many pixels (of a latent image: its pixels), without attention's N²."""
    kmac_px = (4 + 2 * mlp) * width**2 * depth / patch**2 / 1e3
    return Network(kmac_px, kmac_px, 0.0, 9 * depth, dense=True)


class Generator(NamedTuple):
    """A diffusion transformer that makes images."""

    network: Network
    side: int
    """Of what it works on, images or latents, pixels."""
    encoded_px: int = 0
    """Side of the images that its autoencoder takes, pixels; 0: it has none."""

    def encoding(self, images: float, batch: int) -> tuple[Passes, ...]:
        """So many images through the autoencoder, if there is one."""
        if not self.encoded_px:
            return ()
        return (Passes(AUTOENCODER, self.encoded_px, images, ceil(images / batch), FORWARD),)

    def drawing(self, images: float, steps: int, guidance: float, batch: int) -> Passes:
        """So many images from noise, `steps` each; guidance asks twice, with the class and without."""
        asked = steps * (1 if guidance == 1.0 else 2)
        return Passes(self.network, self.side, images * asked, ceil(images / batch) * asked, FORWARD)


DIT_XL = Generator(transformer(width=1152, depth=28, patch=2), side=32, encoded_px=256)
"""DiT-XL/2 on latents of 256 px: what a generator made elsewhere is taken for."""
AUTOENCODER = Network(2100.0, 2100.0, 159.0, 100)
"""The encoder of Stable Diffusion's VAE, about 137 GMAC at 256 px [E]."""


class Passes(NamedTuple):
    """Images through a network."""

    network: Network
    resolution: int
    """Side of the square images, pixels."""
    images: float
    """Altogether, each as often as it comes."""
    steps: float
    """Batches that they come in."""
    each: float = FORWARD
    """Passes of each image: FORWARD, TO_PIXELS, MATCHED or TRAINED."""

    def seconds(self, gpu: Gpu, precision: Precision) -> float:
        """On that GPU; small batches take as long as launching their kernels does."""
        full_s = self.images * self.network.pass_s(self.resolution, gpu, precision)
        return self.each * max(full_s, self.steps * self.network.layers * _LAYER_S)


@dataclass(frozen=True)
class Effort:
    """What a task has to do, as far as its plug-in knows beforehand."""

    passes: tuple[Passes, ...] = ()
    decoded: float = 0.0
    """Image files that are read and decoded, on CPU threads beside the GPU."""
    decoded_px: int = 0
    """Side that they are brought to, pixels: small ones are stored small."""
    read_bytes: float = 0.0
    """Memory that one core reads, such as embeddings once per pick."""

    def seconds(self, gpu: Gpu, precision: Precision, threads: int) -> float:
        """Of one GPU with so many CPU threads: the slower of both, and the start."""
        small = self.decoded_px < _SMALL_BELOW_PX
        files_s = self.decoded / ((_SMALL_PER_S if small else _JPEG_PER_S) * threads)
        host_s = files_s + self.read_bytes / _STREAM_BYTES_S
        return _START_S + max(host_s, sum(part.seconds(gpu, precision) for part in self.passes))

    def share(self, part: float) -> Effort:
        """Of a task that does this part of it."""
        passes = tuple(p._replace(images=p.images * part, steps=p.steps * part) for p in self.passes)
        return Effort(passes, self.decoded * part, self.decoded_px, self.read_bytes * part)

    def work_s(self, precision: Precision) -> float:
        """The same for the reference GPU and one thread, without the start: a measure of how much there is to do."""
        return self.seconds(REFERENCE, precision, threads=1) - _START_S


@dataclass(frozen=True)
class Sources:
    """What a plug-in may build its prediction on, beside its spec."""

    archs: Mapping[str, tuple[str, ...]]
    """Architectures of the teachers behind an input, by its role (without the number of a member)."""
    images: int
    """In the split that is condensed."""
    set_images: int = 0
    """Of metrics: in the condensed set."""
    generators: Mapping[str, Generator] = field(default_factory=dict)
    """By role."""

    def passes(self, role: str, resolution: int, images: float, steps: float, each: float) -> tuple[Passes, ...] | None:
        """Of all images through each teacher of a role; None where one is not known, or there is none."""
        found = [network(arch) for arch in self.archs.get(role, ())]
        known = [net for net in found if net is not None]
        if not found or len(known) < len(found):
            return None
        return tuple(Passes(net, resolution, images, steps, each) for net in known)

    def recovery(
        self, role: str, resolution: int, images: int, iterations: float, batch: float, each: float = MATCHED
    ) -> Effort | None:
        """Pixels of `images`, `batch` at a time, against statistics of a role's teachers, which take turns."""
        turns = iterations / max(1, len(self.archs.get(role, ())))
        found = self.passes(role, resolution, images * turns, ceil(images / batch) * turns, each)
        return None if found is None else Effort(found)
