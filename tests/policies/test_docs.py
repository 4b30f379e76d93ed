"""Documents against the code: what they name exists, what exists is named, and their examples run."""

from __future__ import annotations

import importlib
import itertools
import pkgutil
import re
import shlex
from collections import defaultdict
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, get_args

import click
import msgspec
import pytest
import tomli

from condhpc import (
    cells_tables,
    cli,
    cli_session,
    collect,
    errors,
    facts,
    failures_table,
    findings,
    manifest,
    measures,
    models,
    outlook,
    plan,
    planned,
    profile,
    recipe,
    registry,
    results_table,
    sets_table,
    teachers,
)
from condhpc.attempts_table import ATTEMPTS, WASTE
from condhpc.cost_table import COST
from condhpc.paper.accuracy import ACCURACY
from condhpc.paper.costs import PAPER_COST
from condhpc.paper.metric_pages import PAPER_METRICS
from condhpc.plan import Plan
from condhpc.profile import Footprint, Profile
from condhpc.registry import KINDS, Kind
from condhpc.resources import StageBlock, StageResources, StewardBlock
from condhpc.spec import WeightsSpec
from condhpc.tui import start

ROOT = Path(__file__).parents[2]
DOCS = ("README.md", "CONTRIBUTING.md", "CHANGELOG.md", "manifests/README.md", "slurm/README.md")
BUILD_FILES = ("Makefile", "pyproject.toml", "constraints.txt", ".ci/run", "slurm/dev/install", "slurm/dev/cluster")
FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
HOSTS = {"arxiv.org", "keepachangelog.com", "semver.org"}


# Reading documents


def text(doc: str) -> str:
    """A document as it stands."""
    return (ROOT / doc).read_text(encoding="utf-8")


def prose(doc: str) -> str:
    """A document without its fenced blocks."""
    return FENCE.sub("", text(doc))


def blocks(doc: str, *languages: str) -> list[str]:
    """Fenced blocks in these languages."""
    return [body for language, body in FENCE.findall(text(doc)) if language in languages]


def section(doc: str, heading: str) -> str:
    """What stands under a heading, up to the next one of any level."""
    parts = re.split(r"^#+ (.*)$", prose(doc), flags=re.MULTILINE)
    found = dict(zip(parts[1::2], parts[2::2], strict=True))
    assert heading in found, f"{doc} has no heading '{heading}', only {list(found)}"
    return found[heading]


def tables(part: str) -> list[list[list[str]]]:
    """Tables of a section: rows of cells, without header and rule."""
    found: list[list[list[str]]] = []
    inside = False
    for line in part.splitlines():
        if not line.startswith("|"):
            inside = False
            continue
        if not inside:
            found.append([])
        inside = True
        found[-1].append([cell.strip() for cell in line.strip().strip("|").split("|")])
    return [rows[2:] for rows in found]


def first_column(rows: list[list[str]]) -> list[str]:
    """Names in the first column, without back-quotes."""
    return [row[0].strip("`") for row in rows]


def slug(heading: str) -> str:
    """The anchor that a heading gets."""
    return re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")


# Commands, targets, links


def options_of(command: click.Command) -> set[str]:
    """Long options of a command, `--help` and `--version` left out."""
    found = {max(p.opts, key=len) for p in command.params if isinstance(p, click.Option)}
    return found - {"--help", "--version"}


def commands_of(group: click.Group, prefix: str = "") -> dict[str, click.Command]:
    """Commands by their words; those of a group inside count, the group itself does not."""
    found: dict[str, click.Command] = {}
    for name, command in group.commands.items():
        inside = isinstance(command, click.Group)
        found |= commands_of(command, f"{prefix}{name} ") if inside else {f"{prefix}{name}": command}
    return found


def test_every_command_and_option_is_in_the_readme() -> None:
    """The table of commands is the command line's: no command and no option is missing or too much."""
    rows = tables(section("README.md", "Commands"))[0]
    words = [re.sub(r"( +\[?[A-Z]+\]?)+$", "", row[0].strip("`")) for row in rows]
    documented = {name: set(re.findall(r"`(--[a-z-]+)", row[2])) for name, row in zip(words, rows, strict=True)}
    assert documented == {name: options_of(command) for name, command in commands_of(cli.main).items()}
    named = set(re.findall(r"`(--[a-z-]+)", section("README.md", "Commands").partition("|")[0]))
    assert named == options_of(cli.main) | {"--help", "--version"}


def command_lines() -> list[str]:
    """Every call of condhpc in a block of shell lines."""
    lines = [line for doc in DOCS for block in blocks(doc, "sh", "console") for line in block.splitlines()]
    return [line.removeprefix("$ ") for line in lines if re.match(r"(\$ )?condhpc ", line)]


@pytest.mark.parametrize("line", command_lines())
def test_command_lines_are_understood(line: str) -> None:
    """Whoever copies a line gets past the parser of the command line."""
    words = shlex.split(line, comments=True)[1:]
    while words[0].startswith("-"):
        assert words[0] in options_of(cli.main)
        words = words[2:]
    name = next(name for name in commands_of(cli.main) if words[: len(name.split())] == name.split())
    commands_of(cli.main)[name].make_context(name, words[len(name.split()) :])


def test_make_targets_exist() -> None:
    """`make something` in a document is a target of the Makefile."""
    targets = set(re.findall(r"^([a-z-]+):", text("Makefile"), re.MULTILINE))
    named = {name for doc in DOCS for name in re.findall(r"(?:`|^|\s)make ([a-z]+(?:-[a-z]+)*)(?=`|\s+#)", text(doc))}
    assert {"demo", "test", "bench"} <= named <= targets


@pytest.mark.parametrize("doc", DOCS)
def test_links_resolve(doc: str) -> None:
    """A relative link leads to a file or folder of the project, an anchor to a heading there."""
    for target in re.findall(r"\]\(([^)\s]+)\)", prose(doc)):
        if "://" in target:
            continue
        name, _, anchor = target.partition("#")
        path = (ROOT / doc).parent / name if name else ROOT / doc
        assert path.exists(), f"{doc}: {target}"
        if anchor:
            headings = re.findall(r"^#+ (.*)$", FENCE.sub("", path.read_text()), re.MULTILINE)
            assert anchor in map(slug, headings), f"{doc}: {target}"


def test_shipped_files_are_named() -> None:
    """Each manifest, each profile and each benchmark is in the page that is about them."""
    for folder, pattern, doc in (
        ("manifests", "*.toml", "manifests/README.md"),
        ("slurm/profiles", "*.toml", "slurm/README.md"),
        ("tests/benchmarks", "bench_*.py", "CHANGELOG.md"),
    ):
        names = [path.name for path in (ROOT / folder).glob(pattern)]
        assert names
        assert [name for name in names if name not in text(doc)] == []


def test_the_version_is_in_the_changelog() -> None:
    """The package's version has a heading of its own, with its numbers."""
    version = tomli.loads(text("pyproject.toml"))["project"]["version"]
    assert re.search(rf"^## {re.escape(version)}\b.*?^### Numbers", text("CHANGELOG.md"), re.MULTILINE | re.DOTALL)


# Names and tables


def test_plugins_in_the_readme_exist() -> None:
    """Every name in the table of what there is can stand in a manifest."""
    rows = dict(tables(section("README.md", "What this version has"))[0])
    assert set(rows) == {*KINDS, "students"}
    for kind, cell in rows.items():
        known = set(models.ARCHS) if kind == "students" else set(registry.names(kind))
        named = set(re.findall(r"`(\w+)`", cell))
        assert named, kind
        assert named <= known, kind


def test_architectures_stand_with_their_smallest_images() -> None:
    """The table has every student once, with the sizes at which the code refuses it."""
    documented: dict[str, tuple[str, str]] = {}
    for names, _network, _small, smallest, with_instance_norm in tables(
        section("manifests/README.md", "Architectures")
    )[0]:
        archs = re.findall(r"`(\w+)`", names)
        sizes = [cell.split(", ") for cell in (smallest, with_instance_norm)]
        columns = [cell if len(cell) == len(archs) else cell * len(archs) for cell in sizes]
        documented |= dict(zip(archs, zip(*columns, strict=True), strict=True))
    unchanged = dict.fromkeys(("alexnet", "vit_tiny"), "no batch norm")
    assert documented == {
        arch: (str(models.minimum_px(arch)), unchanged.get(arch, str(models.minimum_px(arch, "instance"))))
        for arch in models.ARCHS
    }


def layer_tables() -> dict[str, list[str]]:
    """Modules by layer, as CONTRIBUTING has them."""
    headings = re.findall(r"^### ((?:L\d).*)$", prose("CONTRIBUTING.md"), re.MULTILINE)
    return {h.partition(":")[0]: first_column(tables(section("CONTRIBUTING.md", h))[0]) for h in headings}


def test_every_module_is_in_the_table_of_its_layer() -> None:
    """The tables hold every module once, in the layers that import-linter enforces."""
    found = layer_tables()
    named = [name for names in found.values() for name in names]
    packages = importlib.import_module("condhpc").__path__
    assert sorted(named) == sorted({module.name for module in pkgutil.iter_modules(packages)})
    layers = tomli.loads(text("pyproject.toml"))["tool"]["importlinter"]["contracts"][0]["layers"]
    enforced = [set(re.split(r"\s*:\s*", layer)) for layer in layers]
    assert set(found["L3c"]) | set(found["L3m"]) in enforced
    assert set(found["L2"]) in enforced
    assert set(found["L1"]) in enforced
    for layer, one_by_one in (("L4", enforced[:3]), ("L0", enforced[-3:])):
        assert set(found[layer]) == set().union(*one_by_one)


def test_every_stage_module_is_named() -> None:
    """The table of stages holds every module of the package that jobs run."""
    path = [str(ROOT / "jobs" / "condhpc_jobs")]
    named = first_column(tables(section("CONTRIBUTING.md", "Stages"))[0])
    assert sorted(named) == sorted(module.name for module in pkgutil.iter_modules(path))


def test_csv_columns() -> None:
    """Every column of every CSV file is explained, in its order."""
    written = (
        results_table.RESULTS,
        cells_tables.CELLS,
        cells_tables.SCORES,
        sets_table.SETS,
        measures.METRICS,
        measures.METRIC_CELLS,
        failures_table.FAILURES,
    )
    found = [tuple(first_column(rows)) for rows in tables(section("README.md", "The CSV files"))]
    assert found == [tuple(columns) for columns in written]


def test_columns_of_costs() -> None:
    """Every column of the tables of what a run was charged is explained, in its order."""
    found = [tuple(first_column(rows)) for rows in tables(section("slurm/README.md", "What a run was charged"))]
    assert found == [ATTEMPTS, WASTE, COST]


def test_columns_of_papers() -> None:
    """Every column of the paper's CSV files is explained, in its order."""
    found = tables(section("manifests/README.md", "What collect writes for a paper"))[1:]
    assert [tuple(first_column(rows)) for rows in found] == [ACCURACY, PAPER_COST, PAPER_METRICS]


def test_exit_codes() -> None:
    """Every family of errors and every outcome of `status` has its exit code in the table."""
    rows = tables(section("README.md", "Commands"))[1]
    families = [v for v in vars(errors).values() if isinstance(v, type) and issubclass(v, errors.CondhpcError)]
    after = set(map(int, re.findall(r"\b7\d\b", section("README.md", "Commands"))))
    known = {family.exit_code for family in families} | set(cli_session.EXIT_OF_STATE.values()) | {cli._INTERRUPTED}
    assert set(map(int, first_column(rows))) | after == known


def test_steps() -> None:
    """The table of training lengths is what the recipe gives."""
    rows = tables(section("README.md", "What the numbers mean"))[0]
    protocol = registry.load("protocols", "erm")
    for name, passes, *cells in rows:
        info = registry.load("datasets", name.strip("`")).INFO
        runs = [recipe.student_training(info, ipc, protocol, None, "fp32") for ipc in (1, 10, 50)]
        assert [passes, *cells] == [f"{info.epochs:,}", *(f"{run.steps:,} × {run.batch}" for run in runs)]
    assert len(rows) == 5


DOCUMENT = (
    findings.Snapshot, findings.Row, outlook.Outlook, outlook.Pace, outlook.SlurmCalls, outlook.Costs, outlook.CostLine,
    outlook.BudgetLine, outlook.FailureGroup, outlook.CellResult, outlook.SeedResult,
)  # fmt: skip
"""What `status --json` prints, in the order of the tables about it."""


def test_status_as_json() -> None:
    """Every field of every struct of the document is explained, in its order, and says whether it can be null."""
    found = tables(section("README.md", "Status as JSON"))
    for struct, rows in zip(DOCUMENT, found, strict=True):
        fields = msgspec.structs.fields(struct)
        assert first_column(rows) == [f.encode_name for f in fields], struct.__name__
        nullable = [f.name for f in fields if type(None) in get_args(f.type)]
        assert [row[0].strip("`") for row in rows if "null" in row[1]] == nullable, struct.__name__
    label = next(row[2] for row in found[1] if row[0] == "`label`")
    assert re.findall(r"`(\w+)`", label) == [f.name for f in msgspec.structs.fields(planned.Label)]


def test_all_structs_of_the_outlook_are_documented() -> None:
    """A struct that is added to the document needs a table."""
    structs = {
        value for value in vars(outlook).values() if isinstance(value, type) and issubclass(value, msgspec.Struct)
    }
    assert structs <= set(DOCUMENT)


FIELDS: dict[tuple[str, str, int], type[msgspec.Struct]] = {
    ("slurm/README.md", "Profiles", 0): Profile,
    ("slurm/README.md", "Profiles", 1): StageBlock,
    ("slurm/README.md", "Profiles", 2): StewardBlock,
    ("slurm/README.md", "Profiles", 3): Footprint,
    ("manifests/README.md", "Axes: `[[grid]]`", 0): manifest.Grid,
    ("manifests/README.md", "Leaving cells out: `[[exclude]]`", 0): manifest.Exclude,
    ("manifests/README.md", "Teachers: `[teachers.<role>]`", 0): teachers.Teacher,
    ("manifests/README.md", "Encoders: `[encoders.<name>]`", 0): manifest.Encoder,
    ("manifests/README.md", "Your own images: `[datasets.<name>]`", 0): manifest.OwnDataset,
    ("manifests/README.md", "Training length: `[training.<dataset>]`", 0): manifest.TrainingOverride,
    ("manifests/README.md", "Where labels come from: `[labels]`", 0): manifest.LabelChoice,
    ("manifests/README.md", "Teachers: `[teachers.<role>]`", 1): WeightsSpec,
    ("manifests/README.md", "Sets made elsewhere: `[external.<name>]`", 0): manifest.External,
    ("manifests/README.md", "Top level", 0): manifest._File,
}


@pytest.mark.parametrize("place", FIELDS, ids=lambda place: FIELDS[place].__name__)
def test_fields(place: tuple[str, str, int]) -> None:
    """The tables of fields name each field once, say which are required, and give the defaults that hold."""
    doc, heading, number = place
    struct = FIELDS[place]
    rows = tables(section(doc, heading))[number]
    fields = {f.name: f for f in msgspec.structs.fields(struct)}
    assert first_column(rows) == list(fields)
    in_force = {f.name: f for f in msgspec.structs.fields(StageResources if struct is StageBlock else struct)}
    for name, default, *_ in ([cell.strip("`") for cell in row] for row in rows):
        assert (default == "required") == fields[name].required, name
        if default and default != "required":
            factory = in_force[name].default_factory
            held = factory() if factory is not msgspec.NODEFAULT else in_force[name].default
            assert tomli.loads(f"x = {default}")["x"] == msgspec.json.decode(msgspec.json.encode(held)), name


def test_environment_variables_are_documented() -> None:
    """Whatever variable of ours the code, the scripts or the tests look at is explained somewhere."""
    scripts = [ROOT / "Makefile", ROOT / ".ci" / "run", *(ROOT / "slurm" / "dev").glob("*")]
    modules = [path for folder in ("condhpc", "jobs", "tests") for path in (ROOT / folder).rglob("*.py")]
    sources = "\n".join(path.read_text() for path in [*scripts, *modules] if path.is_file())
    used = set(re.findall(r"\bCONDHPC_[A-Z0-9_]*[A-Z0-9]", sources))
    documented = {name for doc in DOCS for name in re.findall(r"\bCONDHPC_[A-Z0-9_]+", text(doc))}
    assert {"CONDHPC_ROOT", "CONDHPC_PROFILE"} <= used
    assert used <= documented


@pytest.mark.parametrize("doc", DOCS)
def test_no_path_of_a_particular_machine(doc: str) -> None:
    """Absolute paths in documents are made up: they begin with /shared."""
    found = re.findall(r"(?<![\w.~$}>)\]/*-])/(\w[\w.-]*)", re.sub(r"\w+://\S+", "", text(doc)))
    assert set(found) <= {"shared"}


@pytest.mark.parametrize("name", [*DOCS, *BUILD_FILES])
def test_no_address_but_of_references(name: str) -> None:
    """No package index and no host is prescribed: which one is used is a site's own business."""
    assert set(re.findall(r"https?://([^/\s)\"'`]+)", text(name))) <= HOSTS
    assert not re.search(r"index-url|trusted-host|find-links", text(name))


@pytest.mark.parametrize("folder", ["condhpc", "jobs", "manifests", "slurm", "tests"])
def test_code_names_no_address(folder: str) -> None:
    """Nor does any module, manifest or profile."""
    files = [path for end in ("py", "toml") for path in (ROOT / folder).rglob(f"*.{end}")]
    assert files
    found = {path.name: re.findall(r"https?://[a-z][^/\s)\"'`]+", path.read_text(encoding="utf-8")) for path in files}
    assert {name: hosts for name, hosts in found.items() if hosts} == {}


# Examples


def documented_plugins() -> dict[tuple[Kind, str], str]:
    """Code of CONTRIBUTING's plug-ins: a block's first line is the file it stands for."""
    found: dict[tuple[Kind, str], str] = {}
    for code in blocks("CONTRIBUTING.md", "python"):
        path = re.match(r"# condhpc/(\w+)/(\w+)\.py\n", code)
        if path is not None:
            found[path[1], path[2]] = code  # type: ignore[index]
    return found


EXAMPLES = documented_plugins()


def forget() -> None:
    """Make the registry look again."""
    for cached in (registry.names, registry.load, registry.code_digest, registry._entry_points):
        cached.cache_clear()


def install_examples(folder: Path) -> None:
    """Write the examples as another project's installed package, which names them by entry points."""
    package, metadata = folder / "documented", folder / "documented-1.dist-info"
    package.mkdir()
    metadata.mkdir()
    (package / "__init__.py").write_text("")
    points: dict[str, list[str]] = defaultdict(list)
    for (kind, name), code in EXAMPLES.items():
        (package / f"{name}.py").write_text(code, encoding="utf-8")
        points[kind].append(f"{name} = documented.{name}")
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: documented\nVersion: 1\n")
    groups = (f"[condhpc.{kind}]\n" + "\n".join(lines) for kind, lines in points.items())
    (metadata / "entry_points.txt").write_text("\n".join(groups) + "\n")


@pytest.fixture(scope="module")
def examples(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """All examples of CONTRIBUTING in place."""
    folder = tmp_path_factory.mktemp("site")
    install_examples(folder)
    student = next(code for code in blocks("CONTRIBUTING.md", "python") if code.startswith("# condhpc/models.py"))
    namespace = dict(vars(models))
    exec(student, namespace)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(folder))
        patch.setenv("PYTHONPATH", str(folder))
        patch.setitem(models.ARCHS, "mlp2", namespace["_mlp2"])
        forget()
        yield
    forget()


def calls(check: Callable[..., None], name: str) -> Iterator[dict[str, Any]]:
    """Arguments of a parametrised contract test, with one plug-in's name in the place of all."""
    marks = [mark for mark in getattr(check, "pytestmark", []) if mark.name == "parametrize"]
    axes = {mark.args[0]: [name] if mark.args[0] == "name" else mark.args[1] for mark in marks}
    assert "name" in axes
    for values in itertools.product(*axes.values()):
        yield dict(zip(axes, values, strict=True))


def contract_tests(module: ModuleType) -> list[Callable[..., None]]:
    """What a kind of plug-in keeps to; golden output is kept by a plug-in's own project."""
    return [check for name, check in vars(module).items() if name.startswith("test_") and name != "test_golden"]


def test_an_example_of_each_kind() -> None:
    """CONTRIBUTING shows one plug-in of every kind."""
    assert sorted(kind for kind, _ in EXAMPLES) == sorted(KINDS)


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize(("kind", "name"), [example for example in EXAMPLES if example[0] != "protocols"])
def test_an_example_keeps_the_contract(kind: Kind, name: str) -> None:
    """A plug-in that is copied from CONTRIBUTING passes the contract tests of its kind."""
    checks = contract_tests(importlib.import_module(f"test_{kind}"))
    assert len(checks) > 1
    for check in checks:
        for arguments in calls(check, name):
            check(**arguments)


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize(("kind", "name"), EXAMPLES)
def test_an_example_can_be_checked_on_a_login_node(kind: Kind, name: str) -> None:
    """It imports without torch and numpy, and its parameters are described."""
    imports = importlib.import_module("test_imports")
    assert imports.load_each([(kind, name)]) == {(kind, name): imports.CLEAN}
    if kind in {"coresets", "methods", "metrics"}:
        imports.test_parameters_have_defaults_and_descriptions(kind, name)


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize("condenser", ["typical", "group_means"])
def test_the_examples_run(condenser: str, tmp_path: Path) -> None:
    """Condense, evaluate with the example's student and protocol, and measure, through the real stages."""
    made = importlib.import_module("made_stages")
    lab = made.Lab(tmp_path)
    embedding = lab.key(made.embed())
    plugin = registry.load(registry.condenser_kind(condenser), condenser)
    chosen = lab.key(made.condense(condenser, dict.fromkeys(plugin.needs(plugin.Params()), embedding)))
    student = lab.record(made.evaluate("erm_smooth", {"set": chosen}, student="mlp2"))
    assert 20.0 < student.values["top1_pct"] <= 100.0
    inputs = {"set": chosen, "embedding": embedding}
    measured = lab.record(made.analyze("reach", inputs, encoder="pixels"))
    assert measured.values["value"] > 0.0


# TOML


def toml_blocks() -> list[tuple[str, str]]:
    """(document, block)."""
    return [(doc, block) for doc in DOCS for block in blocks(doc, "toml")]


@pytest.mark.usefixtures("examples")
@pytest.mark.parametrize(("doc", "block"), toml_blocks())
def test_toml_blocks_are_understood(doc: str, block: str, tmp_path: Path) -> None:
    """A block is a whole manifest that can be planned, a whole profile, keys of `watch`, or a package's metadata."""
    content = tomli.loads(block)
    path = tmp_path / "block.toml"
    path.write_text(block, encoding="utf-8")
    if "project" in content:
        assert {f"condhpc.{kind}" for kind in KINDS} >= set(content["project"]["entry-points"])
    elif "backend" in content:
        assert profile.load(path, {"HOME": "/home"}).backend == content["backend"]
    elif "keys" in content:
        (tmp_path / "condhpc").mkdir()
        (tmp_path / "condhpc" / "watch.toml").write_text(block, encoding="utf-8")
        assert start.own({"XDG_CONFIG_HOME": str(tmp_path)}).keys == content["keys"]
    else:
        assert expand(path).tasks


def expand(path: Path) -> Plan:
    """The plan of a manifest on a machine without image folders."""
    loaded = manifest.load(path)
    return plan.expand(loaded, facts.gather(loaded, Profile(backend="local")))


def test_the_number_of_cells_that_the_readme_counts(tmp_path: Path) -> None:
    """The manifest that is explained line by line asks for as many cells as is said."""
    path = tmp_path / "block.toml"
    path.write_text(next(block for block in blocks("README.md", "toml") if "[[exclude]]" in block))
    said = re.findall(r"asks for (\d+) cells", text("README.md"))
    assert said == [str(len(expand(path).cells))]


def test_the_table_of_the_demo() -> None:
    """The README shows the cells that the quick manifest has, in the columns that `collect` prints."""
    table = next(block for block in blocks("README.md", "text") if block.startswith("dataset"))
    header, *lines = table.splitlines()
    assert re.split(r"\s{2,}", header) == list(collect.TABLE)
    planned = expand(ROOT / "manifests" / "quick.toml").cells
    cells = [(c.dataset, c.condenser, c.ipc, c.protocol, c.student, len(c.evaluations)) for c in planned]
    shown = [[str(field) for field in cell if field is not None] for cell in cells]
    assert [line.split()[: len(cell)] for line, cell in zip(lines, shown, strict=True)] == shown
