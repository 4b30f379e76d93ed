"""What plans say of hours."""

from __future__ import annotations

from typing import Any

from condhpc.predictions import CostRow
from condhpc.status_text import overview_lines
from condhpc.survey import Overview


def _row(**fields: Any) -> CostRow:
    given: dict[str, Any] = {
        "stage": "condense",
        "condenser": "sre2l",
        "tasks": 9,
        "device": "gpu",
        "gpu": "H100",
        "predicted_h": 1.25,
        "expected_h": 1.25,
        "unknown": 0,
        "records": 0,
        "recorded_h": 0.0,
        "recorded_predicted_h": 0.0,
    }
    return CostRow(**{**given, **fields})


def _lines(*rows: CostRow) -> list[str]:
    return list(overview_lines(Overview([], [], 0, provisional=False, costs=list(rows))))[1:]


def test_hours_stand_beside_what_they_rest_on() -> None:
    """Recorded and predicted hours with their ratio, or that the model speaks alone; both kinds of hours are summed."""
    lines = _lines(
        _row(stage="teacher", condenser="", tasks=2, expected_h=0.5),
        _row(records=12, recorded_h=1.4, recorded_predicted_h=1.2, expected_h=1.46),
        _row(
            stage="analyze", condenser="", tasks=4, device="cpu", gpu="", records=3, recorded_h=0.25, expected_h=0.75,
            unknown=1,
        ),
    )  # fmt: skip
    assert lines[1:] == [
        "to compute      tasks  GPU time  CPU time  rests on",
        "teacher             2    0.50 h            H100: the model alone",
        "condense sre2l      9    1.46 h            H100: predicted 1.20 h, recorded 1.40 h over 12 tasks, × 1.17",
        "analyze             4              0.75 h  CPUs: recorded 0.25 h over 3 tasks; not known for 1 of them",
        "all                15    1.96 h    0.75 h  tasks that are in neither sum: 1",
        "The model alone holds within a factor of three; records of real runs calibrate it.",
    ]


def test_short_work_is_told_in_minutes_and_seconds() -> None:
    """Nothing that costs something is shown as `0.00 h`, neither in the columns nor in what they rest on."""
    lines = _lines(
        _row(expected_h=1234.5),
        _row(expected_h=0.0999),
        _row(expected_h=0.001, records=2, recorded_h=0.0011, recorded_predicted_h=0.04),
        _row(device="cpu", gpu="", records=3, recorded_h=0.05, expected_h=0.0002),
    )
    assert lines[1:] == [
        "to compute      tasks  GPU time    CPU time  rests on",
        "condense sre2l      9  1,234.50 h            H100: the model alone",
        "condense sre2l      9       6 min            H100: the model alone",
        "condense sre2l      9         4 s            H100: predicted 2 min, recorded 4 s over 2 tasks, × 0.03",
        "condense sre2l      9                   1 s  CPUs: recorded 3 min over 3 tasks",
        "all                36  1,234.60 h       1 s",
        "The model alone holds within a factor of three; records of real runs calibrate it.",
    ]


def test_what_is_not_known_is_said() -> None:
    """On a CPU without records, and where nothing predicts."""
    unknown = _row(predicted_h=None, expected_h=None, unknown=9)
    cpu = _row(stage="evaluate", condenser="", device="cpu", gpu="", predicted_h=None, expected_h=None, unknown=9)
    lines = _lines(unknown, cpu)
    assert lines[2].endswith("not known: nothing predicts these tasks")
    assert lines[3].endswith("not known on a CPU: no task like these is recorded")
    assert " ".join(lines[4].split()) == "all 18 tasks that are in neither sum: 18"


def test_a_plan_for_a_cpu_without_records_needs_one_line() -> None:
    """Nine rows that say nothing would hide the rest."""
    cpu = _row(device="cpu", gpu="", predicted_h=None, expected_h=None, unknown=9)
    assert _lines(cpu, cpu) == ["hours: on a CPU only records tell, and there are none of such tasks yet"]
    assert _lines() == []
