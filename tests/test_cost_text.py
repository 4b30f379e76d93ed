"""What plans say of hours, energy and files."""

from __future__ import annotations

from typing import Any

import pytest

from condhpc.carbon import carbon
from condhpc.cost_text import number, range_text
from condhpc.predictions import CostRow
from condhpc.profile import Footprint
from condhpc.status_text import overview_lines
from condhpc.survey import Overview

COLUMNS = 100


def _row(**fields: Any) -> CostRow:
    given: dict[str, Any] = {
        "stage": "condense",
        "condenser": "sre2l",
        "dataset": "cifar10",
        "tasks": 9,
        "device": "gpu",
        "gpu": "H100",
        "predicted_h": 1.25,
        "expected_h": 1.25,
        "low_h": 0.42,
        "high_h": 3.75,
        "unknown": 0,
        "records": 0,
        "recorded_h": 0.0,
        "recorded_predicted_h": 0.0,
    }
    return CostRow(**{**given, **fields})


def _lines(*rows: CostRow, energy: Footprint | None = None) -> list[str]:
    found = carbon(rows, energy or Footprint())
    return list(overview_lines(Overview([], [], 0, provisional=False, costs=list(rows), carbon=found)))[1:]


def test_ranges_stand_beside_what_they_rest_on() -> None:
    """Records with their ratio, or that the model speaks alone; both kinds of hours are summed, empty columns left."""
    lines = _lines(
        _row(stage="teacher", condenser="", tasks=2, low_h=0.2, expected_h=0.5, high_h=1.5, kept_bytes=9e8),
        _row(
            records=12, recorded_h=1.4, recorded_predicted_h=1.2, low_h=1.3, expected_h=1.46, high_h=1.7,
            basis="records", of_dataset=True,
        ),
        _row(
            stage="analyze", condenser="", tasks=4, device="cpu", gpu="", records=3, recorded_h=0.25, low_h=0.3,
            expected_h=0.75, high_h=2.0, unknown=1, basis="few records", recorded_predicted_h=None,
        ),
    )  # fmt: skip
    assert lines[1:] == [
        "to compute      dataset  tasks     GPU-h     CPU-h  GB kept  rests on",
        "teacher         cifar10      2  0.20–1.5               0.90  the model alone",
        "condense sre2l  cifar10      9   1.3–1.7                     12 records, ×1.17",
        "analyze         cifar10      4            0.30–2.0           3 records*; not known for 1",
        "all                         15   1.5–3.2  0.30–2.0     0.90",
        "Tasks that are in no sum, as nobody knows what they take: 1",
        "GPU-hours are of: H100",
        "* records of all datasets",
        "The model alone holds within a factor of 3, up or down; records of real runs narrow it.",
    ]


def test_a_large_plan_is_readable_at_100_columns() -> None:
    """Long names, thousands of hours, all columns, a footprint."""
    row = _row(
        condenser="minimax_diffusion", dataset="imagenet1k", gpu="NVIDIA H100 80GB HBM3", tasks=12345, low_h=1234.5,
        expected_h=2222.2, high_h=34567.8, low_kwh=345.6, expected_kwh=1000.0, high_kwh=23456.7, kept_bytes=1.2345e12,
        records=12, recorded_h=1.4, recorded_predicted_h=1.2, power_source="rated power of H100, 700 W, and 8 W a core",
    )  # fmt: skip
    lines = _lines(row, row)
    assert lines[1:4] == [
        "to compute                  dataset     tasks         GPU-h         kWh  GB kept  rests on",
        *["condense minimax_diffusion  imagenet1k  12345  1,200–35,000  350–23,000    1,200  12 records*, ×1.17"] * 2,
    ]
    assert max(map(len, lines)) == COLUMNS


def test_energy_and_its_footprint_cite_their_sources() -> None:
    """CO2e is kWh × intensity × PUE, and is left out unless both are given."""
    row = _row(low_kwh=10.0, expected_kwh=15.0, high_kwh=20.0, power_source="recorded energy of 7 tasks")
    site = Footprint(pue=1.5, pue_source="site report 2025", carbon_g_per_kwh=400.0, carbon_source="grid operator 2024")
    power = "kWh: recorded energy of 7 tasks; without cooling (PUE)"
    footprint = "CO2e: 6.0–12 kg; 400 g/kWh (grid operator 2024) × PUE 1.5 (site report 2025)"
    assert _lines(row, energy=site)[-2:] == [power, footprint]
    assert _lines(row, energy=Footprint(pue=1.5, pue_source="site report 2025"))[-1] == power
    assert _lines(row)[-1] == power


def test_predictions_that_were_off_are_named() -> None:
    """By more than a factor of two, up or down; a kind that was about right is not."""
    calm = _row(records=9, recorded_h=1.9, recorded_predicted_h=1.0)
    wrong = _row(records=9, recorded_h=3.1, recorded_predicted_h=1.0, of_dataset=True)
    fast = _row(records=9, condenser="dd", recorded_h=0.4, recorded_predicted_h=1.0)
    told = [line for line in _lines(calm, wrong, fast) if line.startswith("predictions")]
    rest = "times what the model says of H100; the hours above are corrected by that"
    assert told == [
        f"predictions of condense sre2l on cifar10 were off: 9 tasks took 3.1 {rest}",
        f"predictions of condense dd were off: 9 tasks took 0.4 {rest}",
    ]


def test_what_is_not_known_is_said() -> None:
    """On a CPU without records, where nothing predicts, and files of no known size."""
    nothing: dict[str, Any] = {"predicted_h": None, "expected_h": None, "low_h": None, "high_h": None, "unknown": 9}
    lines = _lines(_row(**nothing), _row(stage="prepare", device="cpu", gpu="", kept_unknown=9, **nothing))
    assert lines[1:] == [
        "to compute      dataset  tasks  rests on",
        "condense sre2l  cifar10      9  not known",
        "prepare sre2l   cifar10      9  not known: no records",
        "all                         18",
        "Tasks that are in no sum, as nobody knows what they take: 18",
        "GPU-hours are of: H100",
        "GB kept is without files whose size is not known before: prepare sre2l",
    ]


def test_a_plan_for_a_cpu_without_records_needs_one_line() -> None:
    """Nine rows that say nothing would hide the rest."""
    cpu = _row(device="cpu", gpu="", predicted_h=None, expected_h=None, low_h=None, high_h=None, unknown=9)
    assert _lines(cpu, cpu) == ["hours: on a CPU only records tell, and there are none of such tasks yet"]
    assert _lines() == []


@pytest.mark.parametrize(
    ("value", "text"),
    [(0.0, "0"), (0.0009, "<0.001"), (0.0123, "0.012"), (0.5, "0.50"), (3.44, "3.4"), (9.96, "10"), (99.6, "100"),
     (123.0, "120"), (5678.0, "5,700")],
)  # fmt: skip
def test_two_digits_are_enough(value: float, text: str) -> None:
    """More would claim what a prediction does not know."""
    assert number(value) == text


def test_a_range_of_one_number_is_one_number() -> None:
    """And none is nothing."""
    assert range_text(1.21, 1.24) == "1.2"
    assert range_text(None, None) == ""
