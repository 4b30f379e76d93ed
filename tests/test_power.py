"""Watts behind hours."""

from __future__ import annotations

import pytest

from condhpc import power
from condhpc.cost_model import gpu_named
from condhpc.energy import Energy, Part, Power


def _part(part: Part, joules: float | None) -> Energy:
    return Energy(part, joules, "A" if joules is not None else "none", "made", 10.0)


def test_recorded_energy_goes_before_rated_power() -> None:
    """Joules per second of the device; tasks without a figure do not count as zero."""
    found = power.recorded([(3000.0, 10.0)] * 5 + [(0.0, 10.0)])
    assert found is not None
    assert found[:3] == (300.0, 300.0, 300.0)
    assert found.source == "recorded energy of 5 tasks"
    assert found.kwh(1.0, 2.0, 4.0) == pytest.approx((0.3, 0.6, 1.2))
    assert power.recorded([(0.0, 10.0)]) is None


def test_rated_power_is_the_upper_end() -> None:
    """A GPU with its cores, by the data sheet."""
    gpu = gpu_named("NVIDIA A100-SXM4-80GB")
    assert gpu is not None
    found = power.of_gpu(gpu, "a100", 4, Power())
    assert found.high_w == 400 + 4 * power.CORE_W
    assert found.low_w < found.mid_w < found.high_w
    assert power.of_core(Power()).high_w == power.CORE_W


def test_a_site_knows_its_hardware_better() -> None:
    """Its figures go before the data sheet's, each with its source."""
    gpu = gpu_named("a100")
    assert gpu is not None
    site = Power(gpu_tdp_w={"a100": 250.0}, gpu_tdp_source="PCIe cards", cpu_w_per_core=5.0, cpu_w_source="BMC")
    found = power.of_gpu(gpu, "NVIDIA A100-PCIE-40GB", 2, site)
    assert (found.high_w, found.source) == (260.0, "PCIe cards, 250 W, and 5 W a core (BMC)")


def test_parts_are_summed_and_a_node_stands_in() -> None:
    """A node's counter holds its parts, so that both are never added; without the GPU's figure there is none."""
    parts = [_part("gpu", 100.0), _part("cpu", 20.0), _part("dram", 5.0), _part("node", 400.0)]
    assert power.joules(parts, gpu=True) == 125.0
    assert power.joules([_part("gpu", None), _part("node", 400.0)], gpu=True) == 400.0
    assert power.joules([_part("cpu", 20.0)], gpu=True) is None
    assert power.joules([_part("cpu", 20.0)], gpu=False) == 20.0
    assert power.joules([], gpu=False) is None
