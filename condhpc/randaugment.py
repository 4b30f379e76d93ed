"""RandAugment by timm's rule and scale (Cubuk et al., 2020; `rand-m6-n2-mstd1.0` in timm's words), in batches.

Shapes: N images of a batch, n of them that share an operation, L layers. timm resamples bilinearly or bicubically by
chance; here it is always bilinear.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from condhpc import pillow_ops
from condhpc.device import change_by_group

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.spec import RandAugment

    Floats = NDArray[np.float64]

MAGNITUDE_MAX = 10.0
NOTHING = -1
"""In place of an operation that is not applied."""


class Operations(NamedTuple):
    """What is done to each image, layer by layer."""

    kind_LN: NDArray[np.int64]
    """Position in OPERATIONS, or NOTHING."""
    argument_LN: NDArray[np.float64]
    """In the operation's own unit; 0 where it takes none."""


class _Operation(NamedTuple):
    """An operation of the table."""

    argument: Callable[[Floats, Floats], Floats]
    """From strength in 0..1 and sign ±1 to the argument."""
    kernel: Callable[[Tensor, Floats, Sequence[int]], Tensor]
    """From images, arguments and grey levels to fill with, to images."""


def draw(rule: RandAugment, count: int, generator: np.random.Generator) -> Operations:
    """For each image and layer an operation, uniform with replacement, applied with the rule's probability.

    The magnitude is normal around the rule's, cut to 0..10; the signs of rotations, shears and shifts are fair.
    """
    shape = (rule.operations, count)
    kind_LN = generator.integers(0, len(OPERATIONS), shape)
    applied_LN = generator.random(shape) < rule.probability
    strength_LN = generator.normal(rule.magnitude, rule.magnitude_std, shape).clip(0.0, MAGNITUDE_MAX) / MAGNITUDE_MAX
    sign_LN = np.where(generator.random(shape) < 0.5, -1.0, 1.0)
    argument_LN = np.zeros(shape)
    for kind, operation in enumerate(OPERATIONS.values()):
        argument_LN = np.where(kind_LN == kind, operation.argument(strength_LN, sign_LN), argument_LN)
    return Operations(np.where(applied_LN, kind_LN, NOTHING), argument_LN)


def apply(images_NCHW: Tensor, operations: Operations, fill_C: Sequence[int]) -> Tensor:
    """Uint8 images after all layers; pixels from outside an image get the grey levels `fill`.

    Channels are planes here, whatever the layout of the argument, because greys of a plane are fast to take.
    """
    images_NCHW = images_NCHW.contiguous()
    for kind_N, argument_N in zip(operations.kind_LN, operations.argument_LN, strict=True):
        images_NCHW = _layer(images_NCHW, kind_N, argument_N, fill_C)
    return images_NCHW


def _layer(images_NCHW: Tensor, kind_N: NDArray[np.int64], argument_N: Floats, fill_C: Sequence[int]) -> Tensor:
    kernels = [operation.kernel for operation in OPERATIONS.values()]

    def changed(images_nCHW: Tensor, kind: int, positions_n: NDArray[np.int64]) -> Tensor:
        return images_nCHW if kind == NOTHING else kernels[kind](images_nCHW, argument_N[positions_n], fill_C)

    return change_by_group(images_NCHW, kind_N, changed)


def _none(strength: Floats, _sign: Floats) -> Floats:
    return np.zeros_like(strength)


def _factor(strength: Floats, _sign: Floats) -> Floats:
    """0.1 to 1.9: 1 leaves the image alone."""
    return strength * 1.8 + 0.1


def _up_to(largest: float) -> Callable[[Floats, Floats], Floats]:
    """Whole numbers from 0."""
    return lambda strength, _sign: np.floor(strength * largest)


def _either_way(largest: float) -> Callable[[Floats, Floats], Floats]:
    """To both sides of 0."""
    return lambda strength, sign: sign * strength * largest


def _alone(operation: Callable[[Tensor], Tensor]) -> Callable[[Tensor, Floats, Sequence[int]], Tensor]:
    """An operation without argument."""
    return lambda images_nCHW, _argument_n, _fill_C: operation(images_nCHW)


def _by(operation: Callable[[Tensor, Floats], Tensor]) -> Callable[[Tensor, Floats, Sequence[int]], Tensor]:
    """An operation with an argument."""
    return lambda images_nCHW, argument_n, _fill_C: operation(images_nCHW, argument_n)


def _moved(
    matrices: Callable[[Floats, int], tuple[Floats | float, ...]],
) -> Callable[[Tensor, Floats, Sequence[int]], Tensor]:
    """An affine map, from arguments and side to the six entries of output-to-input matrices, in pixels."""

    def kernel(images_nCHW: Tensor, argument_n: Floats, fill_C: Sequence[int]) -> Tensor:
        entries_6n = np.broadcast_arrays(*matrices(argument_n, images_nCHW.shape[3]))
        return pillow_ops.affine(images_nCHW, np.stack(entries_6n, axis=-1).reshape(-1, 2, 3), fill_C)

    return kernel


def _rotation(degrees_n: Floats, side: int) -> tuple[Floats | float, ...]:
    """Counter-clockwise around the centre."""
    cos_n, sin_n, centre = np.cos(np.radians(degrees_n)), np.sin(np.radians(degrees_n)), side / 2
    return (
        cos_n, -sin_n, centre - cos_n * centre + sin_n * centre,
        sin_n, cos_n, centre - sin_n * centre - cos_n * centre,
    )  # fmt: skip


OPERATIONS = {
    "AutoContrast": _Operation(_none, _alone(pillow_ops.autocontrast)),
    "Equalize": _Operation(_none, _alone(pillow_ops.equalize)),
    "Invert": _Operation(_none, _alone(pillow_ops.invert)),
    "Rotate": _Operation(_either_way(30.0), _moved(_rotation)),
    "Posterize": _Operation(_up_to(4), _by(pillow_ops.posterize)),
    "Solarize": _Operation(_up_to(256), _by(pillow_ops.solarize)),
    "SolarizeAdd": _Operation(_up_to(110), _by(pillow_ops.solarize_add)),
    "Color": _Operation(_factor, _by(pillow_ops.colour)),
    "Contrast": _Operation(_factor, _by(pillow_ops.contrast)),
    "Brightness": _Operation(_factor, _by(pillow_ops.brightness)),
    "Sharpness": _Operation(_factor, _by(pillow_ops.sharpness)),
    "ShearX": _Operation(_either_way(0.3), _moved(lambda shear_n, _side: (1.0, shear_n, 0.0, 0.0, 1.0, 0.0))),
    "ShearY": _Operation(_either_way(0.3), _moved(lambda shear_n, _side: (1.0, 0.0, 0.0, shear_n, 1.0, 0.0))),
    "TranslateXRel": _Operation(
        _either_way(0.45), _moved(lambda share_n, side: (1.0, 0.0, share_n * side, 0.0, 1.0, 0.0))
    ),
    "TranslateYRel": _Operation(
        _either_way(0.45), _moved(lambda share_n, side: (1.0, 0.0, 0.0, 0.0, 1.0, share_n * side))
    ),
}
"""timm's standard fifteen, under its names, with its scales: the larger the magnitude, the *fewer* bits Posterize drops
and the higher the threshold of Solarize. Shears start from the top left corner; shifts are shares of the side."""
