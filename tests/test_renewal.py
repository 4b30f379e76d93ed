"""Tables renewed from kept rows, against tables of a run that is read as a whole."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_runs import DATASET, TRAINING, MadeRun

from condhpc import collect, kept_rows, lease, observe, renewal
from condhpc.charges import Charge
from condhpc.collect import Collected
from condhpc.energy import Energy
from condhpc.findings import Snapshot
from condhpc.planned import Label
from condhpc.spec import CondenseSpec, RelabelSpec, TeacherLabels

PACK = 3
JOB = "608"


class Large:
    """A run of sets and their students, sent to Slurm, all but a new condenser's set recorded, charged by element.

    Some sets rest on a teacher's embeddings, one was made in parts, some students read labels that a task wrote.
    """

    def __init__(self, root: Path) -> None:
        self.made = made = MadeRun(root)
        self.teacher = made.teacher()
        self.embedding = made.embed(self.teacher)
        self.sets = [made.condense(name, seed=i) for name in ("random", "herding") for i in range(4)]
        self.sets += [made.condense("kcenter", seed=i, inputs={"embedding": self.embedding}) for i in range(2)]
        self.parts = [self.part(f"{i}/2") for i in (1, 2)]
        self.whole = made.condense("rded", inputs={f"shard.{i}": key for i, key in enumerate(self.parts)})
        self.new = made.condense("new", seed=9)
        self.labels = {seed: self.relabel(self.whole, seed) for seed in (0, 1)}
        names = ("erm", "kd")
        self.students = [made.evaluate(key, seed, name) for key in self.sets for name in names for seed in (0, 1)]
        self.readers = [made.evaluate(self.whole, i, "kd", {"labels": key}) for i, key in self.labels.items()]
        self.students += [*self.readers, made.evaluate(self.whole, 0), made.evaluate(self.new, 0)]
        self.references = [made.reference("full_schedule", None, seed=seed) for seed in (0, 1)]
        self.measures = [made.analyze(key) for key in self.sets]
        made.write()
        self.keys = [line.key for line in made.lines]
        self.job_of = {key: f"{JOB}_{i // PACK}" for i, key in enumerate(self.keys)}
        packs = [self.keys[i : i + PACK] for i in range(0, len(self.keys), PACK)]
        made.submit(*packs, job=JOB)
        self._said = 0
        for key in self.keys:
            if key not in (self.new, self.students[-1]):
                self.record(key, 50.0)
        for element in dict.fromkeys(self.job_of.values()):
            self.charge(element, 100)

    def part(self, shard: str) -> str:
        """A part of a set."""
        label = Label(dataset="digits", condenser="rded", ipc=1, set_seed=0, shard=shard)
        spec = CondenseSpec(
            dataset=DATASET, kind="method", condenser="rded", params={}, ipc=1, seed=0, resolution=8, precision="fp32",
            groups=(int(shard[0]),),
        )  # fmt: skip
        return self.made.add("condense", spec, label)

    def relabel(self, of_set: str, seed: int) -> str:
        """Labels of one student's batches."""
        labels = TeacherLabels(form="softmax")
        spec = RelabelSpec(
            dataset=DATASET, teacher=labels, steps=1, batch=1, augment=TRAINING.augment, seed=seed, precision="fp32"
        )
        return self.made.add("relabel", spec, Label(dataset="digits"), {"set": of_set, "teacher": self.teacher})

    def record(self, key: str, top1_pct: float, **fields: Any) -> None:
        """Write a record in place of the one that is there."""
        stage = self.made.tasks[key].stage
        values: dict[str, Any] = {"top1_pct": top1_pct, "test_count": 10, "correct_bits": "AAAA"}
        if stage == "analyze":
            values = {"value": top1_pct, "unit": "share", "better": "higher"}
        elif stage != "evaluate":
            values = {"source": "trained", "set_bytes": 12, "label_bytes": int(top1_pct)}
        if key == self.whole:
            values |= {"shards_gpu_s": 0.3 * top1_pct, "shards_cpu_s": 0.2 * top1_pct}
        place = 10.0 * (self.keys.index(key) % PACK)
        given = {
            "environment": {"device": "cuda", "gpu": "H100", "run": self.made.run.name, "job": self.job_of[key]},
            "cost": {"wall_s": 9.5, "gpu_s": 0.1 * top1_pct, "cpu_s": 3.7},
            "energy": (Energy("gpu", 0.7 * top1_pct, "A", "counter", 9.5),),
            "started": 1000.0 + place,
            "ended": 1009.5 + place,
        }
        self.made.folder(key).record.unlink(missing_ok=True)
        self.made.record(key, values, **{**given, **fields})

    def charge(self, element: str, elapsed_s: int) -> None:
        """Add a word of the accounting."""
        charge = Charge(
            element=element, raw_id=element, restart=0, submission=f"sub-{JOB}", state="COMPLETED", submit_s=900,
            eligible_s=950, start_s=1000, end_s=1000 + elapsed_s, elapsed_s=elapsed_s, suspended_s=0, cpus=2,
            mem_mb=None, nodes=1, gpus=1, gpu_type="h100", energy_j=None, source="sacct",
        )  # fmt: skip
        with self.made.run.accounting.open("ab") as file:
            file.write(msgspec.json.encode({"taken_s": 1, "charge": charge}) + b"\n")

    def change(self, draw: random.Random) -> None:
        """Something that may happen to a run."""
        student = draw.choice(self.students)
        record = self.made.folder(student).record
        what = draw.randrange(9)
        if what <= 1:
            self.record(student, 100 * draw.random())
        elif what == 2:
            record.unlink(missing_ok=True)
        elif what == 3:
            self.charge(draw.choice(list(self.job_of.values())), draw.randrange(60, 200))
        elif what == 4:
            earlier = lease.Attempt(
                number=1,
                owner=msgspec.structs.replace(
                    lease.myself(), run=self.made.run.name, job=draw.choice(list(self.job_of.values())), started=1030.0
                ),
                pulse=None,
                end=lease.End(outcome=draw.choice(["failed", "stopped"]), time=1041.25, cost={"gpu_s": 11.25}),
            )
            self.record(student, 100 * draw.random(), attempt=2, attempts=(earlier,))
        elif what == 5:
            record.unlink(missing_ok=True)
            self.made.ended(student, "failed", "out of luck", job=self.job_of[student])
        elif what == 6:
            self.record(draw.choice(self.fixed), 100 * draw.random())
        elif what == 7:
            self.made.folder(draw.choice(self.fixed)).record.unlink(missing_ok=True)
        else:
            record.write_bytes(draw.choice([b"{", record.read_bytes() if record.exists() else b"[]"]))

    @property
    def fixed(self) -> list[str]:
        """All tasks but students on sets."""
        return [key for key in self.keys if key not in self.students]

    def look(self) -> Snapshot:
        """What became of the tasks."""
        return observe.snapshot(self.made.run, self.made.layout, None)


@pytest.fixture
def large(tmp_path: Path) -> Large:
    """A complete run, with its rows kept."""
    found = Large(tmp_path / "root")
    gather(found, tmp_path / "out")
    return found


def gather(large: Large, out: Path, *, anew: bool = False) -> Collected:
    """Plain tables into a folder."""
    return collect.collect(large.made.run, large.made.layout, out, large.look(), families=(), anew=anew)


def files(folder: Path) -> dict[str, bytes]:
    """The tables."""
    return {path.name: path.read_bytes() for path in folder.glob("*.csv")}


@pytest.mark.parametrize("seed", range(6))
def test_renewed_tables_are_those_of_a_whole_read(large: Large, tmp_path: Path, seed: int) -> None:
    """After random changes, several at a time: the same bytes, problems and screen, and the same rows to go on from."""
    draw = random.Random(seed)
    in_part = 0
    for _ in range(8):
        for _ in range(draw.randrange(3)):
            large.change(draw)
        in_part += renewal.renewed(large.made.run, large.made.layout, large.look().rows) is not None
        renewed = gather(large, tmp_path / "out")
        kept = large.made.run.rows.read_bytes()
        fresh = gather(large, tmp_path / "fresh", anew=True)
        assert files(tmp_path / "out") == files(tmp_path / "fresh")
        assert msgspec.structs.replace(renewed, paths=[]) == msgspec.structs.replace(fresh, paths=[])
        large.made.run.rows.write_bytes(kept)
    assert in_part > 0


def test_one_changed_student_leaves_most_records_alone(large: Large, tmp_path: Path) -> None:
    """Its set and its element are looked into, and other students are not."""
    large.record(large.students[5], 87.5)
    found = renewal.renewed(large.made.run, large.made.layout, large.look().rows)
    assert found is not None
    looked_into = [key for key in large.students if key in found.study.entries]
    assert large.students[5] in looked_into
    assert len(looked_into) < len(large.students)
    assert b",87.5," in gather(large, tmp_path / "out").paths[0].read_bytes()


KINDS: dict[str, Callable[[Large], list[str]]] = {
    "student": lambda made: [made.students[5]],
    "students": lambda made: made.students[::9],
    "teacher": lambda made: [made.teacher],
    "embedding": lambda made: [made.embedding],
    "set": lambda made: [made.sets[3]],
    "part": lambda made: [made.parts[1]],
    "set in parts": lambda made: [made.whole],
    "labels": lambda made: [made.labels[1]],
    "reference": lambda made: [made.references[0]],
    "measure": lambda made: [made.measures[2]],
    "new condenser": lambda made: [made.new, made.students[-1]],
}


@pytest.mark.parametrize("kind", KINDS)
def test_whatever_changed_is_renewed_without_a_whole_read(large: Large, tmp_path: Path, kind: str) -> None:
    """A record of each kind: most students are left alone, and the tables are those of a whole read."""
    for key in KINDS[kind](large):
        large.record(key, 60.0)
    found = renewal.renewed(large.made.run, large.made.layout, large.look().rows)
    assert found is not None
    assert len(found.study.evaluations) < len(large.students)
    gather(large, tmp_path / "out")
    gather(large, tmp_path / "fresh", anew=True)
    assert files(tmp_path / "out") == files(tmp_path / "fresh")


def test_a_student_with_a_cost_below_nothing_costs_one_line_each_time(large: Large, tmp_path: Path) -> None:
    """Once rows are kept, too: its cost is in no sum, and a look at all says the same."""
    large.record(large.students[0], 50.0, cost={"wall_s": 9.5, "gpu_s": -1.0})
    for anew in (False, True, False):
        problems = gather(large, tmp_path / "out", anew=anew).problems
        assert [large.students[0] in one and "costs below 0" in one for one in problems] == [True]
        gather(large, tmp_path / "fresh", anew=True)
        assert files(tmp_path / "out") == files(tmp_path / "fresh")
    large.record(large.students[1], 60.0)
    assert len(gather(large, tmp_path / "out").problems) == 1


@pytest.mark.parametrize(
    ("kind", "values"),
    [
        ("student", {"top1_pct": 1e200, "test_count": 10}),
        ("student", {"top1_pct": -1.0, "test_count": 10}),
        ("measure", {"value": 1e308, "unit": "share", "better": "higher"}),
        ("measure", {"value": 1.0, "unit": "share", "better": "higher", "pooled": -1e308}),
    ],
)
def test_a_result_that_no_sum_can_take_costs_one_line(
    large: Large, tmp_path: Path, kind: str, values: dict[str, Any]
) -> None:
    """Of two records, as one alone need not overflow; all others are collected."""
    keys = large.students[:2] if kind == "student" else large.measures[:2]
    for key in keys:
        large.made.folder(key).record.unlink()
        large.made.record(key, values)
    for anew in (False, True):
        problems = [one for one in gather(large, tmp_path / "out", anew=anew).problems if "does not fit" in one]
        assert [key in one for key, one in zip(keys, problems, strict=True)] == [True, True]


def test_a_record_that_changes_while_families_are_made_is_seen_the_next_time(
    large: Large, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What tells that tables are as they were is of before they were made."""
    out, run, layout = tmp_path / "all", large.made.run, large.made.layout
    written = collect.write

    def family(study: Any, out_dir: Path) -> list[Path]:
        return []

    def write(*given: Any) -> list[Path]:
        paths = written(*given)
        large.record(large.students[6], 77.0)
        return paths

    for key in (large.new, large.students[-1], large.students[5]):
        large.record(key, 60.0)
    collect.collect(run, layout, out, large.look(), families=(family,))
    assert collect.unchanged(run, layout, out, families=(family,)) is not None
    large.record(large.students[5], 61.0)
    monkeypatch.setattr(collect, "write", write)
    collect.collect(run, layout, out, large.look(), families=(family,))
    assert b",77.0," not in (out / "results.csv").read_bytes()
    assert collect.unchanged(run, layout, out, families=(family,)) is None


def test_a_set_that_is_gone_while_its_students_are_there_takes_a_whole_read(large: Large) -> None:
    """Its kind may no longer be known; and a run whose rows were not kept takes one."""
    run, layout = large.made.run, large.made.layout
    large.made.folder(large.sets[0]).record.unlink()
    assert renewal.renewed(run, layout, large.look().rows) is None
    large.record(large.sets[0], 60.0)
    assert renewal.renewed(run, layout, large.look().rows) is not None
    run.rows.unlink()
    assert renewal.renewed(run, layout, large.look().rows) is None


@pytest.mark.parametrize("data", [b"", b"\x90", b"not msgpack"])
def test_kept_rows_that_are_none_are_made_again(large: Large, tmp_path: Path, data: bytes) -> None:
    """Torn, or of other code."""
    large.made.run.rows.write_bytes(data)
    assert kept_rows.load(large.made.run) is None
    gather(large, tmp_path / "out")
    assert kept_rows.load(large.made.run) is not None
