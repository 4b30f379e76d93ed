"""A made run as papers have them: random, coresets and methods at two sizes under two protocols, with all its flaws."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any, Literal, NamedTuple

import msgspec
import numpy as np
from made_runs import DATASET, MadeRun, made_study

from condhpc.energy import Energy, Grade
from condhpc.paper import blocks, costs, metric_pages
from condhpc.paper.costs import SetCosts
from condhpc.paper.judgement import Judged, judge
from condhpc.paper.metric_pages import Sets
from condhpc.planned import Label
from condhpc.sets_table import Kinds
from condhpc.spec import CondenseSpec
from condhpc.study import Study

IMAGES = 400
LEVEL_PCT = {"random": 40.0, "herding": 46.0, "kcenter": 38.0, "rded": 47.0, "sre2l": 33.0, "minimax": 52.0}
KIND: dict[str, Literal["coreset", "method"]] = {"rded": "method", "sre2l": "method", "minimax": "method"}
SET_SEEDS: dict[str, tuple[int | None, ...]] = {"random": (0, 1, 2, 3), "herding": (None,), "kcenter": (None,)}
GPU_S = {"random": 0.0, "herding": 40.0, "kcenter": 70.0, "rded": 400.0, "sre2l": 9000.0, "minimax": 30000.0}
GPU = "NVIDIA H200"


def bits(share: float, draw: np.random.Generator, hardness_N: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
    """Which images a student of that accuracy gets right: easy ones more often."""
    return (hardness_N + 0.5 * draw.standard_normal(len(hardness_N))) < np.quantile(hardness_N, share)


def evaluation(right_N: np.ndarray[Any, Any]) -> dict[str, Any]:
    """Values of a record."""
    return {
        "top1_pct": 100.0 * float(right_N.mean()),
        "test_count": len(right_N),
        "correct_bits": base64.b64encode(np.packbits(right_N).tobytes()).decode("ascii"),
        "steps": 5,
        "batch": 10,
        "resolution": 8,
        "train_count": 10,
        "label_bytes": 0,
    }


class MadePaper:
    """Plans and records a small grid; `without` names condensers to leave out."""

    def __init__(
        self,
        root: Path,
        without: frozenset[str] = frozenset(),
        student_seeds: tuple[int, ...] = (0, 1, 2),
        sets: int | None = None,
    ) -> None:
        self.made = MadeRun(root)
        self.draw = np.random.default_rng(7)
        self.hardness_N = self.draw.standard_normal(IMAGES)
        self.student_seeds = student_seeds
        self.count = sets
        self.condensers = [name for name in LEVEL_PCT if name not in without]
        self.teacher = self.made.teacher()
        self.judge = self.made.teacher("judge", seed=5)
        self.embedding = self.made.embed(self.judge, "judge")
        self.own_embedding = self.made.embed(self.teacher)
        self.sets: dict[tuple[str, int, int | None], str] = {}
        self.evaluations: dict[tuple[str, int, str, int | None, int], str] = {}

    def fill(self) -> MadePaper:
        """Plan and record everything but the holes."""
        for ipc in (1, 10):
            for name in self.condensers:
                for seed in SET_SEEDS.get(name, (0, 1, 2))[: self.count]:
                    self._set(name, ipc, seed)
        references = [self.made.reference("full_schedule", None, "erm", seed) for seed in self.student_seeds]
        self.made.write()
        for key in (self.teacher, self.judge, self.embedding, self.own_embedding):
            self._record(key, {"source": "trained"}, gpu_s=600.0)
        for key in references:
            self._record(key, evaluation(bits(0.9, self.draw, self.hardness_N)), gpu_s=3600.0)
        for (name, ipc, seed), key in self.sets.items():
            values = {"count": 10 * ipc, "set_bytes": 1920 * ipc, "soft_label_bytes": 0}
            told = {"pretrained_on": "ImageNet-1K"} if name == "minimax" else {}
            self._record(key, {**values, **told}, GPU_S[name] * ipc, grade="D" if (name, seed) == ("rded", 1) else "A")
        for (name, ipc, protocol, _, student), key in self.evaluations.items():
            if not self._is_hole(name, ipc, protocol, student):
                self._evaluated(name, ipc, protocol, student, key)
        return self

    def _set(self, name: str, ipc: int, seed: int | None) -> None:
        spec = CondenseSpec(
            dataset=DATASET, kind=KIND.get(name, "coreset"), condenser=name, params={}, ipc=ipc, seed=seed,
            resolution=8, precision="fp32",
        )  # fmt: skip
        label = Label(dataset="digits", condenser=name, ipc=ipc, set_seed=seed)
        inputs = {"teacher": self.teacher} if KIND.get(name) else {}
        key = self.made.add("condense", spec, label, inputs)
        self.sets[name, ipc, seed] = key
        for protocol in ("erm", "single_teacher"):
            teacher = {"single.0": self.teacher} if protocol == "single_teacher" else {}
            for student in self.student_seeds:
                found = self.made.evaluate(key, student, protocol, teacher)
                self.evaluations[name, ipc, protocol, seed, student] = found
        judge, embedding = (self.teacher, self.own_embedding) if name == "sre2l" else (self.judge, self.embedding)
        measure = self.made.analyze(key, "coverage", {"embedding": embedding, "encoder": judge})
        covers = {"random": 0.2, "herding": 0.3, "kcenter": 0.35}.get(name, 0.15) * (1 + ipc / 20)
        value = covers + 0.01 * float(self.draw.standard_normal())
        self.made.record(measure, {"value": value, "unit": "share", "better": "higher", "reference": 0.2})

    def _is_hole(self, name: str, ipc: int, protocol: str, student: int) -> bool:
        """Nothing of kcenter at ipc 10 under a teacher, and not all of sre2l at ipc 1."""
        if (name, ipc, protocol) == ("kcenter", 10, "single_teacher"):
            return True
        return (name, ipc, protocol, student) == ("sre2l", 1, "erm", 2)

    def _evaluated(self, name: str, ipc: int, protocol: str, student: int, key: str) -> None:
        level = LEVEL_PCT[name] + 1.2 * ipc + (8.0 if protocol == "single_teacher" else 0.0)
        level += (14.0 if name == "sre2l" and protocol == "single_teacher" else 0.0) + self.draw.standard_normal()
        other = name == "rded" and ipc == 1 and student == 2
        environment = {"gpu": "NVIDIA L4" if other else GPU, "code": "2" * 32 if other else "1" * 32}
        self._record(key, evaluation(bits(level / 100, self.draw, self.hardness_N)), 60.0, **environment)

    def _record(self, key: str, values: dict[str, Any], gpu_s: float, grade: Grade = "A", **environment: Any) -> None:
        wall_s = gpu_s or 5.0
        told = {"device": "cuda" if gpu_s else "cpu", "host": "n1", "code": "1" * 32, "run": self.made.run.name}
        if gpu_s:
            told["gpu"] = GPU
        used = (Energy("gpu", 500.0 * gpu_s, grade, "counter", gpu_s),) if gpu_s else ()
        used += (Energy("cpu", 20.0 * wall_s, "C", "modelled", wall_s),)
        cost = {"wall_s": wall_s, "gpu_s": gpu_s, "cpu_s": 2 * wall_s}
        self.made.record(key, values, cost=cost, environment={**told, **environment}, energy=used)

    def rewrite(self, key: str, environment: dict[str, Any] | None = None, **values: Any) -> None:
        """Replace values of a record, or what it says of its environment."""
        path = self.made.folder(key).record
        record = msgspec.json.decode(path.read_bytes())
        record["values"] |= values
        record["environment"] |= environment or {}
        path.write_bytes(msgspec.json.encode(record))


class Written(NamedTuple):
    """A made paper as it was written."""

    paper: MadePaper
    study: Study
    folder: Path
    """Its `paper` folder."""
    paths: list[Path]


class Said(NamedTuple):
    """What pages are made of."""

    study: Study
    judged: list[Judged]
    costs: list[SetCosts]
    sets: list[Sets]


def said(paper: MadePaper) -> Said:
    """From the records as they are now."""
    study = made_study(paper.made)
    kinds = Kinds(study)
    judged = [judge(block) for block in blocks.blocks(study, kinds)]
    return Said(study, judged, costs.of_study(study, kinds), metric_pages.of_study(study, kinds))
