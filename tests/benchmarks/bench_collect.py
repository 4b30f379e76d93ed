"""From 100,000 recorded students to tables, against a plain loop of json, pathlib and csv.

Procedure: one process, CPU time; what is done more than once is the best of three. Ours writes all CSV files (results,
cells, scores, sets, measures, failures, costs, attempts, waste), no pages for a paper. The rival opens every record
with `json`, looks up its labels in the plan, and writes `results.csv` alone, as equal rows. Apart: the first time,
which keeps a ledger and finished rows; once more after each kind of change (CHANGES), drawn anew each time; from the
ledger alone; and asking again where nothing changed. After each kind the tables are compared, byte by byte, with those
of the run read as a whole, of which nothing is kept.
What a look at the run's tasks takes (`observe`) is no part of it. Run as a script, or with `pytest -m bench`.
"""

from __future__ import annotations

import csv
import json
import random
import time
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

import pytest

from condhpc import collect
from condhpc.findings import Snapshot
from condhpc.results_table import RESULTS
from condhpc.spec import Stage
from tests.benchmarks.bench_plan import MANIFEST
from tests.benchmarks.made_ledger import CORESETS, Made

TABLES_S, UNCHANGED_S = 1.0, 0.05
"""Targets."""
MEASURED_FIRST, MEASURED_LEDGER = 0.8, 0.8
"""How many times longer the rival takes: than the first time, and than from the ledger alone."""
RUNS = 3
MANY = 100
MEASURED_CHANGED = {
    "one student": 9.0, f"{MANY} students": 6.5, "one set": 8.6, "one teacher": 8.8, f"{MANY} charges": 7.4,
}  # fmt: skip
"""The same after each kind of change."""
GATE = 0.7


class Result(NamedTuple):
    """CPU seconds."""

    tasks: int
    first_s: float
    """Records opened, ledger and rows kept, tables written."""
    changed_s: dict[str, float]
    """All tables after each kind of change."""
    ledger_s: float
    """All tables from the ledger, without kept rows."""
    unchanged_s: float
    rival_s: float

    @property
    def first_ratio(self) -> float:
        """How many times longer the rival takes than the first time."""
        return self.rival_s / self.first_s

    @property
    def ledger_ratio(self) -> float:
        """How many times longer the rival takes than all tables from the ledger."""
        return self.rival_s / self.ledger_s


def shot(made: Made) -> Snapshot:
    """Nobody looked at the run: all is recorded."""
    return Snapshot(
        run=made.run.name, state="done", taken_s=0.0, queue_s=None, queue_error="", counts={}, rows=[], problems=[]
    )


def rival(made: Made, out: Path) -> None:
    """`results.csv` by the book."""
    root = made.layout.root / "store"
    with (out / "rival.csv").open("w", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(RESULTS)
        for text in made.run.plan.read_text().splitlines():
            line = json.loads(text)
            key, label = line["key"], line["label"]
            path = root / line["stage"] / key[:2] / key / "record.json"
            record = json.loads(path.read_text())
            if line["stage"] == "evaluate":
                writer.writerow(_row(key, label, line["inputs"], record))


def _row(key: str, label: dict[str, Any], inputs: dict[str, str], record: dict[str, Any]) -> list[Any]:
    values, cost = record["values"], record["cost"]
    return [
        label["dataset"], label["condenser"], "coreset" if label["condenser"] in CORESETS else "method", label["ipc"],
        label["protocol"], label["student"], label.get("set_seed"), label["student_seed"], values["top1_pct"],
        values["test_count"], values["steps"], values["batch"], values["resolution"], values["train_count"],
        values["label_bytes"], None, None, None, cost["wall_s"], cost["cpu_s"], cost["gpu_s"],
        record["environment"]["device"], record["attempt"], key, inputs["set"],
    ]  # fmt: skip


def measure() -> Result:
    """Everything once, then what can be repeated."""
    with TemporaryDirectory() as folder:
        made, out = Made(Path(folder) / "root", MANIFEST), Path(folder) / "out"
        first_s = _cpu_s(lambda: tables(made, out))
        rival_s = min(_cpu_s(lambda: rival(made, out)) for _ in range(RUNS))
        assert (out / "rival.csv").read_bytes() == (out / "results.csv").read_bytes()
        unchanged_s = min(_cpu_s(lambda: _is_unchanged(made, out)) for _ in range(RUNS))
        draw = random.Random(1)
        changed_s = {}
        for kind, change in CHANGES.items():
            changed_s[kind] = min(_after(made, out, draw, change) for _ in range(RUNS))
            _compare(made, out, Path(folder) / "whole")
        ledger_s = min(_from_ledger(made, Path(folder) / "ledger") for _ in range(RUNS))
        return Result(len(made.lines), first_s, changed_s, ledger_s, unchanged_s, rival_s)


def tables(made: Made, out: Path, *, anew: bool = False) -> None:
    """All plain tables."""
    collect.collect(made.run, made.layout, out, shot(made), families=(), anew=anew)


def _renew(made: Made, draw: random.Random, stage: Stage, count: int) -> None:
    """So many records of a stage have other costs, those of students other accuracies."""
    for line in draw.sample([line for line in made.lines if line.stage == stage], count):
        path = made.layout.task(line.stage, line.key).record
        record = json.loads(path.read_bytes())
        if stage == "evaluate":
            record["values"]["top1_pct"] = draw.randrange(10_000) / 100
        record["cost"] |= {name: round(draw.uniform(20.0, 900.0), 3) for name in ("wall_s", "cpu_s", "gpu_s")}
        path.write_text(json.dumps(record))


def _charge(made: Made, draw: random.Random) -> None:
    """The accounting says other hours of MANY elements."""
    told = draw.sample(made.run.accounting.read_bytes().splitlines(), MANY)
    with made.run.accounting.open("ab") as file:
        for line in map(json.loads, told):
            longer_s = draw.randrange(1, 60)
            line["charge"]["elapsed_s"] += longer_s
            line["charge"]["end_s"] += longer_s
            file.write(json.dumps(line).encode() + b"\n")


CHANGES: dict[str, Callable[[Made, random.Random], None]] = {
    "one student": lambda made, draw: _renew(made, draw, "evaluate", 1),
    f"{MANY} students": lambda made, draw: _renew(made, draw, "evaluate", MANY),
    "one set": lambda made, draw: _renew(made, draw, "condense", 1),
    "one teacher": lambda made, draw: _renew(made, draw, "teacher", 1),
    f"{MANY} charges": _charge,
}
"""What may be otherwise the next time."""


def _after(made: Made, out: Path, draw: random.Random, change: Callable[[Made, random.Random], None]) -> float:
    change(made, draw)
    return _cpu_s(lambda: tables(made, out))


def _compare(made: Made, out: Path, whole: Path) -> None:
    """With the tables of the whole run, without a trace in what is kept."""
    kept = [(path, path.read_bytes()) for path in (made.run.ledger, made.run.rows)]
    tables(made, whole, anew=True)
    for path in whole.glob("*.csv"):
        assert (out / path.name).read_bytes() == path.read_bytes(), path.name
    for path, data in kept:
        path.write_bytes(data)


def _from_ledger(made: Made, out: Path) -> float:
    made.run.rows.unlink()
    return _cpu_s(lambda: tables(made, out))


def _is_unchanged(made: Made, out: Path) -> None:
    assert collect.unchanged(made.run, made.layout, out, families=()) is not None


def _cpu_s(call: Callable[[], object]) -> float:
    start = time.process_time()
    call()
    return time.process_time() - start


def report(result: Result) -> str:
    """One line for people and logs."""
    ratios = {kind: result.rival_s / s for kind, s in result.changed_s.items()}
    changed = ", ".join(
        f"{kind} {s:.2f} s ({ratios[kind]:.1f}x, measured {MEASURED_CHANGED[kind]}x)"
        for kind, s in result.changed_s.items()
    )
    return (
        f"collect: {result.tasks:,} records in {result.first_s:.2f} s the first time; all tables after a change of "
        f"{changed} (target {TABLES_S} s), from the ledger without rows "
        f"{result.ledger_s:.2f} s; nothing changed {1000 * result.unchanged_s:.0f} ms (target {1000 * UNCHANGED_S:.0f} "
        f"ms); json+pathlib+csv for results.csv alone {result.rival_s:.2f} s: {result.first_ratio:.2f}x the first time "
        f"(measured {MEASURED_FIRST}x), {result.ledger_ratio:.2f}x from the ledger (measured {MEASURED_LEDGER}x)"
    )


@pytest.mark.bench
def test_collect_beats_the_plain_loop(capsys: pytest.CaptureFixture[str]) -> None:
    """The ratios in one run stay above 70 % of those measured when this was written, whatever changed."""
    result = measure()
    with capsys.disabled():
        print(f"\n{report(result)}")
    for kind, measured in MEASURED_CHANGED.items():
        assert result.rival_s / result.changed_s[kind] >= GATE * measured, kind
    assert result.first_ratio >= GATE * MEASURED_FIRST
    assert result.ledger_ratio >= GATE * MEASURED_LEDGER
    assert result.unchanged_s < result.rival_s / 50


if __name__ == "__main__":
    print(report(measure()))
