"""A root with one large run that has a plan and nothing else, for benchmarks of what looks at runs."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from condhpc import runs
from condhpc.layout import Layout, RunFolder
from condhpc.runs import PlanLine


class MadePlan:
    """The run on disk; what was sent, recorded or charged of it is the benchmark's."""

    def __init__(self, root: Path, plan: Iterable[PlanLine]) -> None:
        self.layout = Layout(root)
        self.run: RunFolder = self.layout.run("big-20260101T000000Z")
        self.run.path.mkdir(parents=True)
        runs.write_plan(self.run, plan)
