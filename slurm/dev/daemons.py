"""Daemons of one development cluster: where they live, how to start them, and how to end only what is ours."""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

NODES = ("n1", "n2", "n3", "n4")
DAEMONS = ("munged", "mariadbd", "slurmdbd", "slurmctld", *NODES)
UNIX_SOCKETS = {"munged": "munge.sock", "mariadbd": "mariadb.sock"}
SYSTEM_PATH = "/usr/local/sbin:/usr/sbin:/sbin:/usr/local/bin:/usr/bin:/bin"
MARK = "CONDHPC_DEV_CLUSTER"
"""Environment variable that every daemon carries, and every slurmstepd inherits; its value is the runtime folder."""
EXIT_FAILED, EXIT_NOT_UP, EXIT_NOT_POSSIBLE = 1, 3, 69


class ClusterError(Exception):
    """What went wrong and what to do about it, with the exit code of its family."""

    def __init__(self, message: str, code: int = EXIT_FAILED) -> None:
        super().__init__(message)
        self.code = code


@dataclass(frozen=True)
class Cluster:
    """One cluster: its folder, its block of ports and the one thing about it that a caller chooses."""

    dir: Path
    base_port: int
    max_array_size: int

    @property
    def name(self) -> str:
        """ClusterName, unique on this host, so that a job's environment tells whose it is."""
        return f"dev{self.base_port}"

    @property
    def run(self) -> Path:
        """Runtime folder for sockets, spools and the database; see `runtime_folder`."""
        return runtime_folder(self.base_port)

    def port(self, name: str) -> int:
        """TCP port of a Slurm daemon (munged and mariadbd listen on unix sockets only)."""
        return self.base_port + DAEMONS.index(name)

    def log(self, name: str) -> Path:
        """What a daemon says."""
        return self.dir / "log" / f"{name}.log"

    def pid_file(self, name: str) -> Path:
        """Identity of the process that was started last under this name."""
        return self.dir / "pid" / name


def runtime_folder(base_port: int) -> Path:
    """Folder whose creation claims the block of ports; in /tmp, as a unix socket's path has at most 107 bytes."""
    return Path(f"/tmp/condhpc-dev-{base_port}")  # noqa: S108 - created exclusively, owned by root


# Processes are known by pid and start time, never by name.


def stat_fields(pid: int) -> list[str]:
    """Fields of /proc/PID/stat from the third (state) on; empty when there is no such process."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def identity(pid: int) -> str:
    """`pid start-ticks boot-id`, which no two processes share; empty for a dead one or a zombie."""
    fields = stat_fields(pid)
    if not fields or fields[0] in "ZX":
        return ""
    return f"{pid} {fields[19]} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"


def live_pid(cluster: Cluster, name: str) -> int | None:
    """Pid of a daemon that this cluster started and that still lives."""
    try:
        recorded = cluster.pid_file(name).read_text()
        pid = int(recorded.split()[0])
    except (OSError, ValueError, IndexError):
        return None
    return pid if identity(pid) == recorded else None


def live_pids(cluster: Cluster, names: Iterable[str]) -> list[int]:
    """Pids of those of the named daemons that live."""
    return [pid for name in names if (pid := live_pid(cluster, name)) is not None]


def end(pids: Iterable[int], *, term_s: float) -> None:
    """Give processes `term_s` seconds to obey TERM (0: do not ask), then KILL; return when all are gone."""
    steps = [(signal.SIGTERM, term_s)] if term_s else []
    waiting = {pid: who for pid in pids if (who := identity(pid))}
    for signal_number, patience_s in (*steps, (signal.SIGKILL, 10.0)):
        for pid, who in waiting.items():
            if identity(pid) == who:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, signal_number)
        deadline = time.monotonic() + patience_s
        while waiting and time.monotonic() < deadline:
            waiting = {pid: who for pid, who in waiting.items() if identity(pid) == who}
            time.sleep(0.01)
    if waiting:
        raise ClusterError(f"processes {sorted(waiting)} survived SIGKILL for 10 s; look at them with ps and try again")


def job_processes(cluster: Cluster) -> list[int]:
    """Every slurmstepd of the cluster and all that runs under them: by inherited environment, parent and session."""
    parent_and_session: dict[int, tuple[int, int]] = {}
    found: set[int] = set()
    excluded = {os.getpid(), *live_pids(cluster, DAEMONS)}
    for pid in (int(entry.name) for entry in Path("/proc").iterdir() if entry.name.isdigit()):
        fields = stat_fields(pid)
        if fields and pid not in excluded:
            parent_and_session[pid] = int(fields[1]), int(fields[3])
            if is_of_a_job(cluster, pid):
                found.add(pid)
    while more := {pid for pid, kin in parent_and_session.items() if pid not in found and found.intersection(kin)}:
        found |= more
    return sorted(pid for pid in found if stat_fields(pid)[:1] not in ([], ["Z"]))


def is_of_a_job(cluster: Cluster, pid: int) -> bool:
    """Whether the environment of a process says that a slurmd of this cluster is behind it."""
    try:
        environ = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return False
    # SLURMD_NODENAME exists on the compute side only: a user's shell under salloc is not ours to end.
    on_node = any(item.startswith(b"SLURMD_NODENAME=") for item in environ)
    in_job = on_node and f"SLURM_CLUSTER_NAME={cluster.name}".encode() in environ
    return in_job or f"{MARK}={cluster.run}".encode() in environ


# Starting: in the foreground, as our children, so that the pid is known without asking the daemon.


def environment(cluster: Cluster) -> dict[str, str]:
    """What daemons and Slurm's commands see, free of the caller's Slurm settings."""
    path = f"{os.environ.get('PATH', '')}:{SYSTEM_PATH}"
    return {"PATH": path, "LC_ALL": "C", "SLURM_CONF": f"{cluster.dir}/slurm.conf"}


def database_options(cluster: Cluster) -> list[str]:
    """Options of a small database that nobody needs after a crash; --no-defaults must come first."""
    quick = ["--innodb-flush-method=nosync", "--innodb-flush-log-at-trx-commit=0", "--innodb-log-file-size=16M"]
    # A server that starts deletes every "#sql*" file of its temporary folder, those of a neighbour included.
    own = [f"--datadir={cluster.run}/db", f"--tmpdir={cluster.run}/db-tmp"]
    return ["--no-defaults", "--user=root", *own, "--innodb-buffer-pool-size=64M", *quick]


def arguments(cluster: Cluster, name: str) -> list[str]:
    """Command line of a daemon."""
    run = cluster.run
    if name == "munged":
        files = [f"--{kind}-file={run}/munge.{kind}" for kind in ("key", "seed", "pid")]
        return ["munged", "--foreground", f"--socket={run}/munge.sock", *files]
    if name == "mariadbd":
        return ["mariadbd", *database_options(cluster), f"--socket={run}/mariadb.sock", "--skip-networking"]
    return ["slurmd", "-D", "-N", name] if name in NODES else [name, "-D"]


def launch(cluster: Cluster, name: str) -> None:
    """Start one daemon in a session of its own, so that it outlives the calling shell, and record who it is."""
    env = environment(cluster) | {MARK: str(cluster.run), "MYSQL_UNIX_PORT": f"{cluster.run}/mariadb.sock"}
    with cluster.log(name).open("ab") as log:
        process = subprocess.Popen(
            arguments(cluster, name),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=env,
            cwd="/",
            start_new_session=True,
        )
    cluster.pid_file(name).write_text(identity(process.pid))


def start(cluster: Cluster, *names: str) -> None:
    """Start those of the daemons that do not live, together, and wait until they take connections."""
    for name in names:
        if live_pid(cluster, name) is None:
            launch(cluster, name)
    for name in names:
        wait_for(cluster, f"{name} takes connections", partial(is_listening, cluster, name), name)


def is_listening(cluster: Cluster, name: str) -> bool:
    """Whether a daemon takes connections."""
    path = UNIX_SOCKETS.get(name)
    with socket.socket(socket.AF_UNIX if path else socket.AF_INET) as probe:
        probe.settimeout(1.0)
        try:
            probe.connect(f"{cluster.run}/{path}" if path else ("127.0.0.1", cluster.port(name)))
        except OSError:
            return False
    return True


def wait_for(cluster: Cluster, what: str, ready: Callable[[], bool], *names: str, timeout_s: float = 30.0) -> None:
    """Poll until ready; after the time-out or the death of a named daemon fail with the tails of their logs."""
    deadline = time.monotonic() + timeout_s
    while not ready():
        dead = [name for name in names if live_pid(cluster, name) is None]
        if not dead and time.monotonic() < deadline:
            time.sleep(0.05)
            continue
        problem = f"{', '.join(dead)} ended" if dead else f"not so after {timeout_s:g} s"
        tails = [f"--- end of {cluster.log(name)}\n{log_tail(cluster, name)}" for name in dead or names]
        raise ClusterError("\n".join([f"waited until {what}: {problem}", *tails]))


def log_tail(cluster: Cluster, name: str) -> str:
    """Last lines of a daemon's log."""
    return "\n".join(cluster.log(name).read_text(errors="replace").splitlines()[-15:])


def ask(cluster: Cluster, *argv: str) -> str:
    """Standard output of one of Slurm's commands, empty when it failed (the caller polls)."""
    try:
        done = subprocess.run(argv, env=environment(cluster), capture_output=True, text=True, timeout=20, check=False)
    except subprocess.TimeoutExpired:
        return ""
    return done.stdout.strip() if done.returncode == 0 else ""
