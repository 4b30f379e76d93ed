"""The folder of a development cluster: its lock, its ports, and the files that its daemons read."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import shutil
import socket
import string
import time
from collections.abc import Iterator
from pathlib import Path

from daemons import DAEMONS, EXIT_NOT_UP, NODES, Cluster, ClusterError, runtime_folder

HERE = Path(__file__).resolve().parent
PORT_BLOCKS = range(20_000, 30_000, 10)  # below Linux' ephemeral ports, so that a stopped daemon gets its own again


@contextlib.contextmanager
def lock(folder: Path) -> Iterator[None]:
    """Make the folder, and let one up, down, start or stop work in it at a time."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ".gitignore").write_text("*\n")
    with (folder / "lock").open("w") as handle:
        deadline = time.monotonic() + 120
        while True:
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise ClusterError(f"another cluster command has held {folder}/lock for 120 s") from None
                time.sleep(0.1)
        yield


def load(folder: Path) -> Cluster | None:
    """The cluster of this folder, up or crashed; None before the first `up` and after `down`."""
    try:
        fields = json.loads((folder / "cluster.json").read_text())
        return Cluster(folder, int(fields["base_port"]), int(fields["max_array_size"]))
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        problem = f"{folder}/cluster.json is damaged ({error}); end its daemons and remove the folder"
        raise ClusterError(problem) from error


def require(folder: Path) -> Cluster:
    """The cluster of this folder, or an error that says how to get one."""
    cluster = load(folder)
    if cluster is None:
        raise ClusterError(f"no cluster in {folder}; bring one up with `{HERE / 'cluster'} up`", EXIT_NOT_UP)
    return cluster


def claim(folder: Path, max_array_size: int) -> Cluster:
    """Take a free block of ports; creating the runtime folder decides between two clusters that want the same."""
    for base_port in random.sample(PORT_BLOCKS, len(PORT_BLOCKS)):
        with contextlib.suppress(FileExistsError):
            runtime_folder(base_port).mkdir(mode=0o755)
            if all(port_is_free(base_port + offset) for offset in range(len(DAEMONS))):
                cluster = Cluster(folder, base_port, max_array_size)
                fields = {"base_port": base_port, "max_array_size": max_array_size}
                (folder / "cluster.json").write_text(json.dumps(fields))
                (cluster.run / "owner").write_text(str(folder))
                return cluster
            runtime_folder(base_port).rmdir()
    raise ClusterError(f"no block of {len(DAEMONS)} ports is free between {PORT_BLOCKS.start} and {PORT_BLOCKS.stop}")


def port_is_free(port: int) -> bool:
    """Whether a daemon could listen there now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("", port))
        except OSError:
            return False
    return True


def write_files(cluster: Cluster) -> None:
    """All that the daemons read, in folders emptied of the cluster that was here before."""
    for name in ("log", "pid"):
        shutil.rmtree(cluster.dir / name, ignore_errors=True)
        (cluster.dir / name).mkdir()
    for name in (
        "db",
        "db-tmp",
        "slurmctld",
        *NODES,
    ):  # the other folder's path may hold a space
        (cluster.run / name).mkdir()
    values = {
        "cluster_name": cluster.name,
        "run": cluster.run,
        "host": socket.gethostname().partition(".")[0],
        "slurmctld_port": cluster.port("slurmctld"),
        "slurmdbd_port": cluster.port("slurmdbd"),
        "first_node_port": cluster.port(NODES[0]),
        "last_node_port": cluster.port(NODES[-1]),
        "max_array_size": cluster.max_array_size,
        "first_job_id": int(time.time()) % 60_000_000 + 1,
    }
    for template in (HERE / "templates").iterdir():
        write_private(cluster.dir / template.name, string.Template(template.read_text()).substitute(values).encode())
        if template.name != "slurmdbd.conf":  # which Slurm wants private; users read the others
            (cluster.dir / template.name).chmod(0o644)
    write_private(cluster.run / "munge.key", os.urandom(128))


def write_private(path: Path, content: bytes) -> None:
    """Write a file that at no moment is readable by others."""
    path.unlink(missing_ok=True)
    path.touch(mode=0o600)
    path.write_bytes(content)


def owns_runtime(cluster: Cluster) -> bool:
    """Whether the runtime folder is still ours: once /tmp was emptied, another cluster may have claimed it."""
    owner = cluster.run / "owner"
    return owner.is_file() and owner.read_text() == str(cluster.dir)
