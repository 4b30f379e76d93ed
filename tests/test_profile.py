"""Profiles: found in a fixed order, decoded strictly, resolved to absolute paths."""

from __future__ import annotations

import sys
from pathlib import Path

import msgspec
import pytest

from condhpc import profile
from condhpc.errors import InputError, ProblemsError
from condhpc.profile import Profile
from condhpc.spec import STAGES

PROFILES = Path(__file__).parents[1] / "slurm" / "profiles"


def load(tmp_path: Path, text: str, **environ: str) -> Profile:
    """Write and load."""
    path = tmp_path / "mine.toml"
    path.write_text(text)
    return profile.load(path, {"HOME": "/home/u", **environ})


def problems(tmp_path: Path, text: str, **environ: str) -> list[str]:
    """Problems without the file's name, which each must begin with."""
    with pytest.raises(ProblemsError) as caught:
        load(tmp_path, text, **environ)
    prefix = f"{tmp_path / 'mine.toml'}: "
    assert all(p.startswith(prefix) for p in caught.value.problems)
    return [p.removeprefix(prefix) for p in caught.value.problems]


def test_selection_order(tmp_path: Path) -> None:
    """--profile, $CONDHPC_PROFILE, the user's file, then built-in `local`."""
    for name in ("given", "env"):
        (tmp_path / f"{name}.toml").write_text('backend = "local"\n')
    user = tmp_path / "config" / "condhpc" / "profile.toml"
    environ = {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(tmp_path / "config")}
    assert profile.resolve(None, None, environ).name == "local"
    user.parent.mkdir(parents=True)
    user.write_text('name = "users"\nbackend = "local"\n')
    assert profile.resolve(None, None, environ).name == "users"
    environ["CONDHPC_PROFILE"] = str(tmp_path / "env.toml")
    assert profile.resolve(None, None, environ).name == "env"
    assert profile.resolve(str(tmp_path / "given.toml"), None, environ).name == "given"
    assert profile.resolve("local", None, environ).name == "local"


def test_root_order(tmp_path: Path) -> None:
    """--root, $CONDHPC_ROOT, the profile, then the user's data folder."""
    path = tmp_path / "p.toml"
    path.write_text('backend = "local"\n')
    environ = {"HOME": "/home/u", "CONDHPC_PROFILE": str(path)}
    assert profile.resolve(None, None, environ).root == Path("/home/u/.local/share/condhpc")
    assert profile.resolve(None, None, {**environ, "XDG_DATA_HOME": "/x"}).root == Path("/x/condhpc")
    path.write_text('backend = "local"\nroot = "store"\n')
    assert profile.resolve(None, None, environ).root == tmp_path / "store"
    environ["CONDHPC_ROOT"] = "/env/root"
    assert profile.resolve(None, None, environ).root == Path("/env/root")
    assert profile.resolve(None, "given", environ).root == Path.cwd() / "given"


def test_empty_variables_count_as_unset() -> None:
    """`export CONDHPC_ROOT=` is how shells forget a variable."""
    environ = {"HOME": "/home/u", "CONDHPC_ROOT": "", "CONDHPC_PROFILE": "", "XDG_DATA_HOME": ""}
    found = profile.resolve(None, None, environ)
    assert (found.name, found.root) == ("local", Path("/home/u/.local/share/condhpc"))


def test_slurm_needs_a_root(tmp_path: Path) -> None:
    """No default can be right: nodes must see it."""
    path = tmp_path / "p.toml"
    path.write_text('backend = "slurm"\n')
    with pytest.raises(InputError, match="no root; set `root`"):
        profile.resolve(str(path), None, {})
    assert profile.resolve(str(path), "/shared", {}).root == Path("/shared")


@pytest.mark.parametrize("name", ["locl", "cluster"])
def test_unknown_names_are_refused(name: str) -> None:
    """A bare word is a built-in profile, not a file that happens to be missing."""
    with pytest.raises(InputError, match=f"no profile '{name}'; .*or a path to a .toml file"):
        profile.resolve(name, None, {})


def test_missing_files_are_refused(tmp_path: Path) -> None:
    """A path that leads nowhere."""
    with pytest.raises(InputError, match="No such file"):
        profile.resolve(str(tmp_path / "gone.toml"), None, {})


def test_paths_are_expanded_and_absolute(tmp_path: Path) -> None:
    """`~`, variables, and paths relative to the profile's own folder."""
    text = 'backend = "slurm"\nroot = "~/c"\npython = "env/bin/python"\n[data]\na = "$SCRATCH/a"\nb = "b"\n'
    found = load(tmp_path, text + '[weights]\nw = "${SCRATCH}/$$w.pt"\n', SCRATCH="/scratch/u")
    assert found.root == Path("/home/u/c")
    assert found.data == {"a": Path("/scratch/u/a"), "b": tmp_path / "b"}
    assert found.weights == {"w": Path("/scratch/u/$w.pt")}
    assert found.python == str(tmp_path / "env/bin/python")


def test_python_defaults_to_this_one_and_may_be_a_bare_command(tmp_path: Path) -> None:
    """A bare command is left to the node's PATH."""
    assert load(tmp_path, 'backend = "local"\n').python == sys.executable
    assert load(tmp_path, 'backend = "local"\npython = "python3"\n').python == "python3"


def test_stage_resources_are_merged_field_by_field(tmp_path: Path) -> None:
    """A stage's block over the default block over our defaults; sbatch options by name."""
    text = """
backend = "slurm"
root = "/r"
[stages.default]
partition = "gpu"
gpus = 1
time_min = 60
sbatch = {constraint = "ib", exclusive = true}
[stages.analyze]
gpus = 0
partition = "cpu"
sbatch = {constraint = "any"}
"""
    found = load(tmp_path, text)
    teacher, analyze = found.stage("teacher"), found.stage("analyze")
    assert (teacher.partition, teacher.gpus, teacher.time_min, teacher.max_running) == ("gpu", 1, 60, 256)
    assert (analyze.partition, analyze.gpus, analyze.time_min, analyze.pack) == ("cpu", 0, 60, 1)
    assert teacher.sbatch == {"constraint": "ib", "exclusive": True}
    assert analyze.sbatch == {"constraint": "any", "exclusive": True}


def test_all_problems_come_at_once(tmp_path: Path) -> None:
    """Keys, types, ranges, variables and cross rules in one report."""
    text = """
backend = "slrum"
root = "$NOWHERE/x"
workers = 0
requeue = "yes"
pulses = 1
lease_stale_s = 40
python = "$NOWHERE/python"
[data]
"my data" = "/x"
a = 3
b = ""
[stages.evalute]
gpus = 1
[stages.teacher]
gpu_type = "a100"
time_min = 3
sbatch = {array = "0-3", "cpus-per-task" = 4, mem = "4G", constraint = 1.5}
[energy]
pue = 0.9
carbon_g_per_kwh = 300
cpu_w_per_core = -4
gpu_tdp_w = {h100 = 700}
"""
    assert sorted(problems(tmp_path, text)) == sorted(
        [
            "backend = 'slrum': expected one of 'local', 'slurm'; did you mean 'slurm'?",
            "root = '$NOWHERE/x': $NOWHERE is not set in this environment",
            "workers = 0: expected int >= 1",
            "requeue = 'yes': expected bool, got str",
            "pulses: unknown key; did you mean 'pulse_s'?",
            "lease_stale_s = 40.0: expected at least three pulses (90 s), or live tasks are taken over",
            "python = '$NOWHERE/python': $NOWHERE is not set in this environment",
            "data.\"my data\" = 'my data': expected str of letters, digits, '_', '.' and '-', the last two not first",
            "data.a = 3: expected a path as text, got int",
            "data.b = '': empty, expected a text",
            "stages.evalute: unknown key; did you mean 'evaluate'?",
            "stages.teacher.gpu_type: is given, but this stage has no `gpus`",
            "stages.teacher.time_min = 3: expected more than signal_s + margin_s = 180 s, or no task would ever start",
            "stages.teacher.sbatch.array: condhpc sets this option itself; remove it",
            "stages.teacher.sbatch.cpus-per-task: has a field of its own; write stages.teacher.cpus",
            "stages.teacher.sbatch.mem: has a field of its own; write stages.teacher.mem_gb",
            "stages.teacher.sbatch.constraint = 1.5: expected bool | int | str, got float",
            "energy.pue = 0.9: expected float >= 1.0",
            "energy.carbon_source: missing, expected where carbon_g_per_kwh is from",
            "energy.cpu_w_per_core = -4: expected float > 0.0",
            "energy.gpu_tdp_source: missing, expected where gpu_tdp_w is from",
        ]
    )


def test_the_backend_is_not_guessed(tmp_path: Path) -> None:
    """A file without it would silently run on the login node."""
    assert problems(tmp_path, "") == ["backend: missing, expected one of 'local', 'slurm'"]


def test_json_round_trip(tmp_path: Path) -> None:
    """A run's copy of its profile is the profile, whatever the environment is by then."""
    found = load(tmp_path, 'backend = "slurm"\nroot = "~/c"\n[data]\na = "x"\n[stages.teacher]\ngpus = 2\n')
    assert profile.decode(profile.encode(found)) == found


def test_workers_follow_the_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """All cores that this process may use, at most eight: each worker holds a torch."""
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(3)), raising=False)
    assert Profile(backend="local").workers == 3
    monkeypatch.setattr("os.sched_getaffinity", lambda _: set(range(64)), raising=False)
    assert Profile(backend="local").workers == 8


def test_the_local_example_says_what_the_built_in_profile_says() -> None:
    """The file is documentation; it must not drift."""
    found = profile.load(PROFILES / "local.toml", {})
    assert msgspec.structs.replace(found, root=Path()) == Profile(name="local", backend="local")


def test_the_slurm_example_is_valid() -> None:
    """As it stands, with HOME set; every stage has a time limit and a throttle."""
    found = profile.load(PROFILES / "example-slurm.toml", {"HOME": "/home/u"})
    assert (found.name, found.backend, found.root) == ("example-slurm", "slurm", Path("/home/u/condhpc"))
    for stage in STAGES:
        resources = found.stage(stage)
        assert resources.time_min is not None
        assert resources.max_running == 64
    assert found.stage("analyze").gpus == 0


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[stages.evaluate]\nnodes = 2", "stages.evaluate.nodes = 2: expected 1: of all stages only teacher and embed"),
        ("[stages.condense]\nranks_per_node = 2", "stages.condense.ranks_per_node = 2: expected 1: of all stages"),
        ("[stages.evaluate]\nconcurrent = 2", "stages.evaluate.concurrent = 2: expected at most `pack` (1)"),
        (
            "[stages.teacher]\nnodes = 2\npack = 2\nconcurrent = 2",
            "stages.teacher.concurrent = 2: expected 1 where 2 ranks share a task",
        ),
    ],
)
def test_what_cannot_be_shared_is_refused(text: str, problem: str, tmp_path: Path) -> None:
    """Ranks share the tasks of two stages, lanes an element with as many tasks."""
    path = tmp_path / "p.toml"
    path.write_text(f'backend = "slurm"\nroot = "r"\n{text}\n')
    with pytest.raises(ProblemsError) as caught:
        profile.load(path, {})
    assert any(found.startswith(f"{path}: {problem}") for found in caught.value.problems), caught.value.problems


def test_ranks_are_one_per_gpu_unless_said_otherwise(tmp_path: Path) -> None:
    """In the stages that can: two nodes of four GPUs are eight ranks of a teacher, and one process of a student."""
    path = tmp_path / "p.toml"
    path.write_text(
        'backend = "slurm"\nroot = "r"\n[stages.default]\ngpus = 4\n[stages.teacher]\nnodes = 2\n'
        "[stages.embed]\nranks_per_node = 1\n"
    )
    found = profile.load(path, {})
    assert (found.stage("teacher").ranks, found.stage("teacher").all_gpus) == (8, 8)
    assert (found.stage("embed").ranks, found.stage("evaluate").ranks) == (1, 1)
