"""A run of 100,000 recorded students, with as large records as real ones, for benchmarks of what reads them all."""

from __future__ import annotations

import base64
import random
from pathlib import Path
from typing import Any

import msgspec

from condhpc import facts, keys, manifest, plan, runs
from condhpc.charges import Charge
from condhpc.layout import Layout, RunFolder
from condhpc.planned import Planned
from condhpc.profile import Profile
from condhpc.runs import Intent, PlanLine, Reply

TEST_IMAGES = 10_000
CORESETS = frozenset({"random", "herding", "kcenter"})
PACK = 20
"""Tasks per element."""


class Made:
    """The root, and the plan's lines as written."""

    def __init__(self, root: Path, text: str) -> None:
        """Write plan, submissions, hints and records of this manifest; takes half a minute."""
        root.mkdir(parents=True, exist_ok=True)
        self.layout = Layout(root)
        self.run: RunFolder = self.layout.run("large-20260101T000000Z")
        self.run.done.mkdir(parents=True)
        self.run.manifest.write_text(text)
        self._random = random.Random(0)
        self._spans: list[tuple[float, float]] = []
        self._bits = [self._random_bits() for _ in range(64)]
        self._environment = {
            "condhpc": "0.1.0", "code": "c" * 32, "plugin_code": "", "python": "3.11.7", "device": "cuda", "threads": 8,
            "ranks": 1, "lanes": 1, "run": self.run.name, "restarts": 0, "torch": "2.15.0", "torchvision": "0.29.2",
            "cpu_capability": "AVX2", "cuda": "13.0", "cudnn": 91400, "gpu": "NVIDIA H100 80GB HBM3",
        }  # fmt: skip
        loaded = manifest.load(self.run.manifest)
        tasks = plan.expand(loaded, facts.gather(loaded, Profile(name="bench", backend="local"))).tasks
        self.lines = [_line(item) for item in tasks]
        runs.write_plan(self.run, self.lines)
        for item in tasks:
            if item.task.stage != "evaluate":
                folder = self.layout.task(item.task.stage, item.key)
                folder.path.mkdir(parents=True)
                folder.task.write_bytes(keys.preimage(item.task))
        self._submit()
        self._charge()

    def record(self, line: PlanLine, place: int, started_s: float) -> float:
        """Write one record with made-up figures; when its attempt ended."""
        folder = self.layout.task(line.stage, line.key)
        folder.path.mkdir(parents=True, exist_ok=True)
        wall_s = round(self._random.uniform(20.0, 900.0), 3)
        energy = [
            ("gpu", 300.0, "A", "NVML energy counter, 1 GPU"),
            ("cpu", 90.0, "B", "RAPL package, share of CPU time"),
        ]
        job = f"{700 + place // 1000}_{place % 1000}"
        record = {
            "schema": 1, "key": line.key, "stage": line.stage, "attempt": 1, "artefacts": {},
            "values": self._values(line),
            "cost": {
                "wall_s": wall_s, "cpu_s": round(wall_s * 1.7, 3), "gpu_s": wall_s, "peak_rss_bytes": 2.1e9,
                "read_bytes": 1.2e8, "written_bytes": 4.0e5, "gpu_util_pct": 88.25, "peak_gpu_bytes": 9.7e9,
            },
            "energy": [
                {"part": part, "joules": round(watts * wall_s, 1), "grade": grade, "source": source, "window_s": wall_s}
                for part, watts, grade, source in energy
            ],
            "environment": {**self._environment, "host": f"n{place % 64:03}", "job": job},
            "attempts": [], "started": started_s, "ended": started_s + wall_s,
        }  # fmt: skip
        folder.record.write_bytes(msgspec.json.encode(record))
        return started_s + wall_s

    def _values(self, line: PlanLine) -> dict[str, Any]:
        draw = self._random
        if line.stage == "evaluate":
            return {
                "top1_pct": draw.randrange(TEST_IMAGES) * 100 / TEST_IMAGES, "test_count": TEST_IMAGES,
                "test_loss": draw.random(), "correct_bits": draw.choice(self._bits), "loss_last": draw.random(),
                "steps": 5000, "batch": 50, "train_count": 10 * (line.label.ipc or 1), "resolution": 32,
                "label_bytes": 0, "train_top1_pct": 100 * draw.random(),
            }  # fmt: skip
        if line.stage == "analyze":
            per_class = [draw.random() for _ in range(10)]
            return {
                "value": sum(per_class) / 10, "per_class": per_class, "pooled": draw.random(), "reference": 0.5,
                "low": 0.1, "high": 0.9, "interval_over": "real points", "reason": "", "unit": "share",
                "better": "higher", "encoder": "teacher:judge",
            }  # fmt: skip
        if line.stage == "condense":
            count = 10 * (line.label.ipc or 1)
            return {"count": count, "set_bytes": count * 3072, "soft_label_bytes": 0}
        return {"source": "trained", "test_top1_pct": 90.0}

    def _random_bits(self) -> str:
        return base64.b64encode(self._random.randbytes(TEST_IMAGES // 8)).decode()

    def _submit(self) -> None:
        packs = [self.lines[i : i + PACK] for i in range(0, len(self.lines), PACK)]
        for first in range(0, len(packs), 1000):
            held = packs[first : first + 1000]
            name, job = f"large-{first // 1000}", str(700 + first // 1000)
            elements = tuple(tuple(line.key for line in pack) for pack in held)
            runs.append(self.run, Intent(name=name, backend="slurm", elements=elements, gpus=1, time=1.76e9))
            runs.append(self.run, Reply(name=name, job=job, time=1.76e9))
            for index, pack in enumerate(held):
                said = ({"key": line.key, "result": "recorded", "time": 1.76e9} for line in pack)
                data = b"".join(msgspec.json.encode(one) + b"\n" for one in said)
                (self.run.done / f"{name}.{index}.jsonl").write_bytes(data)
                start_s = end_s = 1.76e9 + (first + index) * 30_000.0
                for line in pack:
                    end_s = self.record(line, first + index, end_s)
                self._spans.append((start_s, end_s))

    def _charge(self) -> None:
        """One line of accounting per element, as long as its tasks took."""
        lines = []
        for first in range(0, len(self._spans), 1000):
            name, job = f"large-{first // 1000}", 700 + first // 1000
            for index, (start, end) in enumerate(self._spans[first : first + 1000]):
                charge = Charge(
                    element=f"{job}_{index}", raw_id=f"{job}{index:04}", restart=0, submission=name, state="COMPLETED",
                    submit_s=int(start) - 60, eligible_s=int(start) - 30, start_s=int(start), end_s=int(end) + 1,
                    elapsed_s=int(end) + 1 - int(start), suspended_s=0, cpus=8, mem_mb=32_000, nodes=1, gpus=1,
                    gpu_type="h100", energy_j=None, source="sacct",
                )  # fmt: skip
                lines.append(msgspec.json.encode({"schema": 1, "taken_s": 1, "charge": charge}) + b"\n")
        self.run.accounting.write_bytes(b"".join(lines))


def _line(item: Planned) -> PlanLine:
    return PlanLine(key=item.key, stage=item.task.stage, inputs=item.task.inputs, label=item.label)
