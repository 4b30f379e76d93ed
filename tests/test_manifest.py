"""The manifest's grammar: what is understood, and how everything that is not is reported at once."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import fake_plugins
import pytest
from fake_plugins import MANIFEST

from condhpc import manifest
from condhpc.errors import ProblemsError
from condhpc.manifest import Manifest
from condhpc.registry import Plugin
from condhpc.spec import Need


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins.install(monkeypatch)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """Where the test's manifest lies."""
    return tmp_path / "m.toml"


def read(path: Path, text: str) -> Manifest:
    """Write and load."""
    path.write_text(text, encoding="utf-8")
    return manifest.load(path)


def problems(path: Path, text: str) -> list[str]:
    """Problems of a manifest, without the file's name, which each must begin with."""
    with pytest.raises(ProblemsError) as caught:
        read(path, text)
    assert caught.value.exit_code == 2
    assert all(p.startswith(f"{path}: ") for p in caught.value.problems)
    return [p.removeprefix(f"{path}: ") for p in caught.value.problems]


def edited(old: str, new: str) -> str:
    """The correct manifest with one passage replaced."""
    assert MANIFEST.count(old) == 1
    return MANIFEST.replace(old, new)


def test_top_level_axes_are_one_block_with_documented_defaults(path: Path) -> None:
    """What a manifest leaves out has one meaning."""
    found = read(path, MANIFEST)
    assert (found.name, found.precision, len(found.grids)) == ("tiny", "fp32", 1)
    assert found.text == MANIFEST
    grid = found.grids[0]
    assert grid.condensers == ("dice", "nearest", "distil")
    assert (grid.ipc, grid.set_seeds, grid.student_seeds) == ((1, 10), None, (0, 1))
    assert manifest.Grid(datasets=("a",), condensers=("b",), ipc=(1,), protocols=("c",)).students == ("resnet18",)
    single = found.teachers["single"]
    assert (single.batch, single.optimizer, single.lr, single.weight_decay) == (128, "sgd", 0.1, 5e-4)
    assert (single.members, single.committee) == ((("small", 0, None),), False)


def test_blocks_excludes_params_training_and_own_datasets(path: Path) -> None:
    """Every kind of table in one manifest."""
    text = """
name = "all"
precision = "bf16"
[[grid]]
datasets = ["mine"]
condensers = ["nearest"]
ipc = [1]
protocols = ["many"]
students = ["small"]
[[grid]]
datasets = ["shipped"]
condensers = ["dice"]
ipc = [1, 2]
protocols = ["hard"]
students = ["wide"]
set_seeds = [3]
[[exclude]]
dataset = "shipped"
ipc = 2
[params.nearest]
encoder = "pixels"
[teachers.committee]
arch = ["small", "wide"]
seed = [1, 2]
epochs = 2
[datasets.mine]
loader = "folder"
resolution = 64
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]
mirror = false
crop_scale_min = 0.3
epochs = 7
classes = ["b", "a"]
[training.mine]
batch = 5
"""
    found = read(path, text)
    assert [g.students for g in found.grids] == [("small",), ("wide",)]
    assert found.exclude[0].ipc == 2
    assert found.params["nearest"].encoder == "pixels"
    assert found.params["nearest"].width == 4
    assert found.teachers["committee"].members == (("small", 1, None), ("wide", 2, None))
    assert found.datasets["mine"].classes == ("b", "a")
    assert (found.training["mine"].batch, found.training["mine"].epochs) == (5, None)
    assert found.precision == "bf16"


def test_all_problems_come_at_once(path: Path) -> None:
    """Shape, names, ranges and meaning in one report."""
    text = MANIFEST.replace('"nearest", "distil"', '"nearst"').replace("[1, 10]", "[0, 1, 101, 1]")
    text = text.replace('"small"]', '"smal"]').replace('metrics = ["spread"]', 'metrics = "spread"\ncolour = 1')
    text = text.replace('arch = "wide"', 'arch = "wide"\nlr = "high"') + "\n[params.nearest]\nwidht = 1\n"
    assert sorted(problems(path, text)) == [
        (
            "colour: unknown key; known: budget, condensers, datasets, encoders, exclude, external, generators, grid, "
            "ipc, labels, metrics, name, params, precision, protocols, set_seeds, student_seeds, students, teachers, "
            "training"
        ),
        "condensers = 'nearst': no such condenser; did you mean 'nearest'?",
        "ipc = 101: the smallest training class of shipped holds 100 images",
        "ipc = 1: stands there more than once, expected distinct values",
        "ipc[0] = 0: expected int >= 1",
        "metrics = 'spread': expected array, got str",
        "params.nearest.widht: unknown key; did you mean 'width'?",
        "students = 'smal': no such student; did you mean 'small'?",
        "teachers.judge.lr = 'high': expected float, got str",
    ]


@pytest.mark.parametrize(
    ("old", "new", "expected"),
    [
        ('name = "tiny"', "", "name: missing, expected str"),
        ('name = "tiny"', 'name = "ti ny"',
         "name = 'ti ny': expected str of letters, digits, '_', '.' and '-', the last two not first"),
        ('name = "tiny"', 'name = "tiny\\n"',
         "name = 'tiny\\n': expected str of letters, digits, '_', '.' and '-', the last two not first"),
        ('name = "tiny"', 'name = ""', "name = '': empty, expected a text"),
        ("ipc = [1, 10]", "ipc = []", "ipc = []: empty, expected at least one value"),
        ("ipc = [1, 10]", "", "ipc: missing, expected array"),
        ("ipc = [1, 10]", "ipc = 1", "ipc = 1: expected array, got int"),
        ("ipc = [1, 10]", "ipc = [1, 2.0]", "ipc[1] = 2.0: expected int, got float"),
        ("ipc = [1, 10]", "ipc = [true]", "ipc[0] = true: expected int, got bool"),
        ("ipc = [1, 10]", f"ipc = [{10**30}]", f"ipc[0] = {10**30}: expected a finite number of at most 64 bits"),
        ("[0, 1]", "[0, 1, 0]", "student_seeds = 0: stands there more than once, expected distinct values"),
        ("[0, 1]", "[-1]", "student_seeds[0] = -1: expected int >= 0"),
        ('"shipped"', '"folder"', ("datasets = 'folder': a loader, not a dataset; describe yours in a "
         "[datasets.<name>] block with loader = 'folder'")),
        ('"shipped"', '"shiped"', "datasets = 'shiped': no such dataset; did you mean 'shipped'?"),
        ('"soft"]', '"sofd"]', "protocols = 'sofd': no such protocol; did you mean 'soft'?"),
        ('["spread"]', '["sprea"]', "metrics = 'sprea': no such metric; did you mean 'spread'?"),
        ('arch = "wide"', 'arch = "wid"', "teachers.judge.arch = 'wid': no such architecture; did you mean 'wide'?"),
        ('arch = "wide"\nepochs = 3', 'arch = "wide"', ("teachers.judge.epochs: missing, expected a number of epochs "
         "(or `weights` trained elsewhere)")),
        ('arch = "wide"\nepochs = 3', 'arch = "wide"\nepochs = 0', "teachers.judge.epochs = 0: expected int >= 1"),
        ('arch = "wide"', 'arch = ["wide"]', ("teachers.judge: is a committee, but metric 'spread' takes one network; "
         "expected one architecture")),
        ("[teachers.judge]", "[teachers.juge]", ("teachers.judge: missing, needed by metric 'spread'; expected a "
         "[teachers.judge] block with arch and epochs; did you mean 'juge'?")),
        ("seed = 5", 'seed = 5\n[params.spread]\nencoder = "encoder:dino"', ("encoders.dino: missing, needed by metric "
         "'spread'; expected a [encoders.dino] block with library, arch and weights")),
        ("seed = 5", f"""seed = 5
[encoders.dino]
library = "torchvision"
arch = "wid"
weights = "w"
sha256 = "{'a' * 64}\"""", "encoders.dino.arch = 'wid': no such architecture; did you mean 'wide'?"),
        ("seed = 5", f"""seed = 5
[encoders.dino]
library = "torchvision"
arch = "wide"
weights = "w"
sha256 = "{'a' * 64}"
resolution = 7""", "encoders.dino.resolution = 7: too small for 'wide', expected at least 8"),
        ("seed = 5", "lr = nan", "teachers.judge.lr = nan: expected a finite number of at most 64 bits"),
        ("seed = 5", "lr = inf", "teachers.judge.lr = inf: expected a finite number of at most 64 bits"),
        ("seed = 5", "seed = [1, 2]", "teachers.judge.seed: 2 values, expected one for each of 1 in `arch`"),
        ("seed = 5", 'weights = {name = "w", sha256 = "zz"}', ("teachers.judge.weights.sha256 = 'zz': expected str "
         "of 64 digits from 0-9 and a-f, as `condhpc data digest` prints")),
        ("seed = 5", f'weights = {{name = "w", sha256 = "{"a" * 64}"}}', ("teachers.judge.epochs: stands beside "
         "`weights`, which are not trained here; keep one of the two")),
        ("seed = 5", "[[exclude]]", "exclude[0]: names no field, expected at least one (it would remove every cell)"),
        ("seed = 5", '[[exclude]]\ndataset = "shipped"',
         "exclude: removes every cell, expected at least one to be left"),
        ("seed = 5", "[params.nearest]\nwidth = 0", "params.nearest.width = 0: expected int >= 1"),
        ("seed = 5", "[params.dice]\nwidth = 1", "params.dice.width: unknown key; there are none to set here"),
        ("seed = 5", "[params.dixe]", "params.dixe: no coreset, method or metric of this name; did you mean 'dice'?"),
        ("seed = 5", "[training.shippd]", "training.shippd: no dataset of this name; did you mean 'shipped'?"),
        ("seed = 5", "[[grid]]", None),
        ("seed = 5", "precision = 1", ("teachers.judge.precision: unknown key; known: arch, batch, epochs, "
         "lr, optimizer, seed, split, weight_decay, weights")),
        ('name = "tiny"', 'name = "tiny"\nprecision = "fp16"', ("precision = 'fp16': expected one of 'fp32', 'bf16'; "
         "did you mean 'bf16'?")),
        ("[0, 1]", "2020-01-01", "student_seeds = datetime.date(2020, 1, 1): expected array, got date"),
    ],
)  # fmt: skip
def test_each_problem(path: Path, old: str, new: str, expected: str | None) -> None:
    """One fault in a correct manifest gives one problem, and says where, what was found and what was expected."""
    found = problems(path, edited(old, new))
    if expected is None:
        assert len(found) > 1
    else:
        assert found == [expected]


def test_axes_beside_blocks_are_refused(path: Path) -> None:
    """Blocks inherit nothing, so an axis outside them would be a silent no-op."""
    block = 'datasets=["shipped"]\ncondensers=["dice"]\nipc=[1]\nprotocols=["hard"]\nstudents=["small"]'
    text = f"{MANIFEST}[[grid]]\n{block}"
    found = problems(path, text)
    assert "ipc: stands beside [[grid]] blocks; move it into each block that needs it" in found


def test_no_axes_at_all(path: Path) -> None:
    """An empty manifest is told what to hold."""
    assert problems(path, 'name = "x"') == [
        "grid: missing, expected [[grid]] blocks or top-level axes (datasets, condensers, ipc, protocols, …)"
    ]


def test_params_of_an_unused_plugin_are_checked(path: Path) -> None:
    """A typing error must not wait until the plug-in is used."""
    text = edited('"nearest", ', "") + '[params.nearest]\nencoder = "tacher:x"\n'
    assert problems(path, text) == [
        "params.nearest.encoder = 'tacher:x': expected str matching regex '^(pixels|(teacher|encoder):.+)$'"
    ]


def test_what_defaults_would_need_is_no_problem_beside_spoilt_parameters(path: Path) -> None:
    """The role that a strategy asks for is not known while its parameters are wrong."""
    text = MANIFEST.replace("[teachers.judge]", "[teachers.referee]")
    text += '[params.spread]\nencodr = "teacher:referee"\n'
    assert problems(path, text) == ["params.spread.encodr: unknown key; did you mean 'encoder'?"]


@pytest.mark.parametrize(
    ("name", "encoder", "expected"),
    [
        ("kcenter", "resnet50", "`teacher:<role>` or `encoder:<name>` (penultimate layer), or `pixels`"),
        ("entropy", "pixels", "`teacher:<role>`, the classifier whose outputs are scored"),
        ("rded_realism", "encoder:net", "`teacher:<role>`, the classifier that is asked"),
    ],
)
def test_an_encoder_that_cannot_serve_is_refused_in_words(
    path: Path, monkeypatch: pytest.MonkeyPatch, name: str, encoder: str, expected: str
) -> None:
    """No regular expressions; strategies and measures that want a classifier say so."""
    monkeypatch.undo()
    text = edited("seed = 5", f'seed = 5\n[params.{name}]\nencoder = "{encoder}"')
    assert f"params.{name}.encoder = '{encoder}': expected {expected}" in problems(path, text)


def test_problems_of_roles_name_all_their_users(path: Path) -> None:
    """A missing teacher says who wants it: protocols, needs of methods, encoders of coresets."""
    found = problems(path, edited("[teachers.single]", "[teachers.other]"))
    assert found == [
        (
            "teachers.single: missing, needed by protocol 'soft', condenser 'nearest', condenser 'distil'; "
            "expected a [teachers.single] block with arch and epochs; known: judge, other"
        )
    ]


def test_two_equal_members_are_no_committee(path: Path) -> None:
    """They would be one network counted twice."""
    text = MANIFEST + '[teachers.committee]\narch = ["small", "small"]\nepochs = 1\n'
    assert problems(path, text) == ["teachers.committee.arch: two members are small with seed 0; give `seed` as a list"]
    assert len(read(path, text + "seed = [0, 1]\n").teachers["committee"].members) == 2


def test_weights_belong_to_one_dataset(path: Path) -> None:
    """Weights trained on one dataset's classes mean nothing on another's."""
    weights = f'weights = {{name = "w", sha256 = "{"a" * 64}"}}'
    text = edited('arch = "wide"\nepochs = 3', f'arch = "wide"\n{weights}').replace('["shipped"]', '["shipped", "big"]')
    assert problems(path, text) == [
        "teachers.judge.weights: one set of weights for several datasets (big, shipped); one manifest each"
    ]


def test_own_datasets_are_checked(path: Path) -> None:
    """A described folder needs every fact that presets know by themselves."""
    text = """
name = "x"
[[grid]]
datasets = ["shipped"]
condensers = ["dice"]
ipc = [1]
protocols = ["hard"]
students = ["small"]
[datasets.shipped]
loader = "foldr"
resolution = 32
mean = [0.1, 0.2]
std = [0.1, 0.2, 0.0]
mirror = 1
crop_scale_min = 0.5
classes = ["a", "a"]
"""
    assert sorted(problems(path, text)) == [
        "datasets.shipped.classes = 'a': stands there more than once, expected distinct names",
        "datasets.shipped.loader = 'foldr': no such loader; did you mean 'folder'?",
        "datasets.shipped.mean = [0.1, 0.2]: expected array of length 3, got 2",
        "datasets.shipped.mirror = 1: expected bool, got int",
        "datasets.shipped.std[2] = 0.0: expected float > 0.0",
        "datasets.shipped: is the name of a built-in dataset; choose another",
    ]


def test_own_datasets_want_blocks(path: Path) -> None:
    """`datasets` cannot be an axis and a table at once."""
    found = problems(path, 'name = "x"\nipc = [1]\n[datasets.mine]\nloader = "folder"\n')
    assert "datasets: is a table of your own datasets here; put the axes into a [[grid]] block" in found


def test_more_than_a_million_tasks_are_refused_before_they_are_built(path: Path) -> None:
    """A thousand seeds on each side of a thousand cells would fill the memory first."""
    seeds = ", ".join(map(str, range(1000)))
    text = edited("[0, 1]", f"[{seeds}]\nset_seeds = [{seeds}]")
    assert problems(path, text) == [
        "asks for up to 8,012,004 tasks, expected at most 1,000,000; split it into several manifests"
    ]


def test_an_excluded_ipc_may_exceed_the_class(path: Path) -> None:
    """Only cells that are left are held against the class sizes."""
    text = edited("[1, 10]", "[1, 101]") + "[[exclude]]\nipc = 101\n"
    assert read(path, text).exclude[0].ipc == 101


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (b'name = "x\n', "not TOML: .*line 1, column 10"),
        (b'a = 1\nname = "\xff"\n', "line 2: byte 0xff is not UTF-8; save it as UTF-8"),
        (b"a = 1\na = 2\n", "not TOML: .*line 2, column 6"),
        (b"a = " + b"[" * 5000, "not TOML that can be read: tables or arrays are nested too deeply"),
    ],
)
def test_files_that_are_not_toml(path: Path, data: bytes, expected: str) -> None:
    """The line is named where there is one."""
    path.write_bytes(data)
    with pytest.raises(ProblemsError, match=f"^1 problem:\n  - {re.escape(str(path))}: {expected}"):
        manifest.load(path)


def test_unreadable_files(tmp_path: Path) -> None:
    """A missing file and a folder are reported, not raised through."""
    with pytest.raises(ProblemsError, match="No such file or directory"):
        manifest.load(tmp_path / "none.toml")
    with pytest.raises(ProblemsError, match="Is a directory"):
        manifest.load(tmp_path)


EXTERNAL = f'[external.made]\nformat = "hdf5"\nsha256 = "{"a" * 64}"\nipc = 10\n'


def test_a_fixed_committee_gets_just_that_one(path: Path) -> None:
    """Other members, or another order, would be another protocol under its name."""
    text = edited('["hard", "soft"]', '["fixed"]') + '[teachers.committee]\narch = ["wide", "small"]\nepochs = 1\n'
    assert problems(path, text) == [
        (
            "teachers.committee.arch = ['wide', 'small']: protocol 'fixed' has a fixed committee, "
            "expected ['small', 'wide'] in this order"
        )
    ]
    assert read(path, text.replace('["wide", "small"]', '["small", "wide"]')).teachers["committee"].committee


class Watcher(Plugin):
    """Looks at the training of the teacher `judge`."""

    def needs(self, params: Any) -> dict[str, Need]:
        """Its dynamics."""
        del params
        return {"proxy": Need(stage="teacher", source="judge", dynamics=True)}


MINE = """
[datasets.mine]
loader = "folder"
resolution = 64
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]
mirror = false
crop_scale_min = 0.3
train_split = "photos"
"""


def test_a_training_that_is_looked_at_took_place_here(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On the very images that are chosen from: weights from elsewhere and another split are refused."""
    monkeypatch.setitem(fake_plugins.PLUGINS["coresets"], "watcher", Watcher())
    text = edited('["dice", "nearest", "distil"]', '["dice", "watcher"]')
    assert "watcher" in read(path, text).grids[0].condensers
    weights = f'weights = {{name = "w", sha256 = "{"a" * 64}"}}'
    assert problems(path, text.replace("epochs = 3\nseed = 5", f"{weights}\nseed = 5")) == [
        "teachers.judge.weights: trained elsewhere, and condenser 'watcher' looks at the training; expected `epochs`"
    ]
    assert problems(path, text.replace("seed = 5", 'seed = 5\nsplit = "test"')) == [
        (
            "teachers.judge.split = 'test': condenser 'watcher' looks at its training to choose from shipped, "
            "expected that split, 'train'"
        )
    ]
    own = text.replace('datasets = ["shipped"]', "").replace(
        'name = "tiny"', 'name = "tiny"\n[[grid]]\ndatasets = ["mine"]'
    )
    assert problems(path, own + MINE) == [
        (
            "teachers.judge.split = 'train': condenser 'watcher' looks at its training to choose from mine, "
            "expected that split, 'photos'"
        )
    ]
    assert read(path, own.replace("seed = 5", 'seed = 5\nsplit = "photos"') + MINE).datasets["mine"]


def test_external_sets_stand_on_the_axis_of_condensers(path: Path) -> None:
    """A block describes one; its ipc is its own, its name is new, and it is used."""
    used = edited('["dice", "nearest", "distil"]', '["dice", "made"]').replace("[1, 10]", "[10]")
    found = read(path, used + EXTERNAL + 'gpu_h = 1.5\nsource = "their page"\n')
    assert (found.external["made"].format, found.external["made"].gpu_h) == ("hdf5", 1.5)
    assert problems(path, used.replace("[10]", "[5, 10]") + EXTERNAL) == [
        (
            "external.made.ipc = 10: cells ask for ipc 5 of it; give it a [[grid]] block of its own, "
            "or [[exclude]] those cells"
        )
    ]
    assert problems(path, MANIFEST + EXTERNAL) == [
        "external.made: stands on no condensers axis, expected 'made' on one; known: dice, distil, nearest"
    ]
    assert "external.dice: is the name of a built-in condenser; choose another" in problems(
        path, MANIFEST + EXTERNAL.replace("made", "dice")
    )
    assert problems(path, used + EXTERNAL.replace("hdf5", "zip").replace("a" * 64, "a")) == [
        "external.made.format = 'zip': expected one of 'folder', 'indices', 'hdf5'; known: folder, hdf5, indices",
        "external.made.sha256 = 'a': expected str of 64 digits from 0-9 and a-f, as `condhpc data digest` prints",
    ]


def test_soft_labels_of_a_set_want_an_external_set(path: Path) -> None:
    """Sets built here have none."""
    text = edited('["dice", "nearest", "distil"]', '["dice", "made"]').replace("[1, 10]", "[10]")
    text = text.replace('["hard", "soft"]', '["given"]') + EXTERNAL
    assert problems(path, text) == [
        (
            "protocols = 'given': learns soft labels that come with a set, and 'dice' has none; "
            "expected [external.x] sets alone"
        )
    ]


def test_labels_may_be_cached(path: Path) -> None:
    """`[labels]` holds for all protocols with teachers; anything else in it is an error."""
    found = read(path, MANIFEST + '[labels]\nsource = "cached"\ntop_k = 3\n').labels
    assert (found.source, found.top_k) == ("cached", 3)
    assert problems(path, MANIFEST + "[labels]\ntop_k = 0\n") == ["labels.top_k = 0: expected int >= 1"]
    assert problems(path, MANIFEST + "[labels]\ntop_k = 3\n") == [
        'labels.top_k = 3: counts for cached labels alone; expected source = "cached"'
    ]


def test_a_teacher_without_an_architecture(path: Path) -> None:
    """A slip in the name of a required key is one, not a crash."""
    found = problems(path, edited('arch = "wide"', 'archs = "wide"'))
    assert "teachers.judge.archs: unknown key; did you mean 'arch'?" in found
    assert "teachers.judge.arch: missing, expected str | array" in found
