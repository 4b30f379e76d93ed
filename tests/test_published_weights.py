"""State dicts as they were published."""

from __future__ import annotations

import re

import pytest
import torch
from torch import Tensor
from torchvision.models import densenet

from condhpc import models
from condhpc.published_weights import under_own_names


def as_of_2017(state: dict[str, Tensor]) -> dict[str, Tensor]:
    """The names in torchvision's DenseNet files, without the counters that batch norm did not have then."""
    kept = {name: tensor for name, tensor in state.items() if not name.endswith("num_batches_tracked")}
    return {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])", r"\1.\2", name): t for name, t in kept.items()}


def small_densenet() -> densenet.DenseNet:
    """DenseNet-121's names, with fewer and narrower layers."""
    return densenet.DenseNet(growth_rate=4, block_config=(2, 1, 1, 1), num_init_features=8, num_classes=3)


class PublishedFile:
    """Stands for a downloaded file where torchvision loads one."""

    def __init__(self, state: dict[str, Tensor]) -> None:
        self.state = state

    def get_state_dict(self, **_options: bool) -> dict[str, Tensor]:
        """A copy, because torchvision changes it."""
        return dict(self.state)


def test_densenets_file_loads_as_torchvision_loads_it() -> None:
    """Old names and missing counters end as the very weights that torchvision's own loader makes of them."""
    published = as_of_2017(small_densenet().state_dict())
    assert "features.denseblock1.denselayer1.norm.1.weight" in published
    theirs, ours = small_densenet(), small_densenet()
    densenet._load_state_dict(theirs, PublishedFile(published), progress=False)  # type: ignore[arg-type]
    ours.load_state_dict(under_own_names(published, ours.state_dict()), strict=True)
    assert all(torch.equal(tensor, theirs.state_dict()[name]) for name, tensor in ours.state_dict().items())


@pytest.mark.parametrize("arch", ["resnet18", "convnet3", "alexnet"])
def test_todays_names_stay_as_they_are(arch: str) -> None:
    """A file of our own making is not touched."""
    with torch.device("meta"):
        own = models.build(arch, 10, 32, 0).state_dict()
    assert under_own_names(own, own) == own


def test_what_is_truly_missing_stays_missing() -> None:
    """No layer is filled in from the fresh network: neither weights, nor a counter whose statistics are not there."""
    own = models.build("convnet3", 10, 8, 0).state_dict()
    found = {name: tensor for name, tensor in own.items() if not name.startswith("features.1.")}
    assert under_own_names(found, own).keys() == found.keys()
    assert under_own_names({"other": own["head.bias"]}, own).keys() == {"other"}
