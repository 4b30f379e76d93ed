"""Every path that condhpc writes, and nothing about what is in the files."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from condhpc.spec import Stage


@dataclass(frozen=True)
class TaskFolder:
    """`store/<stage>/<k2>/<key>/`: one task's files."""

    path: Path

    @property
    def task(self) -> Path:
        """The preimage of the key, for people and for comparison on a hit."""
        return self.path / "task.json"

    @property
    def record(self) -> Path:
        """Written last: its presence is the only meaning of "done"."""
        return self.path / "record.json"

    def lease(self, attempt: int) -> Path:
        """Diary of one attempt: owner, pulses, end."""
        return self.path / f"lease.{attempt:04d}"

    def checkpoint(self, attempt: int) -> Path:
        """Newest checkpoint that an attempt left."""
        return self.path / f"checkpoint.{attempt:04d}"

    def artefact(self, name: str, attempt: int, suffix: str) -> Path:
        """An artefact carries its attempt, so that a late loser cannot overwrite the winner's."""
        return self.path / f"{name}.{attempt:04d}.{suffix}"

    def rendezvous(self, attempt: int) -> Path:
        """Where the ranks of an attempt exchange addresses."""
        return self.path / f"rendezvous.{attempt:04d}"

    def failure(self, rank: int, attempt: int) -> Path:
        """Why a rank other than 0 failed an attempt."""
        return self.path / f"rank{rank}.{attempt:04d}"


@dataclass(frozen=True)
class RunFolder:
    """`runs/<name>-<UTC>/`: one submission of one manifest."""

    path: Path

    @property
    def name(self) -> str:
        """Name of the run, unique under its root."""
        return self.path.name

    @property
    def manifest(self) -> Path:
        """The manifest as submitted."""
        return self.path / "manifest.toml"

    @property
    def profile(self) -> Path:
        """The profile as resolved at submission (JSON-compatible TOML is not needed: it is read by us alone)."""
        return self.path / "profile.json"

    @property
    def plan(self) -> Path:
        """One line per planned task."""
        return self.path / "plan.jsonl"

    @property
    def submissions(self) -> Path:
        """One line per intent and per reply of sbatch; append-only."""
        return self.path / "submissions.jsonl"

    @property
    def forecast(self) -> Path:
        """What the tasks that were new at submission were predicted to cost, by stage, condenser and dataset."""
        return self.path / "forecast.json"

    @property
    def accounting(self) -> Path:
        """What Slurm charged, as its accounting said it: sites purge that. Append-only."""
        return self.path / "accounting.jsonl"

    @property
    def accounting_asked(self) -> Path:
        """Its modification time says when the accounting was asked last on behalf of a budget."""
        return self.path / "accounting.asked"

    @property
    def ledger(self) -> Path:
        """What tables need of the run's records, as they were last read; may be deleted."""
        return self.path / "ledger"

    @property
    def rows(self) -> Path:
        """Finished rows of tables, with what the records looked like that they were made of; derived."""
        return self.path / "rows"

    @property
    def payloads(self) -> Path:
        """One payload file per array."""
        return self.path / "payloads"

    @property
    def done(self) -> Path:
        """One file per element: outcomes as they happen. A hint that saves a stat per task."""
        return self.path / "done"

    @property
    def logs(self) -> Path:
        """Standard output and error of elements."""
        return self.path / "logs"

    def calls(self, payload: str, element: int, restarts: int) -> Path:
        """What rank 0 of an element says to its other ranks, in one start of the element."""
        return self.path / "calls" / f"{payload}.{element}.{restarts}.jsonl"

    @property
    def cancel(self) -> Path:
        """Present when a user cancelled the run: workers start nothing more."""
        return self.path / "cancel"

    @property
    def budget(self) -> Path:
        """What the run may be charged, and what is reserved for each submission; append-only, under the root's lock."""
        return self.path / "budget.jsonl"

    @property
    def over_budget(self) -> Path:
        """Present while the budget is used up, with the reason: workers start nothing more."""
        return self.path / "over_budget"

    def steward(self, generation: int) -> Path:
        """Claim of one generation of the steward, created exclusively: no generation is ever submitted twice."""
        return self.path / "steward" / f"{generation:04d}.json"


@dataclass(frozen=True)
class Layout:
    """A root and the paths below it."""

    root: Path

    @property
    def runs(self) -> Path:
        """All runs."""
        return self.root / "runs"

    @property
    def lock(self) -> Path:
        """Held from planning to the last sbatch of a submission."""
        return self.root / "submit.lock"

    @property
    def needed(self) -> Path:
        """Which tasks were sent again with more time or memory; append-only, under the lock."""
        return self.root / "needed.jsonl"

    def task(self, stage: Stage, key: str) -> TaskFolder:
        """Folder of a task; two hex digits of fan-out keep folders small."""
        return TaskFolder(self.root / "store" / stage / key[:2] / key)

    def stage(self, stage: Stage) -> str:
        """Folder of a stage's tasks, as text."""
        return f"{self.root}/store/{stage}"

    def record_text(self, stage: Stage, key: str) -> str:
        """Path of a task's record as text, for who reads a hundred thousand: path objects take longer than the disk."""
        return f"{self.root}/store/{stage}/{key[:2]}/{key}/record.json"

    def shared_budget(self, name: str) -> Path:
        """What all runs of one budget's name may be charged, and which runs these are."""
        return self.root / "budgets" / f"{name}.jsonl"

    @property
    def no_steward(self) -> Path:
        """Why nodes cannot submit, found out by a steward that tried."""
        return self.root / "no-steward.json"

    def index(self, digest: str) -> Path:
        """File list and label map of a dataset, by digest."""
        return self.root / "indexes" / f"{digest}.json"

    def listed(self, digest: str) -> Path:
        """Which index a listing of a folder gave, and what the folder looked like; by digest of what was asked."""
        return self.root / "indexes" / "listed" / f"{digest}.json"

    def cached(self, digest: str) -> Path:
        """An array that can be computed again, by digest of what it is."""
        return self.root / "cache" / f"{digest}.npy"

    def run(self, name: str) -> RunFolder:
        """Folder of a run."""
        return RunFolder(self.runs / name)

    def run_names(self) -> list[str]:
        """Names of all runs, oldest first (a run's name ends in its UTC time)."""
        if not self.runs.is_dir():
            return []
        found = [p.name for p in self.runs.iterdir() if p.is_dir() and not p.name.startswith(".")]
        return sorted(found, key=lambda name: (name.rsplit("-", 1)[-1], name))
