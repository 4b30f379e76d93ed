"""Layer statistics of each class and of all of a dataset, in one pass over its images.

Means of images vary within a class. So the variance of a class is the mean of its images' own variances (`within`)
plus the variance of their means (`between`). The official code of EDC keeps `within` alone; here both are kept apart,
and whoever reads them decides.

Shapes: K classes, N images, G statistics of one site (see `layer_statistics`), S of all sites together, L sites.
"""

from __future__ import annotations

from functools import reduce
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import torch
from torch import nn

from condhpc import layer_statistics
from condhpc.bn_statistics import Moments
from condhpc.errors import CorruptArtefactError
from condhpc.layer_statistics import Site

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.pixels import Fidelity

_PARTS = ("mean", "within", "between")


class Spread(NamedTuple):
    """What `images` images have at one site (G,); two of them merge without a second look at the images."""

    images: int
    mean_G: Tensor
    within_G: Tensor
    """Mean variance of an image by itself."""
    between_G: Tensor
    """Biased variance of the images' means."""

    def merged(self, other: Spread) -> Spread:
        """Of the images of both (Chan, Golub and LeVeque 1979)."""
        images = self.images + other.images
        share = other.images / images
        gap_G = other.mean_G - self.mean_G
        return Spread(
            images,
            self.mean_G + share * gap_G,
            torch.lerp(self.within_G, other.within_G, share),
            torch.lerp(self.between_G, other.between_G, share) + share * (1.0 - share) * gap_G.square(),
        )


Spreads = dict[str, Spread]
"""Of one network, by the names of its sites."""


def spread_of(mean_NG: Tensor, var_NG: Tensor) -> Spread:
    """Of the images of one batch, from the moments of each."""
    between_G, mean_G = torch.var_mean(mean_NG.double(), dim=0, unbiased=False)
    return Spread(len(mean_NG), mean_G, var_NG.double().mean(dim=0), between_G)


def of_class(networks: Sequence[nn.Module], batches: Iterable[Tensor]) -> tuple[list[Spreads], Tensor]:
    """Spreads of each network over all images (N, C, H, W) of a class, and the networks' mean logits (N, K).

    All on the CPU in single precision; merged in double. The caller decides on autocast; nothing asks for gradients.
    """
    found: list[Spreads] = [{} for _ in networks]
    logits = []
    with torch.no_grad():
        for images_NCHW in batches:
            logits_NK = [_pass(network, images_NCHW, held) for network, held in zip(networks, found, strict=True)]
            logits.append(torch.stack(logits_NK).mean(dim=0))
    return [{name: _on_cpu(spread) for name, spread in held.items()} for held in found], torch.cat(logits).cpu()


def _pass(network: nn.Module, images_NCHW: Tensor, held: Spreads) -> Tensor:
    """Logits; what enters the layers is merged into `held`."""

    def see(site: Site, entering_NCHW: Tensor) -> None:
        spread = spread_of(*layer_statistics.of_images(site.kind, entering_NCHW))
        held[site.name] = held[site.name].merged(spread) if site.name in held else spread

    with layer_statistics.watched(network, see):
        logits_NK: Tensor = network(images_NCHW)
    return logits_NK.float()


def _on_cpu(spread: Spread) -> Spread:
    return Spread(spread.images, *(values_G.float().cpu() for values_G in spread[1:]))


def arrays_of(networks: Sequence[nn.Module], classes: Sequence[Sequence[Spreads]]) -> dict[str, NDArray[np.float32]]:
    """Everything by name: of each class, in label order (K, G), and of all together (G,).

    "All" of a batch norm are the statistics that it runs with, of a convolution those of the images seen.
    """
    found: dict[str, NDArray[np.float32]] = {}
    for member, network in enumerate(networks):
        modules = dict(network.named_modules())
        for site in layer_statistics.sites(network):
            spreads = [of_networks[member][site.name] for of_networks in classes]
            for part in _PARTS:
                found[_name(member, site, part)] = _float32(torch.stack([getattr(s, f"{part}_G") for s in spreads]))
            mean_G, var_G = _overall(modules[site.layer], spreads)
            found[_name(member, site, "all mean")] = _float32(mean_G)
            found[_name(member, site, "all var")] = _float32(var_G)
    return found


def _overall(layer: nn.Module, spreads: Sequence[Spread]) -> tuple[Tensor, Tensor]:
    if isinstance(layer, nn.BatchNorm2d) and layer.running_mean is not None and layer.running_var is not None:
        return layer.running_mean, layer.running_var
    total = reduce(Spread.merged, (Spread(s.images, *(values_G.double() for values_G in s[1:])) for s in spreads))
    return total.mean_G, total.within_G + total.between_G


def _float32(tensor: Tensor) -> NDArray[np.float32]:
    array: NDArray[np.float32] = tensor.float().cpu().numpy()
    return array


def _name(member: int, site: Site, what: str) -> str:
    return f"{member} {site.name} {what}"


class Known(NamedTuple):
    """What all sites of one network have on real images, one site after the other; float32 on the CPU."""

    sizes_L: list[int]
    overall: Moments
    """On images of all classes (1, S)."""
    of_classes: Moments
    """Mean of the statistics of some classes (1, S)."""


def known(
    arrays: Mapping[str, NDArray[Any]], member: int, network: nn.Module, labels: Sequence[int], fidelity: Fidelity
) -> Known:
    """From `arrays_of`; a label that comes twice counts twice.

    `code`: variances of classes are `within` alone, and mean and variance of their places have changed places, as in
    the official code. Raises CorruptArtefactError where a site of the network is missing.
    """
    rows_N = np.asarray(labels, dtype=np.int64)
    overall, of_classes = [], []
    for site in layer_statistics.sites(network):
        mean_NG, within_NG, between_NG = (_array(arrays, member, site, part)[rows_N] for part in _PARTS)
        var_NG = within_NG if fidelity == "code" else within_NG + between_NG
        found_NG = (var_NG, mean_NG) if fidelity == "code" and site.kind == "place" else (mean_NG, var_NG)
        of_classes.append([torch.from_numpy(values_NG.mean(axis=0)) for values_NG in found_NG])
        of_all = (np.array(_array(arrays, member, site, f"all {moment}")) for moment in ("mean", "var"))
        overall.append([torch.from_numpy(values_G) for values_G in of_all])
    return Known([len(mean_G) for mean_G, _ in overall], _one_by_one(overall), _one_by_one(of_classes))


def _array(arrays: Mapping[str, NDArray[Any]], member: int, site: Site, what: str) -> NDArray[np.float32]:
    name = _name(member, site, what)
    if name not in arrays:
        raise CorruptArtefactError(
            f"class statistics: no array '{name}'; they are of other networks than the backbones given here"
        )
    return arrays[name]


def _one_by_one(sites: Sequence[Sequence[Tensor]]) -> Moments:
    return Moments(*(torch.cat(values)[None] for values in zip(*sites, strict=True)))
