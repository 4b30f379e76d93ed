"""What a stage sees of the world: its task, its inputs, and safe points. No torch, no Slurm in here."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from condhpc import files, keys, registry, sharding, store
from condhpc.energy import Power
from condhpc.errors import LeaseLostError, StageError, Stopped, StoreError
from condhpc.joining import Place
from condhpc.layout import Layout, TaskFolder
from condhpc.lease import Lease, latest_number
from condhpc.spec import Stage, Task
from condhpc.store import Artefact, Recorded

if TYPE_CHECKING:
    from condhpc.profile import Profile

_POWER = ("gpu_tdp_w", "gpu_tdp_source", "cpu_w_per_core", "cpu_w_source", "dram_w_per_gb", "dram_w_source")
"""Figures of power that a profile has under the same names."""
_FIXED_ROLES: dict[str, Stage] = {"set": "condense", "labels": "relabel", "generator": "generator"}


def input_stage(task: Task, role: str) -> Stage:
    """Stage of the task behind an input role: by its name, or what the plug-in's `needs` says, else a teacher."""
    name = role.partition(".")[0]
    if name in _FIXED_ROLES:
        return _FIXED_ROLES[name]
    need = registry.needs_of(task.spec).get(name)
    return need.stage if need is not None else "teacher"


class Site(msgspec.Struct, frozen=True, kw_only=True):
    """Where and how fast, never what: the profile's share of a payload."""

    root: str
    run: str = ""
    """Name of the run that this work belongs to; empty by hand."""
    data: dict[str, str] = {}
    """Dataset name to folder or pack."""
    weights: dict[str, str] = {}
    """External weights name to file."""
    sets: dict[str, str] = {}
    """Name of a condensed set made elsewhere to its file or folder."""
    device: str = "auto"
    """`auto` takes CUDA where the job has it, `cuda` insists, `cpu` avoids it."""
    threads: int = 1
    gpus: int = 0
    """GPUs that the element was given; its share of them is what a task is charged."""
    lanes: int = 1
    """Tasks of the element that run at a time: each is charged an equal share."""
    pulse_s: float = 30.0
    checkpoint_s: float = 300.0
    lease_stale_s: float = 900.0
    compile: str = ""
    """Mode of torch.compile that networks go through; empty: none."""
    patience_s: float = 90.0
    """How long a missing input may be a slow file system's illusion."""
    shards: int = 1
    """Tasks that make parts of a method's set, at most."""
    power: Power = Power()
    """What to model energy from where no counter can be read."""


class Pace(NamedTuple):
    """How far a task is, and since when it has been counting."""

    step: int
    total: int
    values: dict[str, float]
    began_s: float
    """When `first` of these steps were done, by the clock of the attempt."""
    first: int

    def told(self, now_s: float) -> dict[str, float]:
        """What the stage reports, and `eta_s`: seconds that are left at the pace so far, once there is one."""
        if done := self.step - self.first:
            return {"eta_s": (now_s - self.began_s) * (self.total - self.step) / done, **self.values}
        return self.values


class Progress:
    """Latest progress of a task; written by the stage, read by the pulse's thread, which finds all of it or nothing."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self.clock = clock
        self.now = Pace(0, 0, {}, clock(), 0)

    def note(self, step: int, total: int, values: dict[str, float]) -> None:
        """A safe point. The first of an attempt, and of work that counts to another total, begins the clock anew."""
        held = self.now
        anew = total != held.total or step < held.step
        self.now = Pace(step, total, values, *((self.clock(), step) if anew else (held.began_s, held.first)))


def site_of(profile: Profile) -> Site:
    """Paths, device and pace as a profile has them; what an element is given, and its run, are the caller's."""
    return Site(
        root=str(profile.root),
        data={name: str(path) for name, path in profile.data.items()},
        weights={name: str(path) for name, path in profile.weights.items()},
        sets={name: str(path) for name, path in profile.sets.items()},
        device=profile.device,
        threads=profile.threads,
        pulse_s=profile.pulse_s,
        checkpoint_s=profile.checkpoint_s,
        lease_stale_s=profile.lease_stale_s,
        compile=profile.compile,
        patience_s=profile.patience_s,
        shards=profile.stage("condense").shards,
        power=power_of(profile),
    )


def power_of(profile: Profile) -> Power:
    """What a site says of its hardware's power."""
    return Power(**{name: getattr(profile.energy, name) for name in _POWER})


class Context:
    """One attempt at one task."""

    def __init__(self, task: Task, key: str, site: Site, lease: Lease, stop: threading.Event) -> None:
        self.task = task
        self.spec: Any = task.spec
        self.key = key
        self.site = site
        self.layout = Layout(Path(site.root))
        self.device = "cpu"
        """Set by the runner before the stage starts."""
        self.threads = site.threads
        self.progress = Progress()
        self.lost = threading.Event()
        """Set by the pulse when another attempt took over."""
        self.published: dict[str, Artefact] = {}
        self.lease = lease
        """Held by the runner; a stage has no business with it."""
        self.stop = stop
        """Set where the attempt shall end at the next safe point; of several ranks, once all agreed."""
        self.asked = stop
        """Set by signals; the same as `stop` where one process does it all."""
        self.place = Place()
        """Which of the ranks that share the task this is."""
        self.ranks_cpu_s = 0.0
        """CPU seconds of the other ranks, which the runner's meter does not see."""
        self.shards = sharding.shards_of(task, site.shards)
        """Tasks that made parts of what this one makes."""
        self._next_checkpoint = time.monotonic() + site.checkpoint_s

    @property
    def folder(self) -> TaskFolder:
        """The task's folder."""
        return self.lease.folder

    @property
    def attempt(self) -> int:
        """Number of this attempt, from 1."""
        return self.lease.number

    def share(self, place: Place) -> None:
        """Make this the context of one of several ranks: they agree before a stop is obeyed."""
        self.place = place
        self.stop = threading.Event()

    def roles(self, prefix: str) -> list[str]:
        """Input roles called `prefix` or `prefix.<i>`, in the order of i."""
        numbered = [r for r in self.task.inputs if r.startswith(f"{prefix}.") and r[len(prefix) + 1 :].isdigit()]
        numbered.sort(key=lambda role: int(role.rpartition(".")[2]))
        return ([prefix] if prefix in self.task.inputs else []) + numbered

    def record(self, role: str) -> Recorded:
        """The record of an input; raises InputMissingError where it has none."""
        key = self.task.inputs.get(role)
        if key is None:
            raise StageError(f"task {self.key} has no input '{role}', only {sorted(self.task.inputs)}")
        return self.recorded(input_stage(self.task, role), key)

    def recorded(self, stage: Stage, key: str) -> Recorded:
        """Another task with its record; raises InputMissingError where it has none."""
        return store.require_recorded(self.layout, stage, key, self.site.patience_s, self.asked)

    def require_inputs(self) -> None:
        """Raise InputMissingError unless every input, and every shard, is recorded."""
        for role in self.task.inputs:
            self.record(role)
        for shard in self.shards:
            self.recorded(shard.stage, keys.key(shard))

    def input(self, role: str, artefact: str) -> Path:
        """Path of an input's artefact, its SHA-256 just verified; raises CorruptArtefactError."""
        found = self.record(role)
        return store.verified(TaskFolder(found.folder), found.record, artefact)

    def index_bytes(self, digest: str) -> bytes | None:
        """The dataset index of that digest as kept under the root, or None."""
        try:
            return self.layout.index(digest).read_bytes()
        except FileNotFoundError:
            return None

    def data_folder(self, name: str) -> Path | None:
        """Folder or pack of a dataset as the profile maps it; None for data that ships in a package."""
        folder = self.site.data.get(name)
        return Path(folder) if folder is not None else None

    def set_path(self, name: str) -> Path:
        """File or folder of a condensed set made elsewhere; raises StageError where the profile does not name it."""
        path = self.site.sets.get(name)
        if path is None:
            raise StageError(f"set '{name}': the profile has no path for it; add `{name} = \"…\"` under [sets]")
        return Path(path)

    def weights_file(self, name: str) -> Path:
        """File of external weights; raises StageError where the profile does not name it."""
        path = self.site.weights.get(name)
        if path is None:
            raise StageError(
                f"weights '{name}': the profile has no path for them; add `{name} = \"…\"` under [weights]"
            )
        return Path(path)

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """Safe point: note progress, checkpoint when due, end here when asked to.

        Raises Stopped after saving, LeaseLostError when another attempt took over.
        """
        self.progress.note(step, total, values)
        if self.lost.is_set():
            raise LeaseLostError(f"attempt {self.attempt} of {self.key} was taken over by another")
        stopping = self.stop.is_set()
        if save is not None and (stopping or time.monotonic() >= self._next_checkpoint):
            self._save_checkpoint(save)
        if stopping:
            raise Stopped(f"stopped at step {step} of {total}")

    def _save_checkpoint(self, save: Callable[[Path], None]) -> None:
        with files.under_construction(self.folder.checkpoint(self.attempt)) as temp:
            save(temp)
        self._next_checkpoint = time.monotonic() + self.site.checkpoint_s

    def checkpoint(self) -> Path | None:
        """The newest checkpoint of any attempt, or None."""
        for attempt in range(latest_number(self.folder), 0, -1):
            path = self.folder.checkpoint(attempt)
            if path.exists():
                return path
        return None

    def artefact(self, name: str, suffix: str, write: Callable[[Path], None]) -> None:
        """Publish `<name>.<attempt>.<suffix>`; the record will vouch for its size and SHA-256."""
        if name in self.published:
            raise StoreError(f"artefact '{name}' of {self.key} was published twice by one attempt")
        path = self.folder.artefact(name, self.attempt, suffix)
        with files.under_construction(path) as temp:
            write(temp)
            held = Artefact(path.name, temp.stat().st_size, keys.sha256_file(temp))
        self.published[name] = held


class FollowerContext(Context):
    """One rank's share of an attempt that rank 0 leads: it reads, computes, and writes nothing."""

    def tick(self, step: int, total: int, save: Callable[[Path], None] | None = None, **values: float) -> None:
        """End where all ranks agreed to stop; progress and checkpoints are rank 0's."""
        del save, values
        if self.stop.is_set():
            raise Stopped(f"stopped at step {step} of {total}")

    def checkpoint(self) -> Path | None:
        """None: rank 0 hands on what it reads."""
        return None

    def artefact(self, name: str, suffix: str, write: Callable[[Path], None]) -> None:
        """Publish nothing."""
