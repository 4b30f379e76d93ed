"""Colour jitter and lighting noise of whole batches, by the rules of IDC's evaluation (Kim et al., ICML 2022).

Shapes: N images of a batch, H × W pixels, C channels (red, green, blue).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from condhpc.device import per_image, to_device

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

GREY_WEIGHTS = (0.299, 0.587, 0.114)
"""Luma of ITU-R BT.601."""
_BRIGHTNESS, _CONTRAST, _SATURATION = range(3)

_EIGENVALUES_3 = np.array([0.2175, 0.0188, 0.0045])
_EIGENVECTORS_C3 = np.array([[-0.5675, 0.7192, 0.4009], [-0.5808, -0.0045, -0.8140], [-0.5836, -0.6948, 0.4203]])
"""Principal components of ImageNet's pixels in [0, 1] (Krizhevsky et al., NeurIPS 2012), one per column."""


class Jitter(NamedTuple):
    """Factors of brightness, contrast and saturation, and the order in which each image gets them."""

    factors_N3: NDArray[np.float32]
    order_N3: NDArray[np.int64]


def draw_jitter(count: int, spread: float, generator: np.random.Generator) -> Jitter:
    """Factors uniform in 1 ± spread, in random order."""
    factors_N3 = generator.uniform(1.0 - spread, 1.0 + spread, (count, 3)).astype(np.float32)
    return Jitter(factors_N3, generator.permuted(np.tile(np.arange(3), (count, 1)), axis=1))


def jitter(images_NCHW: Tensor, drawn: Jitter) -> Tensor:
    """Each image blended with black, its mean grey and its greys, factor · image + (1 − factor) · other, in its order.

    As in IDC, values may leave the range of the input; torchvision's `adjust_*` cut them off.
    """
    images_NCHW = images_NCHW.contiguous()  # as planes, whose greys are fast to take
    factors_N3 = np.take_along_axis(drawn.factors_N3, drawn.order_N3, axis=1)
    for turn in range(3):
        factor_N, kind_N = factors_N3[:, turn], drawn.order_N3[:, turn]
        grey_N1HW = greys(images_NCHW)
        mean_N111 = grey_N1HW.mean(dim=(2, 3), keepdim=True)
        mean_share_N111, grey_share_N111 = (
            per_image((1.0 - factor_N) * (kind_N == kind), images_NCHW.device) for kind in (_CONTRAST, _SATURATION)
        )
        other_N1HW = grey_N1HW.mul_(grey_share_N111).add_(mean_N111 * mean_share_N111)
        images_NCHW = images_NCHW * per_image(factor_N, images_NCHW.device) + other_N1HW
    return images_NCHW


def greys(images_NCHW: Tensor) -> Tensor:
    """Luma (N, 1, H, W) of float images."""
    red, green, blue = GREY_WEIGHTS
    return images_NCHW[:, :1] * red + images_NCHW[:, 1:2] * green + images_NCHW[:, 2:] * blue


def draw_lighting(count: int, std: float, generator: np.random.Generator) -> NDArray[np.float32]:
    """Colour shifts (N, C) of images in [0, 1]: each principal component gets a normal weight of that deviation."""
    weights_N3 = generator.normal(0.0, std, (count, 3))
    shifts_NC: NDArray[np.float64] = (weights_N3 * _EIGENVALUES_3) @ _EIGENVECTORS_C3.T
    return shifts_NC.astype(np.float32)


def lighten(images_NCHW: Tensor, shifts_NC: NDArray[np.float32]) -> Tensor:
    """Images in 0..255 with their shift added."""
    return images_NCHW + to_device(255.0 * shifts_NC, images_NCHW.device)[:, :, None, None]
