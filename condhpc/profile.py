"""The profile: where and how fast. Nothing is hashed; device and threads may change rounding, and are recorded."""

from __future__ import annotations

import os
import string
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from condhpc import profile_check
from condhpc.errors import InputError, nearest
from condhpc.resources import RANKED, Count, StageResources, Stages, StewardBlock
from condhpc.spec import Positive, Stage, Value
from condhpc.typed_toml import Name, Reader, read

Seconds = Annotated[float, Meta(gt=0.0)]
Watts = Annotated[float, Meta(gt=0.0)]
BUILT_IN = ("local",)
_MAX_LOCAL_WORKERS = 8


class Footprint(Value, frozen=True, kw_only=True):
    """What turns energy into a footprint, and time into energy where nothing measures it; with sources."""

    pue: Annotated[float, Meta(ge=1.0)] | None = None
    """Power usage effectiveness of the site."""
    pue_source: str | None = None
    carbon_g_per_kwh: Annotated[float, Meta(ge=0.0)] | None = None
    carbon_source: str | None = None
    gpu_tdp_w: dict[Name, Watts] = msgspec.field(default_factory=dict)
    """Part of a GPU's name, as the driver or Slurm has it, to its power limit."""
    gpu_tdp_source: str = ""
    cpu_w_per_core: Watts | None = None
    """Of a busy core, package and all."""
    cpu_w_source: str = ""
    dram_w_per_gb: Watts | None = None
    dram_w_source: str = ""


def _local_workers() -> int:
    """The cores we may use; capped, because each worker holds a copy of torch (about 0.5 GB)."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    return min(cores, _MAX_LOCAL_WORKERS)


class Profile(Value, frozen=True, kw_only=True):
    """A cluster, or this machine."""

    name: Name = ""
    """Default: the file's name without `.toml`."""
    backend: Literal["local", "slurm"]
    root: Path = Path()
    """Folder of the store and of runs, on the shared file system. Empty in a file that leaves it to `resolve`."""
    data: dict[Name, Path] = msgspec.field(default_factory=dict)
    """Dataset name to folder, or to a pack."""
    weights: dict[Name, Path] = msgspec.field(default_factory=dict)
    """External weights name to file; its digest is in the manifest."""
    sets: dict[Name, Path] = msgspec.field(default_factory=dict)
    """Name of a condensed set made elsewhere to its file or folder; its digest is in the manifest."""
    workers: Positive = msgspec.field(default_factory=_local_workers)
    """Processes of the local back-end."""
    device: Literal["auto", "cpu", "cuda"] = "auto"
    """`auto`: CUDA where an element has it; `cuda` insists, so that no GPU job computes on the CPU unnoticed."""
    threads: Positive = 1
    """CPU threads per task of the local back-end; on Slurm the stage's `cpus` decide."""
    setup: tuple[str, ...] = ()
    """Shell lines before Python starts on a node (modules, environment)."""
    launch_prefix: tuple[str, ...] = ()
    """Words before `python`, for example a container's `apptainer exec --nv image.sif`."""
    python: str = msgspec.field(default_factory=lambda: sys.executable)
    """Interpreter on the node; default: the one that submits."""
    stage_in: bool = False
    """Copy inputs to node-local disk first."""
    max_submissions: Positive = 200
    """sbatch calls of one submit, at most; beyond it dependants are grouped."""
    max_array: Positive | None = None
    """Cap on array sizes below the cluster's own MaxArraySize."""
    submit_limit: Positive | None = None
    """Cap on elements that this user has queued at a time."""
    signal_s: Positive = 120
    """How long before the time limit an element is told to checkpoint."""
    requeue: bool = True
    max_requeues: Count = 20
    poll_s: Seconds = 30.0
    compile: Literal["", "default", "reduce-overhead"] = ""
    """Mode of torch.compile that networks in training go through; empty: none. `reduce-overhead` uses CUDA graphs."""
    pulse_s: Seconds = 30.0
    """Heartbeat, progress and meter: one write per running task."""
    checkpoint_s: Seconds = 300.0
    lease_stale_s: Seconds = 900.0
    """A lease whose heartbeat has not changed for this long may be taken over."""
    patience_s: Annotated[float, Meta(ge=0.0)] = 90.0
    """How long a missing input may be a slow file system's illusion."""
    margin_s: Seconds = 60.0
    """No task starts with less time than this left."""
    cancel_grace_s: Seconds = 30.0
    stages: Stages = Stages()
    steward: StewardBlock = StewardBlock()
    energy: Footprint = Footprint()

    def stage(self, stage: Stage) -> StageResources:
        """Resources of a stage: its own block over `[stages.default]` over our defaults."""
        blocks = [msgspec.structs.asdict(getattr(self.stages, name)) for name in ("default", stage)]
        given = {key: value for block in blocks for key, value in block.items() if value is not None}
        if stage in RANKED:
            given.setdefault("ranks_per_node", max(1, given.get("gpus", 0)))
        return StageResources(**{**given, "sbatch": {**blocks[0]["sbatch"], **blocks[1]["sbatch"]}})


def steward_resources(profile: Profile) -> StageResources:
    """One core for some minutes; where it says nothing, partition, account and QOS of `[stages.default]`."""
    own, default = profile.steward, profile.stages.default
    return StageResources(
        partition=own.partition or default.partition,
        account=own.account or default.account,
        qos=own.qos or default.qos,
        mem_gb=own.mem_gb,
        time_min=own.time_min,
    )


def resolve(profile_arg: str | None, root_arg: str | None, environ: Mapping[str, str]) -> Profile:
    """The profile in force: `--profile`, $CONDHPC_PROFILE, the user's file, else built-in `local`.

    Its root: `--root`, $CONDHPC_ROOT, the profile's; local work falls back on the user's data folder
    (not the current one: results are shared by every manifest, and found again from any directory).
    """
    name = profile_arg or environ.get("CONDHPC_PROFILE")
    user_file = user_folder(environ) / "profile.toml"
    if name:
        found = _named(name, environ)
    elif user_file.is_file():
        found = load(user_file, environ)
    else:
        found = Profile(name="local", backend="local")
    if root := root_arg or environ.get("CONDHPC_ROOT"):
        return msgspec.structs.replace(found, root=Path(root).expanduser().absolute())
    if found.root != Path():
        return found
    if found.backend == "slurm":
        raise InputError(
            f"profile '{found.name}': no root; set `root` in it, $CONDHPC_ROOT or --root to a folder that all nodes see"
        )
    return msgspec.structs.replace(found, root=_home(environ, "XDG_DATA_HOME", ".local/share") / "condhpc")


def load(path: Path, environ: Mapping[str, str]) -> Profile:
    """Read a profile; paths may hold `~` and `$NAME`, and are relative to the profile's own folder.

    Raises ProblemsError with every problem: file, dotted key, what was found, what was expected.
    """
    _, tables = read(path)

    def path_of(wanted: type, value: Any) -> Any:
        if wanted is not Path or not isinstance(value, str):
            raise ValueError(f"expected a path as text, got {type(value).__name__}")
        return path.parent.absolute() / _expanded(value, environ)

    reader = Reader(str(path), path_of)
    tables.setdefault("name", path.stem)
    found = reader.struct(tables, Profile, "")
    profile_check.check(reader, found)
    try:
        python = _interpreter(found.python, path.parent, environ)
    except ValueError as error:
        python = ""
        reader.wrong("python", found.python, str(error))
    reader.finish()
    return msgspec.structs.replace(found, python=python)


def encode(profile: Profile) -> bytes:
    """A resolved profile as JSON, for the run's folder."""
    return msgspec.json.encode(profile, enc_hook=_path_text, order="deterministic")


def decode(data: bytes) -> Profile:
    """The profile behind `encode`; raises msgspec.ValidationError."""
    return msgspec.json.decode(data, type=Profile, dec_hook=lambda wanted, value: wanted(value))


def of_run(path: Path) -> Profile:
    """The profile that a run was submitted with, from its folder; raises InputError."""
    try:
        return decode(path.read_bytes())
    except PermissionError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror}); ask its owner for the right to") from error
    except (OSError, ValueError) as error:
        raise InputError(
            f"{path}: not readable ({error}); the submission of this run was interrupted, submit again"
        ) from error


def _path_text(value: Any) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"cannot encode a {type(value).__name__}")


def _named(name: str, environ: Mapping[str, str]) -> Profile:
    if name in BUILT_IN:
        return Profile(name=name, backend="local")
    path = Path(name).expanduser()
    if not path.is_file() and path.suffix != ".toml" and path.name == name:
        raise InputError(f"no profile '{name}'{nearest(name, BUILT_IN)}; give one of these or a path to a .toml file")
    return load(path, environ)


def user_folder(environ: Mapping[str, str]) -> Path:
    """Where this user's own files about condhpc lie."""
    return _home(environ, "XDG_CONFIG_HOME", ".config") / "condhpc"


def _home(environ: Mapping[str, str], variable: str, default: str) -> Path:
    given = environ.get(variable, "")
    return Path(given) if given.startswith("/") else Path(environ.get("HOME") or Path.home()) / default


def _expanded(text: str, environ: Mapping[str, str]) -> Path:
    """`~` and `$NAME` replaced. Raises ValueError for a variable that is not set."""
    if not text:
        raise ValueError("empty, expected a path")
    try:
        found = string.Template(text).substitute(environ)
    except KeyError as error:
        raise ValueError(f"${error.args[0]} is not set in this environment") from error
    except ValueError as error:
        raise ValueError("a '$' that names no variable; write '$$' for the sign itself") from error
    if found == "~" or found.startswith("~/"):
        return Path(environ.get("HOME") or Path.home()) / found[2:]
    return Path(found)


def _interpreter(text: str, folder: Path, environ: Mapping[str, str]) -> str:
    """A bare command stays one (the node's PATH finds it); a path becomes absolute, symbolic links kept."""
    path = _expanded(text, environ)
    return str(folder.absolute() / path) if "/" in text else text
