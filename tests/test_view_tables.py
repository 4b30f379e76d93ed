"""Tables of the views, and what their cells say."""

from __future__ import annotations

import msgspec

from condhpc import view_tables
from condhpc.outlook import CellResult, CostLine, Costs, FailureGroup, SeedResult


def cell(condenser: str, ipc: int | None, mean_pct: float | None, **fields: object) -> CellResult:
    """A cell of the digits, with as many seeds as it has recorded."""
    n = 0 if mean_pct is None else 2
    seeds = [
        SeedResult(set_seed=0, student_seed=i, key=f"{condenser}{ipc}{i}", state="recorded", top1_pct=mean_pct)
        for i in range(n)
    ]
    given: dict[str, object] = {
        "dataset": "digits",
        "protocol": "erm",
        "student": "convnet3",
        "planned": 2,
        "n": n,
        "pending": 0,
        "failed": 0,
        "seeds": seeds,
    }
    return CellResult(condenser=condenser, ipc=ipc, mean_pct=mean_pct, **{**given, **fields})  # type: ignore[arg-type]


def test_a_cell_tells_value_count_and_what_is_missing() -> None:
    """Deviation only from two on, the mark of the best, what is to come or failed; nothing where nothing is planned."""
    full = cell("random", 1, 71.336, sd_pct=0.517, is_best=True, over_random_pct=-0.5, measures={"coverage": 0.123456})
    assert view_tables.cell_text(full, "top1_pct") == "*71.34 ±0.52 (2)"
    assert view_tables.cell_text(full, "over_random_pct") == " -0.50"
    assert view_tables.cell_text(full, "coverage") == " 0.1235"
    part = cell("random", 1, 71.336, sd_pct=0.5, planned=4, pending=1, failed=1)
    assert view_tables.cell_text(part, "top1_pct") == " 71.34 ±0.50 (2/4) 1 failed"
    waiting = cell("random", 1, None, pending=2)
    assert view_tables.cell_text(waiting, "top1_pct") == " - (0/2)"
    assert view_tables.cell_text(None, "top1_pct") == ""
    assert view_tables.value(None, "top1_pct") is view_tables.value(waiting, "coverage") is None


def test_pivot_keeps_groups_together_and_sorts_ipc() -> None:
    """Lines of one dataset and protocol stand together in their first order; whole data come last; holes are empty."""
    cells = [
        cell("random", 10, 50.0),
        cell("random", 10, 40.0, protocol="soft"),
        cell("rded", 1, 60.0),
        cell("all", None, 90.0),
    ]
    pivot = view_tables.pivot(cells)
    assert pivot.columns == ("ipc 1", "ipc 10", "all data")
    assert [(*line.names[1:], *line.texts("top1_pct")) for line in pivot.lines] == [
        ("erm", "convnet3", "random", "", " 50.00 (2)", ""),
        ("erm", "convnet3", "rded", " 60.00 (2)", "", ""),
        ("erm", "convnet3", "all", "", "", " 90.00 (2)"),
        ("soft", "convnet3", "random", "", " 40.00 (2)", ""),
    ]
    assert pivot.lines[0].tasks() == ("random100", "random101")
    exported = pivot.numbers("top1_pct")
    assert exported.header[:4] == ("dataset", "protocol", "student", "condenser")
    assert exported.header[4:] == ("ipc 1", "ipc 1 n", "ipc 10", "ipc 10 n", "all data", "all data n")
    assert exported.rows()[1][4:] == (60.0, 2, None, None, None, None)


def test_a_renewed_pivot_is_one_made_anew() -> None:
    """Only lines with a changed cell are others; cells that came, went or changed places want a new pivot."""
    cells = [cell("random", 10, 50.0), cell("random", 1, 40.0), cell("rded", 1, 60.0), cell("all", None, 90.0)]
    held = view_tables.pivot(cells)
    news = [cells[0], cells[1], cell("rded", 1, 61.0, is_best=True), cells[3]]
    found = view_tables.renewed(held, news)
    assert found is not None
    renewed, changed = found
    assert renewed == view_tables.pivot(news)
    assert [line.names[3] for line in changed] == ["rded"]
    assert [line is before for line, before in zip(renewed.lines, held.lines, strict=True)] == [True, False, True]
    assert view_tables.renewed(held, cells[:3]) is None
    assert view_tables.renewed(held, [cells[1], cells[0], *cells[2:]]) is None
    assert view_tables.renewed(held, [cell("random", 50, 50.0), *cells[1:]]) is None


def test_seeds_of_a_line_name_their_tasks() -> None:
    """One line per evaluation with its value; whole data have no ipc."""
    (line,) = view_tables.pivot([cell("random", 10, 50.0), cell("random", None, 80.0)]).lines
    assert view_tables.seeds(line).rows() == [
        (10, 0, 0, "recorded", 50.0, "random100"),
        (10, 0, 1, "recorded", 50.0, "random101"),
        ("all data", 0, 0, "recorded", 80.0, "randomNone0"),
        ("all data", 0, 1, "recorded", 80.0, "randomNone1"),
    ]


def test_measures_are_those_that_cells_have() -> None:
    """Accuracy and its difference to random first, the rest by name, each once."""
    cells = [cell("a", 1, 1.0, measures={"kwh": 1.0, "coverage": 0.5}), cell("b", 1, 1.0, measures={"kwh": 2.0})]
    assert view_tables.measures(cells) == ["top1_pct", "over_random_pct", "coverage", "kwh"]


def test_failures_have_a_line_per_cause() -> None:
    """Count, what Slurm said, some of many nodes, hours; the tasks are held for actions."""
    group = FailureGroup(
        signature="ValueError: N",
        example="ValueError: 3",
        state="failed",
        stages=["condense", "evaluate"],
        slurm_state="OUT_OF_MEMORY",
        cause="limit",
        nodes=["n1", "n2", "n3", "n4", "n5"],
        keys=["a", "b"],
        gpu_h_lost=1.5,
    )
    (line,) = view_tables.failures([group]).lines
    assert line.cells == (
        2, "failed", "limit", "OUT_OF_MEMORY", "ValueError: N", "condense evaluate", 1.5, None, "n1 n2 n3 and 2 more",
    )  # fmt: skip
    assert line.tasks == ("a", "b")


def test_causes_have_lines_of_their_own_that_further_tasks_do_not_change() -> None:
    """Told apart by state, Slurm's word, class and signature alone; a task of another stage leaves the key."""
    one = FailureGroup(signature="no word", example="", state="lost", stages=["condense"], cause="infra", keys=["a"])
    grown = msgspec.structs.replace(one, stages=["condense", "evaluate"], keys=["a", "b"])
    others = [
        msgspec.structs.replace(one, cause=""),
        msgspec.structs.replace(one, state="failed"),
        msgspec.structs.replace(one, slurm_state="NODE_FAIL"),
        msgspec.structs.replace(one, signature="left"),
    ]
    keys = [line.key for line in view_tables.failures([one, *others, grown]).lines]
    assert len(set(keys[:-1])) == 5
    assert keys[-1] == keys[0]


def test_costs_and_waste() -> None:
    """GPU types stay apart, CPUs are named; causes by hours, GPU before CPU, without a 0 where nothing is known."""
    lines = [
        CostLine(
            stage="condense", condenser="rded", gpu_type="h100", tasks=3, gpu_h=2.0, cpu_h=8.0, kwh=1.0, grade="A"
        ),
        CostLine(stage="embed", condenser="", gpu_type="", tasks=1, gpu_h=0.0, cpu_h=1.0),
    ]
    found = Costs(lines=lines, waste_gpu_h={"failed": 1.0, "preempted": 2.0}, waste_cpu_h={"failed": 4.0, "idle": 9.0})
    assert view_tables.costs(found).rows() == [
        ("condense", "rded", "h100", 3, 2.0, 8.0, 1.0, "A"),
        ("embed", "", "CPU", 1, 0.0, 1.0, None, ""),
    ]
    assert view_tables.waste(found).rows() == [("preempted", 2.0, None), ("failed", 1.0, 4.0), ("idle", None, 9.0)]
