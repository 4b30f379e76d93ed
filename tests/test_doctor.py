"""The doctor's checks, on this machine and on made-up trouble."""

from __future__ import annotations

import fcntl
import os
import sys
from pathlib import Path

import msgspec
import pytest
from made_image_files import imagenette2

from condhpc import check_files, doctor, packing, registry
from condhpc.check import Check
from condhpc.check_files import file_system, root_checks
from condhpc.check_slurm import slurm_checks
from condhpc.errors import SchedulerError
from condhpc.layout import Layout
from condhpc.profile import Profile
from condhpc.resources import StageBlock, Stages, StewardBlock
from condhpc.scheduler import Slurm
from condhpc.slurm_limits import Limits, Partition


def by_name(checks: object) -> dict[str, Check]:
    """Checks by what they looked at."""
    return {check.name: check for check in checks}  # type: ignore[attr-defined]


class FakeSlurm(Slurm):
    """A Slurm with these limits, or an error in their place."""

    def __init__(self, limits: Limits | None, *, here: bool = True) -> None:
        super().__init__(env={})
        self._limits = limits
        self._here = here

    def available(self) -> bool:
        """As made."""
        return self._here

    def limits(self, user: str | None = None, partitions: object = None) -> Limits:
        """As made."""
        del user, partitions
        if self._limits is None:
            raise SchedulerError("slurmctld does not answer")
        return self._limits


def limits(**fields: object) -> Limits:
    """A cluster with one CPU and one GPU partition."""
    partitions = (
        Partition("cpu", is_default=True, is_up=True, max_time_min=60, nodes=2, gres={}),
        Partition("gpu", is_default=False, is_up=True, max_time_min=None, nodes=2, gres={"gpu:h100": 4}),
    )
    given = {
        "slurm_version": "22.05",
        "cluster": "c",
        "max_array_size": 1001,
        "max_array_tasks": None,
        "max_job_count": 10_000,
        "min_job_age_s": 300,
        "partitions": partitions,
        "associations": (),
        "qos": (),
        "jobs_queued": 0,
    }
    return Limits(**{**given, **fields})  # type: ignore[arg-type]


def cluster(root: Path, **default: object) -> Profile:
    """A Slurm profile whose stages all ask for this."""
    stages = Stages(default=StageBlock(**default))  # type: ignore[arg-type]
    return Profile(name="c", backend="slurm", root=root, stages=stages)


def test_a_sound_folder_passes_every_file_check_and_keeps_nothing(tmp_path: Path) -> None:
    """Promises are tried out in a folder that is gone afterwards."""
    found = by_name(root_checks(tmp_path, shared=False))
    for name in ("root", "exclusive create", "hard link", "atomic rename", "lock", "fsync"):
        assert found[name].verdict == "ok", found[name]
    assert {"space", "inodes"} & found.keys()
    assert list(tmp_path.iterdir()) == []


def test_a_root_that_does_not_exist_yet_is_tried_where_it_will_be(tmp_path: Path) -> None:
    """The nearest folder above it is looked at, and nothing is made."""
    found = by_name(root_checks(tmp_path / "a" / "b", shared=False))
    assert found["root"].verdict == "ok"
    assert str(tmp_path) in found["root"].found
    assert list(tmp_path.iterdir()) == []


def test_locks_that_do_not_exclude_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system mounted without locks lets two submits in: said before it happens."""
    monkeypatch.setattr(fcntl, "flock", lambda *_: None)
    found = by_name(root_checks(tmp_path, shared=False))
    assert found["lock"].verdict == "fail"
    assert "another file system" in found["lock"].advice


def test_links_that_are_refused_are_a_failure(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Some file systems know no hard links: the store cannot live there."""

    def refuse(*_: object, **__: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(os, "link", refuse)
    found = by_name(root_checks(tmp_path, shared=False))
    assert found["hard link"].verdict == "fail"
    assert "not permitted" in found["hard link"].found
    assert found["fsync"].verdict == "ok"


def test_root_on_a_node_of_its_own_is_questioned_for_a_cluster_only() -> None:
    """A local disk as the root of a Slurm profile is worth a warning; the longest mount point decides."""
    mounts = "dev / ext4 rw 0 0\nsrv:/x /shared nfs4 rw 0 0\ntmpfs /shared/fast tmpfs rw 0 0\n"
    assert file_system(Path("/shared/me"), mounts) == "nfs4"
    assert file_system(Path("/shared/fast/me"), mounts) == "tmpfs"
    assert file_system(Path("/sharedness"), mounts) == "ext4"


def test_shared_warning(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Only where nodes must see the folder."""
    monkeypatch.setattr(check_files, "_mounts", lambda: "dev / ext4 rw 0 0\n")
    assert by_name(root_checks(tmp_path, shared=True))["shared"].verdict == "warn"
    assert "shared" not in by_name(root_checks(tmp_path, shared=False))


def test_cluster_that_fits(tmp_path: Path) -> None:
    """Partition, time limit and GPUs of the profile exist: nothing to do."""
    profile = cluster(tmp_path, partition="gpu", gpus=2, gpu_type="h100", time_min=600)
    found = list(slurm_checks(profile, FakeSlurm(limits())))
    assert {check.verdict for check in found} == {"ok"}
    assert "1001" in by_name(found)["arrays"].found


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"partition": "gpus"}, "no partition 'gpus', there are: cpu, gpu"),
        ({"time_min": 61}, "61 is above the 60 min of cpu"),
        ({"gpus": 1}, "nodes of cpu have at most no GPUs"),
        ({"partition": "gpu", "gpus": 5}, "have at most gpu:h100 × 4"),
        ({"partition": "gpu", "gpus": 1, "gpu_type": "a100"}, "1 × gpu:a100 per node"),
        ({"partition": "gpu,cpu", "time_min": 90}, "of cpu"),
    ],
)
def test_what_does_not_fit_is_said_with_what_there_is(tmp_path: Path, asked: dict[str, object], said: str) -> None:
    """Each misfit names the profile's value and the cluster's."""
    found = [c for c in slurm_checks(cluster(tmp_path, **asked), FakeSlurm(limits())) if c.verdict == "fail"]
    assert len(found) == 1
    assert said in found[0].found
    assert found[0].advice


def test_missing_or_silent_slurm_is_one_failure(tmp_path: Path) -> None:
    """Without sbatch, or without an answer, there is nothing more to look at."""
    for slurm in (FakeSlurm(limits(), here=False), FakeSlurm(None)):
        (found,) = slurm_checks(cluster(tmp_path), slurm)
        assert (found.name, found.verdict) == ("slurm", "fail")
        assert found.advice


def test_full_queue_is_a_warning(tmp_path: Path) -> None:
    """At the submit limit nothing new fits, for now."""
    found = by_name(slurm_checks(cluster(tmp_path), FakeSlurm(limits(jobs_queued=10_000))))
    assert found["submit limit"].verdict == "warn"


def test_data_and_weights_that_are_missing_fail(tmp_path: Path) -> None:
    """Each by its dotted key in the profile."""
    (tmp_path / "here").mkdir()
    (tmp_path / "w.pt").write_bytes(b"x")
    profile = Profile(
        name="p",
        backend="local",
        root=tmp_path,
        data={"a": tmp_path / "here", "b": tmp_path / "gone"},
        weights={"w": tmp_path / "w.pt", "v": tmp_path / "v.pt", "folder": tmp_path},
        python="false",
    )
    found = by_name(doctor.examine(profile, None))
    assert [found[n].verdict for n in ("data a", "data b", "weights w", "weights v")] == ["ok", "fail", "ok", "fail"]
    assert (found["weights folder"].verdict, found["weights folder"].found) == ("ok", f"{tmp_path} (folder)")
    assert "data.b" in found["data b"].advice


def test_data_that_is_here_is_listed_on_demand(tmp_path: Path) -> None:
    """Folders and packs alike; what there is to know about a split is a warning."""
    folder = imagenette2(tmp_path / "images")
    plugin = registry.load("datasets", "imagenette")
    index = plugin.index(folder)
    splits = {name: plugin.split(index, folder, name, 16) for name in index.splits}
    packing.pack(index, splits, tmp_path / "images.h5", 1, lambda _done: None)
    data = {"imagenette": tmp_path / "images.h5", "imagenette_fastai": folder, "cifar10": tmp_path / "images.h5"}
    profile = Profile(name="p", backend="local", root=tmp_path, data=data, python="false")
    found = by_name(doctor.examine(profile, None, scan=True))
    assert found["data imagenette"].verdict == "ok"
    assert "10 classes, images: train 30, val 20" in found["data imagenette"].found
    assert found["data imagenette_fastai"].verdict == "warn"
    assert "10 of 20 images in 'val'" in found["data imagenette_fastai"].advice
    assert found["data cifar10"].verdict == "fail"


def test_python_of_the_jobs_is_asked_in_a_process_of_its_own(tmp_path: Path) -> None:
    """Set-up lines run first, packages and versions come back, and torch stays out of this process."""
    before = "torch" in sys.modules
    profile = Profile(
        name="p",
        backend="local",
        root=tmp_path,
        python=sys.executable,
        setup=("export MADE_UP=1", 'test "$MADE_UP" = 1 || exit 9'),
    )
    found = by_name(doctor.examine(profile, None))
    assert found["python"].verdict == "ok"
    assert found["torch"].verdict == "ok"
    assert found["gpu"].found
    assert ("torch" in sys.modules) == before


@pytest.mark.parametrize(
    ("python", "setup", "said"),
    [("/nowhere/python", (), "127"), (sys.executable, ("echo no module >&2; exit 3",), "exit code 3: no module")],
)
def test_python_that_does_not_start_is_a_failure(
    tmp_path: Path, python: str, setup: tuple[str, ...], said: str
) -> None:
    """With the shell's own words and where to correct it."""
    profile = Profile(name="p", backend="local", root=tmp_path, python=python, setup=setup)
    found = by_name(doctor.examine(profile, None))
    assert found["python"].verdict == "fail"
    assert said in found["python"].found
    assert "profile" in found["python"].advice


def test_whether_a_steward_can_be_is_told(tmp_path: Path) -> None:
    """A node that could not submit left word: that is a warning; a profile that does without is none."""
    profile = cluster(tmp_path)
    assert by_name(slurm_checks(profile, FakeSlurm(limits())))["steward"].verdict == "ok"
    Layout(tmp_path).no_steward.write_bytes(b'{"host":"n7","reason":"no sbatch","time":1.0}')
    found = by_name(slurm_checks(profile, FakeSlurm(limits())))["steward"]
    assert (found.verdict, "n7 could not submit: no sbatch" in found.found) == ("warn", True)
    without = msgspec.structs.replace(profile, steward=StewardBlock(enabled=False))
    assert by_name(slurm_checks(without, FakeSlurm(limits())))["steward"].verdict == "ok"
