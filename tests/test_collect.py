"""CSV tables from records."""

from __future__ import annotations

import csv
import statistics
from pathlib import Path
from typing import Any

import pytest
from made_runs import MadeRun
from scipy import stats

from condhpc import collect, observe
from condhpc.collect import CELLS, FAILURES, METRICS, RESULTS, SETS, Collected


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A run without tasks yet."""
    return MadeRun(tmp_path / "root")


def gather(made: MadeRun, out: Path) -> Collected:
    """Collect a run into a folder."""
    return collect.collect(made.run, made.layout, out, observe.snapshot(made.run, made.layout, None))


def table(path: Path) -> list[dict[str, str]]:
    """Rows of a CSV file by column."""
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def evaluation(top1_pct: float) -> dict[str, Any]:
    """Values of an evaluation's record."""
    return {
        "top1_pct": top1_pct,
        "test_count": 360,
        "correct_bits": "AAAA",
        "loss_last": 0.1,
        "steps": 5,
        "batch": 10,
        "resolution": 8,
        "train_count": 10,
        "label_bytes": 0,
    }


def test_column_order_of_every_file_is_fixed(made: MadeRun, tmp_path: Path) -> None:
    """The headers, letter by letter: scripts of users depend on them."""
    made.write()
    paths = gather(made, tmp_path / "out").paths
    assert [path.name for path in paths] == ["results.csv", "cells.csv", "sets.csv", "metrics.csv", "failures.csv"]
    headers = [path.read_text().splitlines()[0] for path in paths]
    assert headers == [",".join(columns) for columns in (RESULTS, CELLS, SETS, METRICS, FAILURES)]
    assert headers[0] == (
        "dataset,condenser,kind,ipc,protocol,student,set_seed,student_seed,top1_pct,test_count,steps,batch,"
        "resolution,train_count,label_bytes,top1_pct_best,wall_s,cpu_s,gpu_s,device,attempts,evaluate_key,set_key"
    )
    assert headers[1] == (
        "dataset,condenser,ipc,protocol,student,status,n,n_planned,n_sets,top1_pct_mean,top1_pct_sd,"
        "top1_pct_ci95_low,top1_pct_ci95_high,ci_over"
    )
    assert headers[2] == (
        "dataset,condenser,kind,ipc,set_seed,status,count,set_bytes,soft_label_bytes,cost,wall_s,cpu_s,gpu_s,gpu_h,"
        "gpu_type,cpu_h,kwh,source,set_key"
    )
    assert headers[3] == (
        "dataset,condenser,ipc,set_seed,metric,status,value,unit,better,reason,encoder,encoder_independent,"
        "analyze_key,set_key"
    )
    assert headers[4] == (
        "key,stage,dataset,condenser,ipc,protocol,student,set_seed,student_seed,metric,role,state,attempt,reason,"
        "job,host,log"
    )


def test_one_row_per_recorded_evaluation(made: MadeRun, tmp_path: Path) -> None:
    """Values, seeds, cost and keys of a record; an evaluation without a record has no row."""
    chosen = made.condense(seed=7)
    first, second = made.evaluate(chosen, 0), made.evaluate(chosen, 1)
    made.write()
    made.folder(chosen)
    made.record(first, evaluation(71.25), attempt=2)
    found = gather(made, tmp_path)
    assert second != first
    assert table(tmp_path / "results.csv") == [
        {
            "dataset": "digits", "condenser": "random", "kind": "coreset", "ipc": "1", "protocol": "erm",
            "student": "convnet3", "set_seed": "7", "student_seed": "0", "top1_pct": "71.25", "test_count": "360",
            "steps": "5", "batch": "10", "resolution": "8", "train_count": "10", "label_bytes": "0",
            "top1_pct_best": "", "wall_s": "2.5", "cpu_s": "2.0", "gpu_s": "0.0", "device": "cpu",
            "attempts": "2", "evaluate_key": first, "set_key": chosen,
        }
    ]  # fmt: skip
    assert found.problems == []


def test_cells_complete_partial_and_missing(made: MadeRun, tmp_path: Path) -> None:
    """Every planned cell has a row; one without any result says that it is missing."""
    sets = [made.condense(seed=i) for i in (0, 1)]
    complete = [made.evaluate(s, seed) for s in sets for seed in (0, 1)]
    other = made.condense("herding", seed=None)
    partial = [made.evaluate(other, seed) for seed in (0, 1, 2)]
    made.evaluate(made.condense("kcenter", seed=None), 0)
    made.write()
    for key, value in zip(complete, (70.0, 72.0, 74.0, 76.0), strict=True):
        made.record(key, evaluation(value))
    for key, value in zip(partial, (60.0, 61.0), strict=False):
        made.record(key, evaluation(value))
    found = gather(made, tmp_path)
    rows = {row["condenser"]: row for row in table(tmp_path / "cells.csv")}
    assert [(row["status"], row["n"], row["n_planned"], row["n_sets"]) for row in rows.values()] == [
        ("complete", "4", "4", "2"),
        ("partial", "2", "3", "1"),
        ("missing", "0", "1", "0"),
    ]
    assert [row["ci_over"] for row in rows.values()] == ["set_seed", "student_seed", ""]
    low, high = stats.t.interval(0.95, 1, loc=73.0, scale=stats.sem([71.0, 75.0]))
    assert float(rows["random"]["top1_pct_ci95_low"]) == pytest.approx(low, abs=1e-6)
    assert float(rows["random"]["top1_pct_ci95_high"]) == pytest.approx(high, abs=1e-6)
    assert float(rows["random"]["top1_pct_mean"]) == 73.0
    assert float(rows["random"]["top1_pct_sd"]) == pytest.approx(statistics.stdev([70, 72, 74, 76]), abs=1e-6)
    assert rows["kcenter"]["top1_pct_mean"] == ""
    assert [row[-1] for row in found.table] == ["complete", "partial", "missing"]


def test_measures_say_whether_their_encoder_is_independent(made: MadeRun, tmp_path: Path) -> None:
    """Not where the same teacher selected the set or labels its students; missing measures keep their row."""
    single, judge = made.teacher("single", 0), made.teacher("judge", 1)
    by_single, by_judge = made.embed(single, "single"), made.embed(judge, "judge")
    chosen = made.condense("herding", seed=None, inputs={"embedding": by_single})
    drawn = made.condense("random", seed=0)
    made.evaluate(drawn, 0, inputs={"single.0": single})
    free = made.analyze(chosen, "coverage", {"embedding": by_judge, "encoder": judge})
    tied = made.analyze(chosen, "covering_radius", {"embedding": by_single, "encoder": single})
    labelled = made.analyze(drawn, "coverage", {"embedding": by_single, "encoder": single})
    made.write()
    measure = {"per_class": [0.5], "unit": "share", "better": "higher"}
    made.record(free, {**measure, "value": 0.5, "reason": ""})
    made.record(tied, {**measure, "value": None, "reason": "one image per class"})
    gather(made, tmp_path)
    rows = {row["analyze_key"]: row for row in table(tmp_path / "metrics.csv")}
    assert [rows[key]["encoder_independent"] for key in (free, tied, labelled)] == ["yes", "no", "no"]
    assert rows[free]["encoder"] == "teacher:judge"
    assert (rows[free]["value"], rows[free]["unit"], rows[free]["better"]) == ("0.5", "share", "higher")
    assert (rows[tied]["value"], rows[tied]["reason"]) == ("", "one image per class")
    assert (rows[labelled]["status"], rows[labelled]["value"]) == ("new", "")


def test_failures_have_reason_place_and_log(made: MadeRun, tmp_path: Path) -> None:
    """The last line of the traceback, the element, the host and the file to read."""
    chosen = made.condense(seed=3)
    made.write()
    name = made.submit([chosen], sent=1.0)
    log = made.run.logs / name / "0.log"
    log.parent.mkdir(parents=True)
    log.write_text("…")
    made.ended(chosen, "failed", "Traceback (most recent call last):\n  …\nValueError: \x1b[31mno\n", "608_0")
    gather(made, tmp_path)
    (row,) = table(tmp_path / "failures.csv")
    assert (row["key"], row["stage"], row["state"], row["attempt"]) == (chosen, "condense", "failed", "1")
    assert (row["reason"], row["job"], row["log"]) == ("ValueError: ?[31mno", "608_0", str(log))
    assert (row["condenser"], row["set_seed"], row["student_seed"]) == ("random", "3", "")


def test_unusable_records_are_problems_and_their_cells_missing(made: MadeRun, tmp_path: Path) -> None:
    """A truncated record and one without an accuracy are named; neither becomes a number."""
    chosen = made.condense(seed=0)
    torn, empty = made.evaluate(chosen, 0), made.evaluate(chosen, 1)
    made.write()
    made.folder(torn).record.write_bytes(b"{")
    made.record(empty, {"test_count": 3})
    found = gather(made, tmp_path)
    assert len(found.problems) == 2
    assert torn in found.problems[0]
    assert "top1_pct" in found.problems[1]
    assert table(tmp_path / "results.csv") == []
    assert table(tmp_path / "cells.csv")[0]["status"] == "missing"


def test_the_same_records_give_the_same_bytes(made: MadeRun, tmp_path: Path) -> None:
    """Collecting twice differs in nothing, and overwrites what an earlier collect left."""
    chosen = made.condense(seed=0)
    key = made.evaluate(chosen, 0)
    made.write()
    made.folder(chosen)
    made.record(key, evaluation(100 / 3))
    first = [path.read_bytes() for path in gather(made, tmp_path / "a").paths]
    (tmp_path / "a" / "results.csv").write_text("old")
    assert [path.read_bytes() for path in gather(made, tmp_path / "a").paths] == first
    assert b"33.333333333333336" in first[0]
    assert b"33.333333," in first[1]
    assert all(b"\r" not in data for data in first)


def test_sets_have_their_storage_and_their_cost(made: MadeRun, tmp_path: Path) -> None:
    """Measured where they are built here; declared or n/a where the manifest has them from elsewhere."""
    built, theirs, silent, missing = (
        made.condense(name, seed=None) for name in ("herding", "theirs", "silent", "kcenter")
    )
    made.run.manifest.write_text(
        f'[external.theirs]\nformat = "hdf5"\nsha256 = "{"a" * 64}"\nipc = 1\ngpu_h = 6.5\nsource = "their page"\n'
        f'[external.silent]\nformat = "hdf5"\nsha256 = "{"b" * 64}"\nipc = 1\n'
    )
    made.write()
    for key in (built, theirs, silent):
        made.folder(key)
        made.record(key, {"count": 10, "set_bytes": 1920, "soft_label_bytes": 0})
    gather(made, tmp_path)
    rows = table(tmp_path / "sets.csv")
    assert [row["set_key"] for row in rows] == [built, theirs, silent, missing]
    shown = [(row["kind"], row["status"], row["set_bytes"], row["cost"]) for row in rows]
    assert shown == [
        ("coreset", "recorded", "1920", "measured"),
        ("external", "recorded", "1920", "declared"),
        ("external", "recorded", "1920", "n/a"),
        ("", "new", "", ""),
    ]
    assert [row["cpu_s"] for row in rows] == ["2.0", "", "", ""]
    assert (rows[1]["gpu_h"], rows[1]["kwh"], rows[1]["source"]) == ("6.5", "n/a", "their page")
    assert rows[2]["gpu_h"] == ""
