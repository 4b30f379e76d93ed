"""Checks before anything is submitted: profile, file system, cluster, data, Python. Each failure says what to do."""

from __future__ import annotations

import importlib.util
import os
import shlex
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec

from condhpc import registry
from condhpc.check import Check, fail, ok, warn
from condhpc.check_files import root_checks
from condhpc.check_slurm import slurm_checks
from condhpc.errors import CondhpcError
from condhpc.profile import Profile
from condhpc.scheduler import Slurm
from condhpc.spec import STAGES

__all__ = ["Check", "examine"]

_PROBE_TIMEOUT_S = 120.0
_PROBE = """
import importlib, json, platform
def version(name):
    try:
        return str(getattr(importlib.import_module(name), "__version__", "here"))
    except Exception as error:
        return "! " + type(error).__name__ + ": " + str(error)
names = ["condhpc.worker", "condhpc_jobs", "numpy", "h5py", "PIL", "simplejpeg", "torch", "torchvision"]
found = {"python": platform.python_version(), "packages": {name: version(name) for name in names}, "gpus": []}
if not found["packages"]["torch"].startswith("!"):
    import torch
    found["gpus"] = [torch.cuda.get_device_name(i) for i in range(torch.cuda.device_count())]
print("PROBE " + json.dumps(found))
"""


class _Probe(msgspec.Struct, frozen=True):
    """What the interpreter of the jobs has."""

    python: str
    packages: dict[str, str]
    """Version, or `! ` and the error of the import."""
    gpus: list[str]


def examine(profile: Profile, slurm: Slurm | None, *, scan: bool = False) -> Iterator[Check]:
    """All checks, one by one as they are done. `scan` lists the files of every dataset, which takes its time."""
    yield ok("profile", f"'{profile.name}', back-end {profile.backend}")
    yield from root_checks(profile.root, shared=profile.backend == "slurm")
    if slurm is not None:
        yield from slurm_checks(profile, slurm)
    for name, folder in profile.data.items():
        yield _data_check(name, folder, scan=scan)
    for name, path in profile.weights.items():
        yield _weights_check(name, path)
    for name, path in profile.sets.items():
        if path.exists():
            yield ok(f"set {name}", str(path))
        else:
            yield fail(f"set {name}", f"{path}: not here", f"correct sets.{name} in the profile")
    yield from _python_checks(profile)


def _data_check(name: str, folder: Path, *, scan: bool) -> Check:
    advice = f"correct data.{name} in the profile, or fetch the data"
    if not folder.exists():
        return fail(f"data {name}", f"{folder}: no such folder or pack on this machine", advice)
    if not os.access(folder, os.R_OK | (os.X_OK if folder.is_dir() else 0)):
        return fail(f"data {name}", f"{folder}: you may not read it", "ask its owner for read access")
    if not scan or name not in registry.names("datasets"):
        return ok(f"data {name}", str(folder))
    plugin = registry.load("datasets", name)
    try:
        index = plugin.index(folder)
    except CondhpcError as error:
        return fail(f"data {name}", str(error), advice)
    sizes = ", ".join(f"{split} {len(held.labels)}" for split, held in index.splits.items())
    found = f"{folder}: {len(index.class_names)} classes, images: {sizes}"
    if remarks := plugin.remarks(index):
        return warn(f"data {name}", found, "; ".join(remarks))
    return ok(f"data {name}", found)


def _weights_check(name: str, path: Path) -> Check:
    if path.is_dir() and os.access(path, os.R_OK | os.X_OK):
        return ok(f"weights {name}", f"{path} (folder)")
    if path.is_file() and os.access(path, os.R_OK):
        return ok(f"weights {name}", f"{path} ({path.stat().st_size / 2**20:.0f} MiB)")
    return fail(f"weights {name}", f"{path}: no readable file", f"correct weights.{name} in the profile")


def _python_checks(profile: Profile) -> Iterator[Check]:
    """The jobs' interpreter in a process of its own: nothing heavy is imported here."""
    shown = shlex.join([*profile.launch_prefix, profile.python])
    try:
        found = _probe(profile)
    except (OSError, subprocess.SubprocessError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        advice = "correct `python`, `setup` or `launch_prefix` in the profile; try the command by hand"
        yield fail("python", f"{shown}: {_why(error)}", advice)
        return
    yield ok("python", f"{shown} is Python {found.python}")
    for name, version in found.packages.items():
        if version.startswith("!"):
            yield fail(name, version[2:], f"install condhpc for that interpreter: `{shown} -m pip install …`")
        elif not name.startswith("condhpc"):
            yield ok(name, f"version {version}")
    yield _gpu_check(profile, found)


def _probe(profile: Profile) -> _Probe:
    """Ask it with our code on its path, as jobs have it: what it needs of its own are the packages."""
    command = shlex.join([*profile.launch_prefix, profile.python, "-c", _PROBE])
    script = "\n".join([*profile.setup, f"exec {command}"])
    done = subprocess.run(
        ["bash", "-c", script],
        check=True,
        capture_output=True,
        stdin=subprocess.DEVNULL,
        text=True,
        errors="replace",
        env={**os.environ, "PYTHONPATH": os.pathsep.join(_sources()), "PYTHONSAFEPATH": "1"},
        timeout=_PROBE_TIMEOUT_S,
    )
    answer = next((line for line in done.stdout.splitlines() if line.startswith("PROBE ")), "PROBE")
    return msgspec.json.decode(answer.removeprefix("PROBE").strip(), type=_Probe)


def _sources() -> list[str]:
    found = (importlib.util.find_spec(name) for name in ("condhpc", "condhpc_jobs"))
    return [str(Path(spec.origin).parents[1]) for spec in found if spec is not None and spec.origin is not None]


def _why(error: Exception) -> str:
    if isinstance(error, subprocess.CalledProcessError):
        lines = [line for line in (error.stderr or error.stdout or "").splitlines() if line.strip()]
        return f"exit code {error.returncode}: {lines[-1] if lines else 'no message'}"
    if isinstance(error, subprocess.TimeoutExpired):
        return f"no answer within {_PROBE_TIMEOUT_S:g} s"
    return str(error)


def _gpu_check(profile: Profile, found: _Probe) -> Check:
    wanted = max(profile.stage(stage).gpus for stage in STAGES)
    if found.gpus:
        return ok("gpu", ", ".join(found.gpus))
    if profile.backend == "slurm":
        return ok("gpu", "none on this node; the compute nodes' GPUs are Slurm's to give")
    if wanted:
        advice = "install a torch build for your CUDA driver, or set `gpus = 0` in the profile"
        return fail("gpu", f"torch sees none, the profile asks for {wanted}", advice)
    return ok("gpu", "none; tasks run on the CPU")
