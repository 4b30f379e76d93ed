"""What turns images into vectors: the pixels themselves, a teacher of the pipeline, or a network made elsewhere.

Shapes: n images, H × W pixels, D features, K classes.
"""

from __future__ import annotations

import difflib
import textwrap
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch.nn import functional

from condhpc import augment, keys, models, scores
from condhpc.errors import StageError

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn

    from condhpc.spec import DatasetSpec, NetworkSpec, Precision


_SHOWN_CHARS = 300
"""Of what torch says of a misfit: it lists every parameter."""


class Seen(NamedTuple):
    """What an encoder makes of some images."""

    vectors_nD: Tensor
    scores: dict[str, Tensor]
    """(n,) by name, of a network that knows the dataset's classes."""


Encoder = Callable[["Tensor", "Tensor"], Seen]
"""From images (n, H, W, 3) uint8 and labels (n,), both on the device."""


def pixels(images_nHWC: Tensor, labels_n: Tensor) -> Seen:
    """The image itself, in 0..1."""
    del labels_n
    return Seen(images_nHWC.flatten(1).float() / 255.0, {})


def of_teacher(model: nn.Module, dataset: DatasetSpec, precision: Precision) -> Encoder:
    """Penultimate layer of a frozen classifier, and its scores."""

    def encode(images_nHWC: Tensor, labels_n: Tensor) -> Seen:
        with torch.inference_mode(), _autocast(images_nHWC, precision):
            images_nCHW = augment.plain(images_nHWC, dataset.mean, dataset.std)
            features_nD, logits_nK = models.forward_with_features(model, images_nCHW)
        return Seen(features_nD.float(), scores.of_batch(features_nD, logits_nK, labels_n))

    return encode


def of_network(model: nn.Module, spec: NetworkSpec, precision: Precision) -> Encoder:
    """Features of a network that knows other classes, so without scores."""

    def encode(images_nHWC: Tensor, labels_n: Tensor) -> Seen:
        del labels_n
        with torch.inference_mode(), _autocast(images_nHWC, precision):
            images_nCHW = augment.plain(resized(images_nHWC, spec.resolution, "bicubic"), spec.mean, spec.std)
            features_nD = model(images_nCHW) if spec.library == "timm" else models.penultimate(model, images_nCHW)
        return Seen(features_nD.float(), {})

    return encode


def load_timm(path: Path, spec: NetworkSpec, advice: str) -> nn.Module:
    """A network of timm, without its head, from a file of its weights.

    Raises StageError where timm is not installed, knows no such network, or the file is another or does not fit.
    """
    try:
        import timm
    except ImportError as error:
        raise StageError("encoders of timm need the package: pip install 'condhpc[encoders]'") from error
    if not timm.is_model(spec.arch):
        close = "".join(difflib.get_close_matches(spec.arch, timm.list_models(), n=1))
        near = f"did you mean '{close}'?" if close else "see timm.list_models()"
        raise StageError(f"encoder: timm {timm.__version__} knows no network '{spec.arch}'; {near}")
    keys.require_sha256(f"weights '{spec.weights}'", path, spec.sha256, advice)
    sized: dict[str, Any] = {"img_size": spec.resolution}
    for options in (sized, {}):  # transformers take a size, convolutional networks know none
        try:
            # With its head, because timm then insists that all weights fit; without, it takes whatever has a name.
            model: nn.Module = timm.create_model(
                spec.arch, pretrained=True, pretrained_cfg_overlay={"file": str(path)}, **options
            )
            model.reset_classifier(0)  # type: ignore[operator]
        except TypeError as error:
            if options:
                continue
            raise StageError(f"encoder '{spec.arch}' of timm: {error}") from error
        except (RuntimeError, KeyError, ValueError, OSError, EOFError) as error:
            why = textwrap.shorten(str(error), _SHOWN_CHARS, placeholder=" …")
            raise StageError(f"weights '{spec.weights}': {path} does not fit timm's '{spec.arch}': {why}") from error
        return model
    raise AssertionError("the second try returns or raises")


def _autocast(images_nHWC: Tensor, precision: Precision) -> torch.autocast:
    return torch.autocast(images_nHWC.device.type, dtype=torch.bfloat16, enabled=precision == "bf16")


def resized(images_nHWC: Tensor, side: int, mode: Literal["bilinear", "bicubic"]) -> Tensor:
    """uint8 in, uint8 out, as if the images had been stored at that size; antialiased."""
    if images_nHWC.shape[1:3] == (side, side):
        return images_nHWC
    images_nCHW = images_nHWC.permute(0, 3, 1, 2).float()
    resized_nCHW = functional.interpolate(images_nCHW, size=(side, side), mode=mode, antialias=True)
    return resized_nCHW.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1).contiguous()
