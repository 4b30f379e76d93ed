"""CSV tables from records."""

from __future__ import annotations

import csv
import math
import statistics
from pathlib import Path
from typing import Any

import pytest
from made_runs import MadeRun
from scipy import stats

from condhpc import collect, observe
from condhpc.attempts_table import ATTEMPTS, WASTE
from condhpc.cells_tables import CELLS, SCORES
from condhpc.collect import Collected
from condhpc.cost_table import COST
from condhpc.failures_table import FAILURES
from condhpc.measures import METRIC_CELLS, METRICS
from condhpc.results_table import RESULTS
from condhpc.sets_table import SETS

COLUMNS = (RESULTS, CELLS, SCORES, SETS, METRICS, METRIC_CELLS, FAILURES, COST, ATTEMPTS, WASTE)


@pytest.fixture
def made(tmp_path: Path) -> MadeRun:
    """A run without tasks yet."""
    return MadeRun(tmp_path / "root")


def gather(made: MadeRun, out: Path) -> Collected:
    """Collect a run into a folder, plain tables alone; `tests/paper` is about the rest."""
    return collect.collect(made.run, made.layout, out, observe.snapshot(made.run, made.layout, None), families=())


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
    names = ["results", "cells", "scores", "sets", "metrics", "metric_cells", "failures", "cost", "attempts", "waste"]
    assert [path.name for path in paths] == [f"{name}.csv" for name in names]
    headers = [path.read_text().splitlines()[0] for path in paths]
    assert headers == [",".join(columns) for columns in COLUMNS]
    assert headers[0] == (
        "dataset,condenser,kind,ipc,protocol,student,set_seed,student_seed,top1_pct,test_count,steps,batch,"
        "resolution,train_count,label_bytes,label_cpu_s,label_gpu_s,top1_pct_best,wall_s,cpu_s,gpu_s,device,attempts,evaluate_key,set_key"
    )
    assert headers[1] == (
        "dataset,condenser,ipc,protocol,student,status,n,n_planned,n_sets,top1_pct_mean,top1_pct_sd,"
        "top1_pct_ci95_low,top1_pct_ci95_high,ci_over"
    )
    assert headers[2] == (
        "dataset,condenser,ipc,protocol,student,status,hlr,ior,ior_ci95_low,ior_ci95_high,ior_ci_over,lrs,ars,"
        "gap_to_full,hard_protocol,raw_protocol,full_reference,reason"
    )
    assert headers[3] == (
        "dataset,condenser,kind,ipc,set_seed,status,count,set_bytes,soft_label_bytes,cost,wall_s,cpu_s,gpu_s,gpu_h,"
        "gpu_type,cpu_h,kwh,source,standalone_cpu_s,standalone_gpu_s,amortised_cpu_s,amortised_gpu_s,shared_by,"
        "uncharged,pretrained_on,predicted_gpu_s,gpu_s_over_predicted,set_key"
    )
    assert headers[4] == (
        "dataset,condenser,ipc,set_seed,metric,status,value,unit,better,reason,pooled,reference,low,high,"
        "interval_over,encoder,encoder_independent,analyze_key,set_key"
    )
    assert headers[5] == (
        "dataset,condenser,ipc,metric,status,n_sets,n_planned,mean,sd,ci95_low,ci95_high,unit,better,pooled_mean,"
        "reference_mean,reason,encoder,encoder_independent"
    )
    assert headers[6] == (
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
            "label_cpu_s": "", "label_gpu_s": "", "top1_pct_best": "", "wall_s": "2.5", "cpu_s": "2.0",
            "gpu_s": "0.0", "device": "cpu",
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
    tied = made.analyze(chosen, "covering_radius", {"embedding.0": by_single, "encoder": single})
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
    assert "delete the folder and submit again" in found.problems[1]
    assert table(tmp_path / "results.csv") == []
    assert table(tmp_path / "cells.csv")[0]["status"] == "missing"


def test_a_set_whose_record_is_torn_is_not_called_recorded(made: MadeRun, tmp_path: Path) -> None:
    """As measures, sets say that what is there cannot be used."""
    torn = made.condense("herding", seed=None)
    measure = made.analyze(torn, "coverage", {})
    made.write()
    made.submit([torn, measure], name="pack")
    for key in (torn, measure):
        made.folder(key).record.write_bytes(b"{")
        made.hint("pack", 0, key, "recorded")
    assert len(gather(made, tmp_path).problems) == 2
    for name in ("sets.csv", "metrics.csv"):
        assert [row["status"] for row in table(tmp_path / name)] == ["unreadable"]


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


def test_sets_made_on_a_gpu_stand_beside_their_prediction(made: MadeRun, tmp_path: Path) -> None:
    """Shards count with the set that they are of; on a CPU, and without a record, there is nothing to compare."""
    alone, in_shards, on_cpu, _ = (made.condense(seed=seed) for seed in range(4))
    made.write()
    environment, cost = {"gpu": "NVIDIA H100 80GB HBM3", "threads": 1}, {"wall_s": 6.0, "cpu_s": 1.0, "gpu_s": 6.002}
    for key, values in ((alone, {}), (in_shards, {"shards_gpu_s": 6.002})):
        made.folder(key)
        made.record(key, values, environment=environment, cost=cost)
    made.folder(on_cpu)
    made.record(on_cpu, {})
    gather(made, tmp_path)
    shown = [(row["predicted_gpu_s"], row["gpu_s_over_predicted"]) for row in table(tmp_path / "sets.csv")]
    assert shown == [("3.001", "2.0"), ("3.001", "4.0"), ("", ""), ("", "")]


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


def test_scores_stand_in_a_table_of_their_own_and_for_the_screen(made: MadeRun, tmp_path: Path) -> None:
    """Over the means of seeds, as fractions; reference lines are used and have no row."""
    drawn = [made.condense(seed=i) for i in (0, 1)]
    chosen = made.condense("herding", seed=None)
    values = dict(zip((made.evaluate(s, i) for s in drawn for i in (0, 1)), (60.0, 62.0, 64.0, 66.0), strict=True))
    values |= {made.evaluate(chosen, i): value for i, value in enumerate((70.0, 72.0))}
    values |= {made.evaluate(s, name="erm_raw"): value for s, value in zip((*drawn, chosen), (50, 52, 61), strict=True)}
    values[made.reference("full_schedule", None)] = 90.0
    made.write()
    for key, value in values.items():
        made.record(key, evaluation(float(value)))
    found = gather(made, tmp_path)
    rows = {(row["condenser"], row["protocol"]): row for row in table(tmp_path / "scores.csv")}
    assert list(rows) == [("random", "erm"), ("herding", "erm"), ("random", "erm_raw"), ("herding", "erm_raw")]
    row = rows["herding", "erm"]
    assert [row[name] for name in ("hlr", "ior", "gap_to_full", "status")] == ["0.19", "0.08", "0.19", "complete"]
    alpha, beta = (0.08 - 0.19) / 2, (0.08 + 0.10) / 2
    lrs, ars = (round((math.exp(x) - 1 / math.e) / (math.e - 1 / math.e), 8) for x in (alpha, beta))
    assert (row["lrs"], row["ars"]) == (str(lrs), str(ars))
    welch = stats.ttest_ind([70.0, 72.0], [61.0, 65.0], equal_var=False).confidence_interval(0.95)
    assert float(row["ior_ci95_low"]) == pytest.approx(welch.low / 100, abs=1e-8)
    assert float(row["ior_ci95_high"]) == pytest.approx(welch.high / 100, abs=1e-8)
    assert row["ior_ci_over"] == "student_seed"
    assert rows["herding", "erm_raw"]["reason"] == (
        "hlr lrs gap_to_full: full_schedule erm_raw is not planned; ars: erm_raw does not augment"
    )
    assert found.scores[1] == ("digits", "herding", 1, "erm", "convnet3", 0.19, 0.08, lrs, ars, 0.19)


def test_measures_over_set_seeds(made: MadeRun, tmp_path: Path) -> None:
    """Mean, deviation and interval over sets; a measure without meaning says why, one set has no interval."""
    judge = made.teacher("judge", 1)
    by_judge = made.embed(judge, "judge")
    drawn, chosen = [made.condense(seed=i) for i in range(4)], made.condense("herding", seed=None)
    inputs = {"embedding": by_judge, "encoder": judge}
    near = [made.analyze(s, "coverage", inputs) for s in (*drawn, chosen)]
    flat = made.analyze(chosen, "recall", inputs)
    made.write()
    measure = {"per_class": [0.5], "unit": "share", "better": "higher"}
    more = {"pooled": 0.75, "reference": 0.5, "low": 0.25, "high": 0.375, "interval_over": "real points"}
    for key, value in zip((*near[:3], near[4]), (0.2, 0.3, 0.7, 0.9), strict=True):
        made.record(key, {**measure, "value": value, **(more if key == near[0] else {})})
    made.record(flat, {**measure, "value": None, "reason": "ipc 1 is not above k = 5"})
    gather(made, tmp_path)
    first, second, *_ = table(tmp_path / "metrics.csv")
    columns = ("pooled", "reference", "low", "high", "interval_over")
    assert [first[name] for name in columns] == ["0.75", "0.5", "0.25", "0.375", "real points"]
    assert [second[name] for name in columns] == [""] * 5
    rows = {(row["condenser"], row["metric"]): row for row in table(tmp_path / "metric_cells.csv")}
    row = rows["random", "coverage"]
    assert [row[name] for name in ("status", "n_sets", "n_planned", "mean")] == ["partial", "3", "4", "0.4"]
    assert float(row["sd"]) == pytest.approx(statistics.stdev([0.2, 0.3, 0.7]), rel=1e-11)
    interval = stats.t.interval(0.95, 2, loc=0.4, scale=stats.sem([0.2, 0.3, 0.7]))
    assert (float(row["ci95_low"]), float(row["ci95_high"])) == pytest.approx(interval, rel=1e-9)
    assert [row[name] for name in ("unit", "better", "pooled_mean", "reference_mean")] == [
        "share",
        "higher",
        "0.75",
        "0.5",
    ]
    assert [row[name] for name in ("encoder", "encoder_independent")] == ["teacher:judge", "yes"]
    single = rows["herding", "coverage"]
    assert [single[name] for name in ("status", "n_sets", "mean", "sd", "ci95_low")] == ["complete", "1", "0.9", "", ""]
    none = rows["herding", "recall"]
    assert [none[name] for name in ("status", "n_sets", "mean", "reason")] == [
        "complete",
        "0",
        "",
        "ipc 1 is not above k = 5",
    ]


def test_what_sets_consumed_is_charged_to_them(made: MadeRun, tmp_path: Path) -> None:
    """A teacher and its embedding shared by two sets; weights made elsewhere are named; external sets stay empty."""
    single = made.teacher("single", 0)
    by_single = made.embed(single)
    sets = [made.condense("herding", ipc=ipc, seed=None, inputs={"embedding": by_single}) for ipc in (1, 2)]
    theirs = made.condense("theirs", seed=None)
    made.run.manifest.write_text(f'[external.theirs]\nformat = "hdf5"\nsha256 = "{"a" * 64}"\nipc = 1\ngpu_h = 6.5\n')
    made.write()
    spent = {"wall_s": 9.0, "gpu_s": 8.0, "cpu_s": 100.0}
    made.record(single, {"source": "weights:their\x1bs"}, cost=spent)
    for key in (*sets, theirs):
        made.record(key, {"count": 10, "set_bytes": 1920, "soft_label_bytes": 0})
    columns = ("standalone_cpu_s", "standalone_gpu_s", "amortised_cpu_s", "amortised_gpu_s", "shared_by", "uncharged")
    gather(made, tmp_path)
    shown = [[row[name] for name in columns] for row in table(tmp_path / "sets.csv")]
    assert shown[0] == ["", "", "", "", "teacher single 2; embed teacher:single 2", "their?s"]
    made.record(by_single, {})
    gather(made, tmp_path)
    shown = [[row[name] for name in columns] for row in table(tmp_path / "sets.csv")]
    assert shown[0] == shown[1]
    assert shown[0][:4] == ["104.0", "8.0", "53.0", "4.0"]
    assert shown[2] == [""] * 6


def seen(folder: Path) -> dict[str, int]:
    """Modification times of files by name."""
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir() if not path.name.startswith(".")}


def finished(made: MadeRun) -> str:
    """A run of one set and one student, all recorded; the student's key."""
    chosen = made.condense(seed=0)
    key = made.evaluate(chosen, 0)
    made.write()
    made.record(chosen, {})
    made.record(key, evaluation(70.0))
    return key


def test_tables_of_a_complete_run_are_not_made_again(made: MadeRun, tmp_path: Path) -> None:
    """Until a record is deleted by hand, a table is changed, or another format is asked for."""
    key = finished(made)
    out = tmp_path / "out"
    first = gather(made, out)
    assert collect.unchanged(made.run, made.layout, out, families=()) == first
    assert collect.unchanged(made.run, made.layout, out, ("csv", "json"), ()) is None
    (out / "cells.csv").write_text("mine")
    assert collect.unchanged(made.run, made.layout, out, families=()) is None
    assert gather(made, out) == first == collect.unchanged(made.run, made.layout, out, families=())
    made.folder(key).record.unlink()
    assert collect.unchanged(made.run, made.layout, out, families=()) is None
    gather(made, out)
    assert table(out / "results.csv") == []


def test_a_run_that_is_not_complete_is_always_looked_at(made: MadeRun, tmp_path: Path) -> None:
    """What waits may be recorded or fail without a trace that is cheap to see."""
    finished(made)
    made.condense("herding", seed=None)
    made.run.plan.unlink()
    made.write()
    gather(made, tmp_path / "out")
    assert collect.unchanged(made.run, made.layout, tmp_path / "out", families=()) is None


def test_files_that_would_not_change_are_not_touched(made: MadeRun, tmp_path: Path) -> None:
    """A new record changes the tables that show it, and no others."""
    chosen = made.condense(seed=0)
    keys = [made.evaluate(chosen, i) for i in (0, 1)]
    made.write()
    made.record(chosen, {})
    made.record(keys[0], evaluation(70.0))
    gather(made, tmp_path / "out")
    before = seen(tmp_path / "out")
    gather(made, tmp_path / "out")
    assert seen(tmp_path / "out") == before
    made.record(keys[1], evaluation(71.0))
    gather(made, tmp_path / "out")
    after = seen(tmp_path / "out")
    assert {name for name in before if before[name] != after[name]} == {
        "results.csv",
        "cells.csv",
        "scores.csv",
        "cost.csv",
    }


def test_what_cannot_be_used_is_told_in_a_line_each_and_the_rest_is_collected(made: MadeRun, tmp_path: Path) -> None:
    """Torn records, one of a newer schema, one that ended before it began, one that cost less than nothing."""
    chosen = made.condense(seed=0)
    keys = [made.evaluate(chosen, seed) for seed in range(8)]
    made.write()
    made.record(chosen, {})
    for key in keys[:4]:
        made.folder(key).record.write_bytes(b"{")
    made.record(keys[4], evaluation(70.0), schema=99)
    made.record(keys[5], evaluation(71.0), started=10.0, ended=3.0)
    made.record(keys[6], evaluation(72.0), cost={"wall_s": 1.0, "cpu_s": -1.0})
    made.record(keys[7], evaluation(73.0))
    problems = gather(made, tmp_path).problems
    results = table(tmp_path / "results.csv")
    assert [row["top1_pct"] for row in results] == ["71.0", "72.0", "73.0"]
    assert (results[1]["wall_s"], results[1]["cpu_s"]) == ("", "")  # as in sets.csv, nothing of such a cost is believed
    words = {"not a readable record": 4, "schema 99": 1, "before they started": 1, "costs below 0": 1}
    assert {word: sum(word in problem for problem in problems) for word in words} == words
    assert len(problems) == 7


def test_many_problems_are_a_file_and_a_few_lines(tmp_path: Path) -> None:
    """All of them in the file, which goes when they are few again."""
    many = [f"record {i}" for i in range(30)]
    shown = collect.few(many, tmp_path)
    assert (shown[:20], len(shown)) == (many[:20], 21)
    assert "10 more" in shown[20]
    assert (tmp_path / "problems.txt").read_text().splitlines() == many
    assert collect.few(many[:2], tmp_path) == many[:2]
    assert not (tmp_path / "problems.txt").exists()


def test_a_run_whose_folder_cannot_be_written_is_collected_all_the_same(made: MadeRun, tmp_path: Path) -> None:
    """Without the kept ledger, which is said; that is no problem of the figures."""
    finished(made)
    (made.run.ledger / "in-the-way").mkdir(parents=True)
    found = gather(made, tmp_path)
    assert len(table(tmp_path / "results.csv")) == 1
    assert found.problems == []
    assert [str(made.run.ledger) in note for note in found.notes] == [True]
