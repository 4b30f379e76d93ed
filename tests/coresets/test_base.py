"""What coreset strategies share."""

from __future__ import annotations

import msgspec
import pytest

from condhpc import registry


@pytest.mark.parametrize("name", ["facility_location", "kmedoids", "d2"])
def test_classes_too_large_for_their_distances(name: str) -> None:
    """What holds N × N distances says so before anything is computed, with the size and the way out."""
    plugin = registry.load("coresets", name)
    info = registry.load("datasets", "digits").INFO
    assert plugin.objection(plugin.Params(), info, 1) == ""
    large = msgspec.structs.replace(info, train_class_sizes=(10, 50_000))
    assert "50,000 images, its distances take 9 GiB" in plugin.objection(plugin.Params(), large, 1)
