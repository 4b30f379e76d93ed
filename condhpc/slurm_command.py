"""One Slurm command: its environment, its time-out, and its failure in words."""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import shlex
import signal
import subprocess
from collections.abc import Callable, Mapping, Sequence

from condhpc.errors import SchedulerError
from condhpc.slurm_text import SEP

# Where Slurm is and who we are: an enclosing job does not change these.
_KEPT = frozenset({"SLURM_CONF", "SLURM_CONF_SERVER", "SLURM_CLUSTERS", "SLURM_JWT"})
_JOB_PREFIXES = ("SLURM_", "SLURMD_", "SBATCH_", "SRUN_", "SALLOC_")
_FILTER_PREFIXES = ("SQUEUE_", "SACCT_", "SINFO_", "SCANCEL_", "SCONTROL_", "SACCTMGR_")
_DEVICES = frozenset({"CUDA_VISIBLE_DEVICES", "ROCR_VISIBLE_DEVICES", "GPU_DEVICE_ORDINAL", "ZE_AFFINITY_MASK"})
_NO_CONTROLLER = re.compile(
    # the last is what `scontrol requeue` of 22.05 says when the controller is away
    r"Unable to contact slurm controller|Zero Bytes were transmitted|Socket timed out on send/recv"
    r"|Unexpected message received",
    re.IGNORECASE,
)


class ControllerUnreachable(SchedulerError):  # noqa: N818 - a state of the cluster that passes, not a mistake
    """slurmctld does not answer; jobs go on meanwhile and nothing is known about them."""


class CommandFailedError(SchedulerError):
    """A command ended with a non-zero exit code."""

    def __init__(self, message: str, stderr: str) -> None:
        super().__init__(message)
        self.stderr = stderr


def submission_env(env: Mapping[str, str] | None = None) -> dict[str, str]:
    """A copy of `env` (os.environ) for sbatch, without what an enclosing job or the shell would slip in.

    SBATCH_* outrank the script's own lines, and the profile decides; SLURM_ARRAY_* of an enclosing job
    mislead the new one. What says where Slurm is stays (SLURM_CONF, SLURM_CLUSTERS, SLURM_JWT).
    """
    env = os.environ if env is None else env
    inside = "SLURM_JOB_ID" in env
    return {
        name: value
        for name, value in env.items()
        if name in _KEPT or not (name.startswith(_JOB_PREFIXES) or (inside and name in _DEVICES))
    }


def run_command(
    command: Sequence[str], env: Mapping[str, str], timeout_s: float, text: Callable[[], str] | None = None
) -> str:
    """Its stdout. SchedulerError when it hangs, is missing or fails; the program's own words are in it.

    `text` gives its standard input; it is called when the command has been started, to work beside its start-up.
    """
    return _run_well(command, env, timeout_s, text)[0]


def run_for_talk(command: Sequence[str], env: Mapping[str, str], timeout_s: float) -> str:
    """As `run_command`, but what the command said on stderr."""
    return _run_well(command, env, timeout_s, None)[1]


def _run_well(
    command: Sequence[str], env: Mapping[str, str], timeout_s: float, text: Callable[[], str] | None
) -> tuple[str, str]:
    """Stdout and stderr of a command that succeeded."""
    try:
        code, out, err = _run_group(command, env, timeout_s, text)
    except subprocess.TimeoutExpired as error:
        raise SchedulerError(
            f"{_shown(command)}: no answer within {timeout_s:g} s. The controller or the accounting "
            "is busy; jobs are not affected. Try again in some minutes."
        ) from error
    except OSError as error:
        raise SchedulerError(
            f"{_shown(command)}: cannot run it ({error.strerror}). Expected Slurm's commands on PATH: "
            "work on a login node, load the site's Slurm module, or use the local profile."
        ) from error
    if code == 0:
        return out, err
    tail = "\n".join((err or out).strip().splitlines()[-5:])[-800:]
    found = f"{_shown(command)}: exit code {code}: {tail or 'no message'}."
    if _NO_CONTROLLER.search(err):
        raise ControllerUnreachable(
            f"{found} Jobs go on without the controller; try again later (`scontrol ping` tells when)."
        )
    raise CommandFailedError(f"{found} Run it by hand to see whether Slurm or the request is at fault.", err)


def _run_group(
    command: Sequence[str], env: Mapping[str, str], timeout_s: float, text: Callable[[], str] | None
) -> tuple[int, str, str]:
    """Exit code, stdout, stderr; in a process group of its own, so that a wrapper dies with its child."""
    process = subprocess.Popen(
        command,
        env=env,
        stdin=subprocess.DEVNULL if text is None else subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        encoding="utf-8",
        errors="replace",
        start_new_session=True,
    )
    with process:
        try:
            out, err = process.communicate(None if text is None else text(), timeout=timeout_s)
        except BaseException:
            with contextlib.suppress(ProcessLookupError):  # it ended in the meantime
                os.killpg(process.pid, signal.SIGKILL)
            raise
    return process.returncode, out, err


def query_env(env: Mapping[str, str]) -> dict[str, str]:
    """Variables such as SQUEUE_STATES would filter the answer; these two make it complete and zone-free."""
    kept = {name: value for name, value in env.items() if not name.startswith(_FILTER_PREFIXES)}
    return {**kept, "SLURM_BITSTR_LEN": "0", "SLURM_TIME_FORMAT": "%s"}


def _shown(command: Sequence[str]) -> str:
    text = shlex.join(part.replace(SEP, "|") for part in command)
    return f"`{text if len(text) <= 200 else text[:197] + '...'}`"


def user_name() -> str:
    """Who this user is to Slurm."""
    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:  # a container without this user's passwd entry; Slurm's tools take the number too
        return str(os.getuid())
