"""GPUs and memory in TRES texts."""

from __future__ import annotations

import pytest

from condhpc.tres import Tres, is_mig, parse


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", Tres()),
        ("billing=1,cpu=1,mem=500M,node=1", Tres(mem_mb=500)),
        ("billing=8,cpu=8,gres/gpu:h100=2,gres/gpu=2,mem=64G,node=1", Tres(2, "h100", 0, 65536)),
        ("cpu=8,gres/gpu=2,mem=1.5T,node=2", Tres(2, "", 0, 1572864)),
        ("cpu=8,gres/gpu:a100=1,gres/gpu:h100=2", Tres(3, "a100+h100")),
        ("gres/gpu=4,gres/gpu:h100=2", Tres(4, "h100+untyped")),
        ("gres/gpu:1g.10gb=2,gres/gpu=2", Tres(2, "1g.10gb")),
        ("gres/shard=3,gres/shard:h100=3,gres/gpumem=80G,gres/gpuutil=40", Tres(shards=3)),
        ("gres/gpu=0", Tres()),
        ("gres/gpu=x,cpu,mem=lots,node=?", Tres()),
        ("mem=2048K", Tres(mem_mb=2)),
    ],
)
def test_what_an_allocation_holds(text: str, expected: Tres) -> None:
    """Typed GPUs are the untyped ones by name, never more of them; shards and usage counters are no GPUs."""
    assert parse(text) == expected


@pytest.mark.parametrize(
    ("name", "expected"),
    [("1g.10gb", True), ("a100_3g.20gb", True), ("nvidia_h100-2g.20gb", True), ("h100", False), ("g4.16gb", False)],
)
def test_slices_are_known_by_their_name(name: str, expected: bool) -> None:  # noqa: FBT001 - expected value
    """MIG types carry their slices and memory."""
    assert is_mig(name) is expected
