"""Outlooks against the tables that `collect` writes, and kept up to date against made anew."""

from __future__ import annotations

import csv
import itertools
import json
import random
from collections import defaultdict
from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_runs import MadeRun
from test_accounts import sacct_row
from test_failures import FakeSlurm

from condhpc import accounts, collect, lease, outlooks, profile
from condhpc.energy import Energy
from condhpc.findings import Row, Snapshot, counted, summary
from condhpc.outlook import CellResult, Outlook
from condhpc.outlooks import Outlooks
from condhpc.profile import Profile

NOW_S = 20_000.0


class World:
    """Two condensers at two ipc, two sets each, two students and one analysis per set, in one array."""

    def __init__(self, root: Path) -> None:
        self.made = made = MadeRun(root)
        made.run.profile.write_bytes(profile.encode(Profile(name="p", backend="slurm", root=root)))
        self.sets = [made.condense(c, ipc, s) for c in ("random", "kcenter") for ipc in (1, 10) for s in (0, 1)]
        self.students = [made.evaluate(key, seed) for key in self.sets for seed in (0, 1)]
        self.analyses = [made.analyze(key) for key in self.sets]
        self.references = [made.reference("full_same_steps", 1)]
        made.write()
        self.keys = [line.key for line in made.lines]
        self.element = {key: f"608_{at // 3}" for at, key in enumerate(self.keys)}
        packs = [self.keys[at : at + 3] for at in range(0, len(self.keys), 3)]
        made.submit(*packs, job="608", name="sub", sent=900.0)
        self.draw = random.Random(7)

    def record(self, key: str) -> None:
        """With values, costs and energy of its own, at a time of its own in its element."""
        at = self.keys.index(key)
        value = round(self.draw.uniform(20, 80), 3)
        values: dict[str, Any] = {"top1_pct": value, "test_count": 10}
        if key in self.analyses:
            values = {"value": value, "unit": "x", "better": "lower"}
        elif key in self.sets:
            values = {"count": 10}
        start_s = 1000.0 + 1200 * (at % 3)
        gpu_s = self.draw.uniform(1, 900)
        self.made.record(
            key,
            values,
            cost={"wall_s": gpu_s, "gpu_s": gpu_s, "cpu_s": self.draw.uniform(1, 900)},
            energy=(Energy("gpu", self.draw.uniform(1e5, 1e6), self.draw.choice("AB"), "made up", gpu_s),),
            environment={
                "run": self.made.run.name,
                "job": self.element[key],
                "restarts": 0,
                "host": "n1",
                "gpu": "A100",
            },
            started=start_s,
            ended=start_s + gpu_s,
        )

    def fail(self, key: str) -> None:
        """An attempt that ended badly."""
        owner = msgspec.structs.replace(lease.myself(run=self.made.run.name), job=self.element[key], started=1000.0)
        held = lease.acquire(self.made.folder(key), owner, lambda _: True)
        assert held is not None
        held.end("failed", f"ValueError: {self.draw.randrange(99)}", {"gpu_s": 60.0, "cpu_s": 90.0})

    def account(self, elements: int, state: str = "COMPLETED") -> None:
        """What sacct says of the first elements now."""
        rows = "".join(sacct_row(f"608_{at}", state) for at in range(elements))
        accounts.refresh(self.made.run, self.made.layout, FakeSlurm(sacct=rows))

    def shot(self) -> Snapshot:
        """States from the store, as an observer would tell them."""
        rows = [self._row(key) for key in self.keys]
        return Snapshot(
            run=self.made.run.name,
            state=summary(rows),
            taken_s=NOW_S,
            queue_s=None,
            queue_error="",
            counts=counted(rows),
            rows=rows,
            problems=[],
        )

    def _row(self, key: str) -> Row:
        line = self.made.lines[self.keys.index(key)]
        given = {"key": key, "stage": line.stage, "label": line.label}
        folder = self.made.layout.task(line.stage, key)
        if folder.record.exists():
            return Row(**given, state="recorded", since_s=folder.record.stat().st_mtime)
        tried = lease.attempts(folder)
        if not tried:
            return Row(**given, state="queued", element=self.element[key])
        end = tried[-1].end
        detail = end.reason if end is not None else ""
        return Row(**given, state="failed", detail=detail, attempts=len(tried), element=self.element[key], host="n1")

    def fresh(self) -> Outlook:
        """Made anew."""
        return Outlooks(self.made.run, self.made.layout).of(self.shot())


@pytest.fixture
def world(root: Path) -> World:
    """Nothing is recorded yet."""
    return World(root)


def _tables(world: World, folder: Path) -> dict[str, list[dict[str, str]]]:
    collect.collect(world.made.run, world.made.layout, folder, world.shot(), families=())
    return {path.stem: list(csv.DictReader(path.read_text().splitlines())) for path in folder.glob("*.csv")}


def _which(cell: CellResult | dict[str, str]) -> tuple[str, ...]:
    names = "dataset", "condenser", "ipc", "protocol", "student"
    return tuple(str(cell[name] if isinstance(cell, dict) else getattr(cell, name)) for name in names)


def _number(text: str) -> float | None:
    return float(text) if text else None


@pytest.fixture
def filled(world: World) -> World:
    """All is recorded but one student, one set and one analysis, of which the first failed once; all accounted for."""
    for key in world.keys:
        if key not in {world.students[3], world.sets[7], world.students[14], world.students[15], world.analyses[2]}:
            world.record(key)
    world.fail(world.students[3])
    world.account(11)
    return world


def test_cells_are_those_of_the_tables(filled: World, tmp_path: Path) -> None:
    """Means, deviations and differences to random; holes are counted by what becomes of them."""
    tables, found = _tables(filled, tmp_path / "out"), filled.fresh()
    told = {_which(row): row for row in tables["cells"]}
    scores = {_which(row): row for row in tables["scores"]}
    assert [_which(cell)[:2] for cell in found.cells] == [tuple(row.values())[:2] for row in tables["cells"]]
    for cell in found.cells:
        row = told[_which(cell)]
        assert (cell.n, cell.planned) == (int(row["n"]), int(row["n_planned"]))
        assert cell.mean_pct == _number(row["top1_pct_mean"])
        assert cell.sd_pct == _number(row["top1_pct_sd"])
        if cell.condenser == "kcenter":
            assert cell.over_random_pct == pytest.approx(100 * float(scores[_which(cell)]["ior"]), abs=1e-5)
    holes = {(cell.condenser, cell.ipc): (cell.pending, cell.failed) for cell in found.cells if cell.n < cell.planned}
    assert holes == {("random", 1): (0, 1), ("kcenter", 10): (2, 0)}


def test_the_best_is_marked_among_its_rivals(filled: World) -> None:
    """One condenser of each ipc; a reference line is no rival, and random is not compared with itself."""
    cells = {(cell.condenser, cell.ipc): cell for cell in filled.fresh().cells}
    for ipc in (1, 10):
        rated = {name: cells[name, ipc].mean_pct or 0.0 for name in ("random", "kcenter")}
        assert [name for name in rated if cells[name, ipc].is_best] == [max(rated, key=rated.__getitem__)]
        assert cells["random", ipc].over_random_pct is None
    assert not cells["full_same_steps", 1].is_best


def test_measures_are_those_of_the_tables(filled: World, tmp_path: Path) -> None:
    """Metrics over the sets that have one, and what sets took."""
    tables, found = _tables(filled, tmp_path / "out"), filled.fresh()
    metrics = {(row["condenser"], row["ipc"]): row for row in tables["metric_cells"]}
    costs: dict[tuple[str, str], list[dict[str, str]]] = defaultdict(list)
    for row in tables["cost"]:
        if row["status"] == "recorded":
            costs[row["condenser"], row["ipc"]].append(row)
    for cell in (cell for cell in found.cells if cell.condenser != "full_same_steps"):
        which = cell.condenser, str(cell.ipc)
        assert cell.measures["coverage"] == pytest.approx(float(metrics[which]["mean"]))
        for name in ("gpu_h", "cpu_h", "kwh"):
            mean = sum(float(row[name]) for row in costs[which]) / len(costs[which])
            assert cell.measures[name] == pytest.approx(mean, abs=1e-6)
    assert found.cells[-1].measures == {}


def test_hours_and_waste_are_those_of_the_tables(filled: World, tmp_path: Path) -> None:
    """Charged by GPU type, wasted by cause."""
    tables, costs = _tables(filled, tmp_path / "out"), filled.fresh().costs
    assert costs.source == "sacct"
    charged = sum(float(row["gpu_h"]) for row in tables["attempts"])
    assert sum(costs.gpu_h.values()) == pytest.approx(charged, abs=1e-5)
    wasted = {row["purpose"]: float(row["gpu_h"]) for row in tables["waste"] if row["is_waste"] == "yes"}
    assert costs.waste_gpu_h == pytest.approx({p: h for p, h in wasted.items() if h}, abs=1e-5)
    assert "failed" in costs.waste_gpu_h
    assert sum(line.tasks for line in costs.lines) == len(filled.keys) - 4  # the failed one counts
    assert costs.kwh is None  # the failed attempt was not measured


def test_without_an_accounting_own_meters_tell(world: World) -> None:
    """Source and hours are those of records; waste is by how attempts ended; the worst grade counts."""
    for key in world.students[:4]:
        world.record(key)
    found = world.fresh().costs
    (line,) = found.lines
    assert (found.source, line.stage, line.condenser, line.gpu_type) == ("records", "evaluate", "", "A100")
    assert found.gpu_h == {"A100": line.gpu_h}
    assert found.kwh == pytest.approx(line.kwh, abs=1e-6)
    assert found.grade == line.grade == "B"
    world.fail(world.students[5])
    assert world.fresh().costs.waste_gpu_h == {"failed": round(60 / 3600, 6)}


def test_records_of_other_runs_cost_this_one_nothing(world: World) -> None:
    """They fill cells all the same."""
    world.made.record(world.students[0], {"top1_pct": 40.0}, environment={"run": "older", "gpu": "A100", "job": "5_0"})
    found = world.fresh()
    assert (found.costs.lines, found.cells[0].mean_pct) == ([], 40.0)


@pytest.mark.parametrize("seed", range(4))
def test_kept_up_to_date_is_as_good_as_anew(world: World, seed: int) -> None:
    """Through records, failures, deleted records and an accounting that changes its mind, look by look."""
    draw = random.Random(seed)
    held = Outlooks(world.made.run, world.made.layout)
    for _ in range(30):
        key = draw.choice(world.keys)
        stage = world.made.lines[world.keys.index(key)].stage
        record = world.made.layout.task(stage, key).record
        if record.exists():
            record.unlink()
        elif draw.random() < 0.7:
            world.record(key)
        else:
            world.fail(key)
        if draw.random() < 0.3:
            world.account(draw.randrange(1, 12), draw.choice(["COMPLETED", "FAILED", "RUNNING"]))
        found, fresh = held.of(world.shot()), world.fresh()
        for name in Outlook.__struct_fields__:
            assert getattr(found, name) == getattr(fresh, name), name


def test_what_did_not_change_stays_the_same_object(filled: World) -> None:
    """Cells of a second look are those of the first, but for the one with news."""
    held = Outlooks(filled.made.run, filled.made.layout)
    before = held.of(filled.shot()).cells
    filled.record(filled.students[14])
    after = held.of(filled.shot()).cells
    changed = [new.condenser for old, new in zip(before, after, strict=True) if new is not old]
    assert changed == ["kcenter"]


def test_places_may_be_somebody_elses(filled: World) -> None:
    """Also where they are known only after the first look, as an observer's are."""
    places: dict[str, int] = {}
    held = Outlooks(filled.made.run, filled.made.layout, positions=places)
    places.update({key: at for at, key in enumerate(filled.keys)})
    assert held.of(filled.shot()) == filled.fresh()
    filled.record(filled.students[14])
    assert held.of(filled.shot()) == filled.fresh()


def test_a_slice_of_time_reads_some_and_says_so(filled: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """Look after look it comes further, until it is what one long look gives."""
    monkeypatch.setattr("condhpc.outlooks._BATCH", 5)
    ticks = itertools.count()
    held = Outlooks(filled.made.run, filled.made.layout, slice_s=5.0, clock=lambda: float(next(ticks)))
    looks = [held.of(filled.shot())]
    while looks[-1].notes and len(looks) < 100 and "being" in " ".join(looks[-1].notes):
        looks.append(held.of(filled.shot()))
    assert looks[0].notes[0].startswith("costs and results are of ")
    assert len(looks) > 2
    assert [look.is_partial for look in looks] == [True] * (len(looks) - 1) + [False]
    assert looks[-1] == filled.fresh()


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({}, "truncated"),
        ({"schema": 99}, "schema 99, known up to 1"),
        ({"key": "f" * 32}, f"it is the record of evaluate {'f' * 32}"),
        ({"values": {"top1_pct": 10**400}}, "a value is not of 0 to 100"),
        ({"values": {"top1_pct": 1e200}}, "a value is not of 0 to 100"),
        ({"values": {"top1_pct": 50.0, "shards_gpu_s": 10**400}}, "a value is not of -1e+15 to 1e+15"),
        ({"cost": {"gpu_s": 1e308}}, "<= 1000000000000000.0"),
    ],
)
def test_an_unreadable_record_is_named(filled: World, change: dict[str, Any], why: str) -> None:
    """Torn, of a newer condhpc, or of another task; and the others count."""
    key = filled.students[0]
    path = filled.made.layout.task("evaluate", key).record
    held = json.loads(path.read_bytes())
    path.write_text(json.dumps(held | change)) if change else path.write_bytes(b"{")
    found = filled.fresh()
    assert any(key[:12] in note and note.startswith("1 records or diaries") and why in note for note in found.notes)
    cell = found.cells[0]
    read = [seed.top1_pct for seed in cell.seeds if seed.top1_pct is not None]
    assert (cell.mean_pct, cell.n) == (pytest.approx(sum(read) / len(read)), len(read))
    assert cell.n == sum(seed.state == "recorded" for seed in cell.seeds) - 1


def test_an_empty_run_has_an_outlook(root: Path) -> None:
    """Its plan was never written."""
    made = MadeRun(root)
    shot = Snapshot(
        run="x", state="stopped", taken_s=1.0, queue_s=None, queue_error="", counts={}, rows=[], problems=[]
    )
    assert Outlooks(made.run, made.layout).of(shot).cells == []


def test_planned_hours_stand_under_the_names_of_charges() -> None:
    """A plan says H100 where Slurm says h100; of two kinds of one family it cannot be told which."""
    planned = {"H100": (1.0, 2.0), "A100": (3.0, 4.0)}
    assert outlooks._as_charged(planned, ["h100", "unknown"]) == {"h100": (1.0, 2.0), "A100": (3.0, 4.0)}
    assert outlooks._as_charged(planned, ["h100_pcie", "h100_sxm"]) == planned
