"""What sets cost, beside one full training."""

from __future__ import annotations

from typing import Any

import pytest

from condhpc.cost_table import COST, CostTable
from condhpc.energy import Energy, Grade
from condhpc.ledger import Entry
from condhpc.lineage import Lineage
from condhpc.manifest import External
from condhpc.planned import Label
from condhpc.runs import PlanLine
from condhpc.spec import Stage
from condhpc.tables import Cell
from condhpc.task_costs import task_costs
from condhpc.tries import Try

H = 3600.0
KWH = 3.6e6


def line(key: str, stage: Stage, inputs: dict[str, str] | None = None, **label: Any) -> PlanLine:
    """A planned task on digits."""
    return PlanLine(key=key, stage=stage, inputs=inputs or {}, label=Label(dataset="digits", **label))


STUDENT: dict[str, Any] = {"protocol": "erm", "student": "convnet3"}
PLAN = [
    line("t", "teacher", role="single"),
    line("d", "condense", {"teacher": "t"}, condenser="dd", ipc=1, set_seed=0),
    line("h", "condense", {"teacher": "t"}, condenser="herding", ipc=1),
    line("r", "condense", condenser="random", ipc=1, set_seed=0),
    line("l", "relabel", {"set": "d", "teacher": "t"}),
    line("e0", "evaluate", {"set": "d", "labels": "l"}, condenser="dd", student_seed=0, **STUDENT),
    line("e1", "evaluate", {"set": "d", "labels": "l"}, condenser="dd", student_seed=1, **STUDENT),
    line("er", "evaluate", {"set": "r"}, condenser="random", student_seed=0, **STUDENT),
    line("f0", "evaluate", condenser="full_schedule", student_seed=0, **STUDENT),
    line("f1", "evaluate", condenser="full_schedule", student_seed=1, **STUDENT),
]
HOURS: dict[str, tuple[float, float]] = {
    "t": (2.0, 2.0), "d": (10.0, 12.0), "h": (0.0, 1.0), "r": (0.0, 0.01), "l": (0.5, 0.5), "e0": (0.2, 0.2),
    "e1": (0.3, 0.3), "er": (0.2, 0.2), "f0": (4.0, 4.0), "f1": (6.0, 6.0),
}  # fmt: skip
"""GPU-hours and core-hours; 0.5 kWh per GPU-hour, 0.1 per core-hour."""


class Made:
    """Records and attempts of the plan, to be changed."""

    def __init__(self, hours: dict[str, tuple[float, float]] | None = None) -> None:
        self.hours = dict(HOURS if hours is None else hours)
        self.gpu: dict[str, str] = {}
        self.grades: dict[str, Grade] = {}
        self.values: dict[str, dict[str, Any]] = {"t": {"source": "trained"}, "l": {"label_bytes": 700}}
        self.failed: list[Try] = []

    def entries(self) -> dict[str, Entry]:
        """Records of the tasks that have hours."""
        stages = {one.key: one.stage for one in PLAN}
        return {
            key: Entry(
                key, stages[key], 1, self.values.get(key, {}), self._cost(key), {"gpu": self.gpu.get(key, "H100")},
                self._energy(key),
            )
            for key in self.hours
        }  # fmt: skip

    def _cost(self, key: str) -> dict[str, float]:
        gpu_h, cpu_h = self.hours[key]
        return {"wall_s": 1.0, "gpu_s": gpu_h * H, "cpu_s": cpu_h * H}

    def _energy(self, key: str) -> tuple[Energy, ...]:
        gpu_h, cpu_h = self.hours[key]
        grade = self.grades.get(key, "A")
        gpu_j = None if grade == "none" else 0.5 * gpu_h * KWH
        cpu = Energy(part="cpu", joules=0.1 * cpu_h * KWH, grade="B", source="", window_s=1.0)
        return (cpu, Energy(part="gpu", joules=gpu_j, grade=grade, source="", window_s=1.0)) if gpu_h else (cpu,)

    def fail(self, key: str) -> None:
        """An attempt as long as the one that left the record, but it failed."""
        one = Try(
            key=key, stage="condense", number=1, run="r", element="1_0", restarts=0, host="n", start_s=0.0, end_s=1.0,
            outcome="failed", reason="", productive=False, cost=self._cost(key), energy=self._energy(key),
        )  # fmt: skip
        self.failed.append(one)

    def row(self, key: str, declared: dict[str, External] | None = None) -> dict[str, Cell]:
        """The row of one set by column."""
        entries = self.entries()
        table = CostTable(PLAN, Lineage(PLAN), entries, task_costs(PLAN, entries, self.failed))
        rows = [dict(zip(COST, cells, strict=True)) for cells in table.rows(declared or {}, {})]
        return next(row for row in rows if row["set_key"] == key)


def test_marginal_standalone_and_amortised() -> None:
    """Its own task; with the teacher that it consumed; with half of that teacher, which two sets share."""
    found = Made().row("d")
    assert (found["gpu_h"], found["cpu_h"], found["kwh"]) == (10.0, 12.0, pytest.approx(6.2))
    assert (found["standalone_gpu_h"], found["standalone_kwh"]) == (12.0, pytest.approx(7.4))
    assert (found["amortised_gpu_h"], found["amortised_cpu_h"], found["amortised_kwh"]) == (
        11.0,
        13.0,
        pytest.approx(6.8),
    )
    assert (found["shared_by"], found["gpu_types"], found["energy_grade"], found["energy_of"]) == (
        "teacher single 2", "H100", "B", "cpu+gpu",
    )  # fmt: skip


def test_against_one_full_training() -> None:
    """Mean over seeds of the reference; break-even by hand: students cost 0.5 h with their labels, a full one 5 h."""
    found = Made().row("d")
    assert (found["full_training"], found["full_gpu_h"]) == ("full_schedule erm convnet3, mean of 2", 5.0)
    assert (found["over_full"], found["standalone_over_full"]) == (2.0, 2.4)
    assert found["break_even_reuses"] == 3  # 10 h / 4.5 h = 2.2
    assert found["standalone_break_even_reuses"] == 3  # 12 / 4.5 = 2.7
    assert found["kwh_over_full"] == pytest.approx(6.2 / 3.0, abs=1e-6)
    assert (found["compared_in"], found["evaluation_gpu_h"], found["students"]) == ("gpu_h", 1.0, 2)


def test_a_student_as_dear_as_a_full_training_never_pays_off() -> None:
    """No number of reuses does."""
    made = Made(HOURS | {"e0": (12.0, 1.0)})
    assert made.row("d")["break_even_reuses"] == "never"


def test_a_coreset_chosen_on_cpu_is_not_free() -> None:
    """No GPU-hours, but core-hours and kWh; no ratio of GPU-hours that would be 0, and the ratio of kWh is there."""
    found = Made().row("h")
    assert (found["gpu_h"], found["cpu_h"], found["kwh"], found["gpu_types"]) == (0.0, 1.0, pytest.approx(0.1), "")
    assert (found["over_full"], found["break_even_reuses"]) == ("n/a", None)
    assert found["kwh_over_full"] == pytest.approx(0.1 / 3.0, abs=1e-6)
    assert found["standalone_over_full"] == pytest.approx(2.0 / 5.0)


def test_all_on_cpus_is_compared_in_core_hours() -> None:
    """Where nothing had a GPU, core-hours are the common unit."""
    found = Made({key: (0.0, cpu_h) for key, (_, cpu_h) in HOURS.items()}).row("d")
    assert (found["compared_in"], found["over_full"], found["break_even_reuses"]) == ("cpu_h", 2.4, 3)


def test_gpu_types_are_never_mixed() -> None:
    """A teacher of another type leaves the marginal cost alone; sums over both, and ratios, are n/a, with the types."""
    made = Made()
    made.gpu = {"t": "A100"}
    found = made.row("d")
    assert (found["gpu_h"], found["standalone_gpu_h"], found["standalone_gpu_types"]) == (10.0, "n/a", "A100; H100")
    assert (found["amortised_gpu_h"], found["standalone_cpu_h"], found["standalone_kwh"]) == (
        "n/a",
        14.0,
        pytest.approx(7.4),
    )
    assert (found["over_full"], found["standalone_over_full"]) == (2.0, "n/a")
    made.gpu = {"f0": "A100", "f1": "A100"}
    found = made.row("d")
    assert (found["full_gpu_types"], found["over_full"], found["break_even_reuses"]) == ("A100", "n/a", "n/a")
    made.gpu = dict.fromkeys(HOURS, "")
    assert (made.row("d")["gpu_types"], made.row("d")["over_full"]) == ("unknown", "n/a")


def test_the_grade_is_the_worst_of_what_was_summed() -> None:
    """A modelled teacher makes the stand-alone figure modelled; one that was not measured makes it n/a, never 0."""
    made = Made()
    made.grades = {"t": "C"}
    assert [made.row("d")[name] for name in ("energy_grade", "standalone_energy_grade")] == ["B", "C"]
    made.grades = {"t": "none"}
    found = made.row("d")
    assert (found["kwh"], found["standalone_kwh"], found["standalone_energy_grade"]) == (
        pytest.approx(6.2),
        "n/a",
        "none",
    )


def test_waste_is_apart() -> None:
    """An attempt that failed costs beside the set, not in it."""
    made = Made()
    made.fail("d")
    found = made.row("d")
    assert (found["gpu_h"], found["waste_gpu_h"], found["waste_cpu_h"]) == (10.0, 10.0, 12.0)


def test_a_teacher_stands_in_where_no_reference_was_planned() -> None:
    """One training on all data is what it took, too."""
    made = Made({key: hours for key, hours in HOURS.items() if key not in {"f0", "f1"}})
    found = made.row("d")
    assert (found["full_training"], found["full_gpu_h"], found["over_full"]) == ("teacher single", 2.0, 5.0)
    made.values["t"] = {"source": "weights:resnet18"}
    assert made.row("d")["full_training"] is None


def test_a_set_without_a_record_has_no_figures() -> None:
    """And neither has one whose teacher is missing, but for its own task."""
    made = Made({key: hours for key, hours in HOURS.items() if key != "d"})
    found = made.row("d")
    assert [found[name] for name in ("cost", "gpu_h", "standalone_gpu_h", "over_full")] == [None] * 4
    made = Made({key: hours for key, hours in HOURS.items() if key != "t"})
    found = made.row("d")
    assert (found["gpu_h"], found["standalone_gpu_h"], found["amortised_kwh"]) == (10.0, None, None)


def test_a_declared_cost_stays_declared() -> None:
    """What makers say of a set made elsewhere is not measured, and what they do not say is n/a."""
    block = External(format="folder", sha256="0" * 64, ipc=1, gpu_h=7.0, gpu_type="V100", source="their paper")
    found = Made().row("d", {"dd": block})
    assert (found["cost"], found["gpu_types"], found["gpu_h"], found["cpu_h"], found["kwh"]) == (
        "declared",
        "V100",
        7.0,
        "n/a",
        "n/a",
    )
    assert (found["standalone_gpu_h"], found["over_full"], found["source"]) == (None, None, "their paper")
    assert (found["students"], found["evaluation_gpu_h"]) == (2, 1.0)
    nothing = External(format="folder", sha256="0" * 64, ipc=1)
    assert (Made().row("d", {"dd": nothing})["cost"], Made().row("d", {"dd": nothing})["gpu_h"]) == ("n/a", None)


def test_storage_counts_labels() -> None:
    """Images, soft labels of the set, and label files that its students read, each once."""
    made = Made()
    made.values["d"] = {"set_bytes": 1000, "soft_label_bytes": 40}
    found = made.row("d")
    assert (found["set_bytes"], found["soft_label_bytes"], found["cached_label_bytes"]) == (1000, 40, 700)
