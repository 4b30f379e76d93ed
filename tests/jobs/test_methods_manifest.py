"""All distillation methods as the shipped manifest runs them: one worker, one pack, every task for real."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest
from made_stages import DATASET, INDEX

from condhpc import facts, keys, manifest, payload, plan, registry, store
from condhpc.context import Site
from condhpc.layout import Layout
from condhpc.payload import Header
from condhpc.planned import Plan
from condhpc.profile import Profile

ROOT = Path(__file__).parents[2]
MANIFEST = ROOT / "manifests" / "methods.toml"


SHORTER = (
    ("\nepochs = 3\n", "\nepochs = 2\n"),  # of several teachers
    ("\nepochs = 10\n", "\nepochs = 6\n"),  # of the single one
    ("batch = 32\n", "batch = 128\n"),  # of minimax's tuning
    ("steps = 10\nguidance", "steps = 4\nguidance"),  # of minimax's sampling
    ("steps = 10\nstop = 5 ", "steps = 4\nstop = 2 "),  # of mgd3's
    ("steps = 200 ", "steps = 50 "),  # of the generator
    ("width = 96\n", "width = 48\n"),
)
"""Sets from the generator are near chance after either: what counts is that they are made, and that students learn."""


@pytest.fixture
def planned(tmp_path: Path) -> Plan:
    """The manifest's tasks, shorter ones, with a smaller generator."""
    text = MANIFEST.read_text()
    for published, shorter in SHORTER:
        assert published in text
        text = text.replace(published, shorter)
    path = tmp_path / MANIFEST.name
    path.write_text(text)
    return expanded(path)


def expanded(path: Path) -> Plan:
    """What a manifest plans."""
    loaded = manifest.load(path)
    return plan.expand(loaded, facts.gather(loaded, Profile(name="here", backend="local")))


def run_as_one_pack(root: Path, found: Plan) -> None:
    """All tasks in one element, as an array's worker runs them; its log is shown where it fails."""
    layout = Layout(root)
    layout.index(DATASET.index).parent.mkdir(parents=True)
    layout.index(DATASET.index).write_bytes(keys.encode(INDEX))
    header = Header(name="p", time_min=0, site=Site(root=str(root), run="r", device="cpu", patience_s=0.0))
    path = layout.run("r").payloads / "p.jsonl"
    payload.write(path, header, [[keys.preimage(item.task) for item in found.tasks]]).join()
    env = {**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'jobs'}", "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "condhpc.worker", str(path), "--element", "0"]
    done = subprocess.run(words, env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_all_methods_in_one_worker(tmp_path: Path, planned: Plan) -> None:
    """Every method leaves a set that a student learns from; making the sets takes under half a minute of one core."""
    methods = set(registry.names("methods"))
    assert methods == {"rded", "sre2l", "cda", "edc", "delt", "minimax", "mgd3"}
    assert methods < {cell.condenser for cell in planned.cells}
    run_as_one_pack(tmp_path, planned)
    records = {}
    for item in planned.tasks:
        record = store.read_record(Layout(tmp_path).task(item.task.stage, item.key))
        assert record is not None
        records[item.key] = record
    condensed = [i.key for i in planned.tasks if i.task.stage == "condense" and i.label.condenser in methods]
    assert sum(records[key].cost["cpu_s"] for key in condensed) < 30.0
    top1_pct = {cell.condenser: records[cell.evaluations[0][-1]].values["top1_pct"] for cell in planned.cells}
    assert {name: top1_pct[name] for name in ("sre2l", "cda", "edc", "delt", "rded") if top1_pct[name] < 25.0} == {}


def test_no_parameter_is_left_open() -> None:
    """Settled parameters are those of keys: planning twice names the same tasks, and no parameter is left open."""
    planned, again = expanded(MANIFEST), expanded(MANIFEST)
    assert [item.key for item in again.tasks] == [item.key for item in planned.tasks]
    specs = [msgspec.to_builtins(item.task.spec) for item in planned.tasks if item.task.stage == "condense"]
    assert all(value is not None for spec in specs for value in spec["params"].values())
