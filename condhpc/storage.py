"""Bytes of the files that tasks leave and that stay: sets, labels, embeddings, networks. Pure; no torch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from math import ceil
from typing import NamedTuple

from condhpc.efforts import Efforts, generator_of
from condhpc.spec import (
    AnalyzeSpec,
    CondenseSpec,
    DatasetSpec,
    EmbedSpec,
    EvaluateSpec,
    GeneratorSpec,
    RelabelSpec,
    Task,
    TeacherSpec,
)

_WEIGHT_BYTES, _HALF_BYTES = 4, 2
_LABEL_ENTRY_BYTES = 4
"""Of a label of which the largest entries are kept: value and class."""
_LABEL_REST_BYTES = 4
_DYNAMICS_BYTES = 5
"""Of an image and epoch: margin and error of two bytes, and whether it was right."""
_LATENT_CHANNELS = 4
_AUTOENCODER_PARAMETERS = 84e6
"""Of Stable Diffusion's [P]."""


class _Size(NamedTuple):
    """A network without its last layer, and that layer's input."""

    parameters: float
    """With the statistics of batch norms."""
    features: int
    """From large images on; of convolutional networks without pooling at the end, by the square of `shrinks`."""
    shrinks: int = 0
    """Pixels of an image's side for one of the features'; 0: they are pooled to one."""


_SIZES: Mapping[str, _Size] = {
    "alexnet": _Size(57.0e6, 4096),
    "convnet3": _Size(0.300e6, 128, 8),
    "convnet4": _Size(0.448e6, 128, 16),
    "convnet6": _Size(0.745e6, 128, 64),
    "densenet121": _Size(7.04e6, 1024),
    "efficientnet_b0": _Size(4.05e6, 1280),
    "mobilenet_v2": _Size(2.26e6, 1280),
    "resnet18": _Size(11.19e6, 512),
    "resnet50": _Size(23.56e6, 2048),
    "resnet101": _Size(42.61e6, 2048),
    "resnetap10": _Size(4.91e6, 512),
    "shufflenet_v2_x0_5": _Size(0.350e6, 1024),
    "shufflenet_v2_x1_0": _Size(1.27e6, 1024),
    "vit_tiny": _Size(5.52e6, 192),
}
"""Counted: `tests/test_storage.py` counts again."""


def network_bytes(arch: str, classes: int, resolution: int) -> float | None:
    """Weights of one of our networks; None for one that is not ours."""
    size, features = _SIZES.get(arch), feature_count(arch, resolution)
    if size is None or features is None:
        return None
    return _WEIGHT_BYTES * (size.parameters + (features + 1) * classes)


def feature_count(arch: str, resolution: int) -> int | None:
    """Numbers that enter a network's last layer."""
    size = _SIZES.get(arch)
    if size is None:
        return None
    return size.features * (resolution // size.shrinks) ** 2 if size.shrinks else size.features


def kept_bytes(task: Task, efforts: Efforts, images: Callable[[DatasetSpec, str], int]) -> float | None:
    """Bytes of a task's files beside its record; None where nobody knows. `images` counts a split."""
    spec = task.spec
    if isinstance(spec, EvaluateSpec | AnalyzeSpec):
        return 0.0  # numbers alone
    if isinstance(spec, TeacherSpec):
        return _teacher_bytes(spec)
    if isinstance(spec, CondenseSpec):
        return _set_bytes(spec)
    if isinstance(spec, RelabelSpec):
        return _labels_bytes(task, spec, efforts)
    if isinstance(spec, EmbedSpec):
        return _embedding_bytes(task, spec, efforts, images)
    if isinstance(spec, GeneratorSpec):
        return _generator_bytes(spec)
    return None


def _teacher_bytes(spec: TeacherSpec) -> float | None:
    """With how each image fared in each epoch, where it is trained here."""
    weights = network_bytes(spec.arch, spec.dataset.classes, spec.dataset.resolution)
    if weights is None or spec.training is None:
        return weights
    return weights + spec.training.steps * spec.training.batch * _DYNAMICS_BYTES


def _set_bytes(spec: CondenseSpec) -> float:
    """Pixels of one byte; of a shard its classes' share is not known apart, and the set holds them again."""
    return 0.0 if spec.is_shard else float(spec.ipc * spec.dataset.classes * spec.resolution**2 * 3)


def _labels_bytes(task: Task, spec: RelabelSpec, efforts: Efforts) -> float | None:
    count = efforts.set_images(task)
    if not count:
        return None
    rows = spec.steps / ceil(count / spec.batch) * count
    classes = spec.dataset.classes
    kept = min(spec.teacher.top_k or classes, classes)
    return rows * (kept * _HALF_BYTES if kept == classes else kept * _LABEL_ENTRY_BYTES + _LABEL_REST_BYTES)


def _embedding_bytes(
    task: Task, spec: EmbedSpec, efforts: Efforts, images: Callable[[DatasetSpec, str], int]
) -> float | None:
    count = spec.rows.count if spec.rows is not None else images(spec.dataset, spec.split)
    side = spec.dataset.resolution
    width: int | None
    if spec.encoder == "pixels":
        width = 3 * side**2
    elif spec.encoder == "generator":
        width = _LATENT_CHANNELS * efforts.generator(task).side ** 2
    else:
        archs = efforts.archs(task).get("encoder", ()) if spec.network is None else (spec.network.arch,)
        width = feature_count(archs[0], side if spec.network is None else spec.network.resolution) if archs else None
    if width is None:
        return None
    return float(count * width * (_HALF_BYTES if spec.precision == "bf16" else _WEIGHT_BYTES))


def _generator_bytes(spec: GeneratorSpec) -> float | None:
    """Of one trained here: its blocks hold nearly all of it. The size of one made elsewhere only its folder knows."""
    if spec.arch is None:
        return None
    made = generator_of(spec)
    parameters = made.network.kmac_px * 1e3 * spec.arch.patch**2 * 1.5  # adaptive norms are half as large again
    return _WEIGHT_BYTES * (parameters + (0 if spec.vae is None else _AUTOENCODER_PARAMETERS))
