"""Energy figures as values."""

from __future__ import annotations

import pytest

from condhpc.energy import Power, tdp_w, worst


def test_a_sum_is_as_good_as_its_worst_part() -> None:
    """And nothing of nothing."""
    assert (worst(["A", "C", "B"]), worst(["A", "none"]), worst([])) == ("C", "none", "none")


@pytest.mark.parametrize(
    ("name", "watts"),
    [
        ("NVIDIA H100 80GB HBM3", 700.0),
        ("NVIDIA H100 NVL", 400.0),
        ("h100", 700.0),
        ("NVIDIA A100-SXM4-80GB", None),
        ("", None),
    ],
)
def test_power_by_name(name: str, watts: float | None) -> None:
    """The longest key that a name holds; no guess where there are several and no name."""
    assert tdp_w(Power(gpu_tdp_w={"H100": 700.0, "h100 nvl": 400.0}), name) == watts


def test_the_only_type_needs_no_name() -> None:
    """Where a profile knows one, an element without a type has that."""
    assert (tdp_w(Power(gpu_tdp_w={"l4": 72.0}), ""), tdp_w(Power(), "")) == (72.0, None)
