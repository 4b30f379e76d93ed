"""Tables renewed from kept rows, against tables of a run that is read as a whole."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec
import pytest
from made_runs import MadeRun

from condhpc import collect, kept_rows, lease, observe, renewal
from condhpc.charges import Charge
from condhpc.collect import Collected
from condhpc.energy import Energy
from condhpc.findings import Snapshot

PACK = 3
JOB = "608"


class Large:
    """A run of eight sets and their students, sent to Slurm, all recorded, charged by element."""

    def __init__(self, root: Path) -> None:
        self.made = made = MadeRun(root)
        self.teacher = made.teacher()
        self.sets = [made.condense(name, seed=i) for name in ("random", "herding") for i in range(4)]
        self.students = [
            made.evaluate(key, seed, name) for key in self.sets for name in ("erm", "kd") for seed in (0, 1)
        ]
        made.reference("full_schedule", None)
        self.measures = [made.analyze(key) for key in self.sets]
        made.write()
        self.keys = [line.key for line in made.lines]
        self.job_of = {key: f"{JOB}_{i // PACK}" for i, key in enumerate(self.keys)}
        packs = [self.keys[i : i + PACK] for i in range(0, len(self.keys), PACK)]
        made.submit(*packs, job=JOB)
        self._said = 0
        for key in self.keys:
            self.record(key, 50.0)
        for element in dict.fromkeys(self.job_of.values()):
            self.charge(element, 100)

    def record(self, key: str, top1_pct: float, **fields: Any) -> None:
        """Write a record in place of the one that is there."""
        stage = self.made.tasks[key].stage
        values: dict[str, Any] = {"top1_pct": top1_pct, "test_count": 10, "correct_bits": "AAAA"}
        if stage == "analyze":
            values = {"value": top1_pct, "unit": "share", "better": "higher"}
        elif stage != "evaluate":
            values = {"source": "trained", "set_bytes": 12}
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
            self.record(draw.choice([*self.sets, *self.measures, self.teacher]), 100 * draw.random())
        elif what == 7:
            self.made.folder(draw.choice(self.sets)).record.unlink(missing_ok=True)
        else:
            record.write_bytes(draw.choice([b"{", record.read_bytes() if record.exists() else b"[]"]))

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


def test_what_many_rows_rest_on_takes_a_whole_read(large: Large) -> None:
    """A teacher, a set, a full training; and a run whose rows were not kept."""
    run, layout = large.made.run, large.made.layout
    assert renewal.renewed(run, layout, large.look().rows) is not None
    large.record(large.teacher, 60.0)
    assert renewal.renewed(run, layout, large.look().rows) is None
    run.rows.unlink()
    assert renewal.renewed(run, layout, large.look().rows) is None


@pytest.mark.parametrize("data", [b"", b"\x90", b"not msgpack"])
def test_kept_rows_that_are_none_are_made_again(large: Large, tmp_path: Path, data: bytes) -> None:
    """Torn, or of other code."""
    large.made.run.rows.write_bytes(data)
    assert kept_rows.load(large.made.run) is None
    gather(large, tmp_path / "out")
    assert kept_rows.load(large.made.run) is not None
