"""Plans: every task once, wired to its inputs, and nothing that no cell needs."""

from __future__ import annotations

import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import fake_plugins
import msgspec
import pytest
import tomli
from fake_plugins import MANIFEST, Distil

from condhpc import facts, keys, manifest, plan, recipe
from condhpc.errors import ProblemsError
from condhpc.plan import Label, Plan, Planned
from condhpc.profile import Profile
from condhpc.spec import (
    STAGES,
    AnalyzeSpec,
    CondenseSpec,
    EmbedSpec,
    EvaluateSpec,
    Need,
    RelabelSpec,
    TeacherSpec,
    Value,
)

EXTERNAL = f'[external.made]\nformat = "folder"\nsha256 = "{"a" * 64}"\nipc = 10\n'
CACHED = '[labels]\nsource = "cached"\n'
COMMITTEE = '[teachers.committee]\narch = ["small", "wide"]\nepochs = 1\n'


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_plugins.install(monkeypatch)


def expand(text: str = MANIFEST, profile: Profile | None = None) -> Plan:
    """The plan of a manifest."""
    loaded = manifest.parse(text, tomli.loads(text), "m.toml")
    return plan.expand(loaded, facts.gather(loaded, profile or Profile(name="here", backend="local")))


def edited(old: str, new: str) -> str:
    """The correct manifest with one passage replaced."""
    assert MANIFEST.count(old) == 1
    return MANIFEST.replace(old, new)


def one(found: Plan, **label: object) -> Planned:
    """The only task whose label agrees."""
    (task,) = [t for t in found.tasks if all(getattr(t.label, k) == v for k, v in label.items())]
    return task


def counts(found: Plan) -> dict[str, int]:
    """Tasks by stage."""
    return dict(Counter(t.task.stage for t in found.tasks))


def test_every_stage_has_the_tasks_that_its_axes_and_seeds_say() -> None:
    """3 + 1 + 1 sets × 2 ipc; × 2 protocols × 2 student seeds; one measure of each set."""
    found = expand()
    assert counts(found) == {"teacher": 2, "embed": 2, "condense": 10, "evaluate": 40, "analyze": 10}
    assert (found.name, found.warnings, found.provisional) == ("tiny", (), False)


def test_keys_are_those_of_the_tasks_and_distinct() -> None:
    """The fast path over shared specs gives what `keys.key` gives."""
    found = expand()
    assert all(t.key == keys.key(t.task) for t in found.tasks)
    assert len({t.key for t in found.tasks}) == len(found.tasks)


def test_inputs_stand_before_what_consumes_them_and_are_of_the_right_stage() -> None:
    """A plan can be submitted from top to bottom."""
    stage_of: dict[str, str] = {}
    teachers = dict.fromkeys(("encoder", "observer", "single.0"), "teacher")
    wanted = {"set": "condense", "embedding": "embed", **teachers}
    for item in expand().tasks:
        for role, key in item.task.inputs.items():
            assert stage_of[key] == wanted[role]
        stage_of[item.key] = item.task.stage
    assert list(dict.fromkeys(stage_of.values())) == [
        stage for stage in STAGES if stage not in {"generator", "prepare", "relabel"}
    ]


def test_evaluations_are_wired_to_their_set_and_teachers() -> None:
    """Hard labels need the set alone; soft ones the teachers of the role as well."""
    found = expand()
    set_key = one(found, condenser="dice", ipc=10, set_seed=2, protocol=None, metric=None).key
    teacher = one(found, role="single").key
    where = {"condenser": "dice", "ipc": 10, "set_seed": 2, "student_seed": 1}
    assert one(found, protocol="hard", **where).task.inputs == {"set": set_key}
    soft = one(found, protocol="soft", **where).task
    assert soft.inputs == {"set": set_key, "single.0": teacher}
    assert isinstance(soft.spec, EvaluateSpec)
    assert (soft.spec.seed, soft.spec.student, soft.spec.training.steps, soft.version) == (1, "small", 600, (1, 1))


def test_committees_enter_by_member() -> None:
    """`<role>.<i>` in the manifest's order."""
    found = expand(edited('"soft"]', '"many"]') + COMMITTEE)
    members = [one(found, role=f"committee.{i}") for i in range(2)]
    item = one(found, protocol="many", condenser="nearest", ipc=1, student_seed=0)
    assert {k: v for k, v in item.task.inputs.items() if k != "set"} == {
        "committee.0": members[0].key,
        "committee.1": members[1].key,
    }
    assert [m.task.spec.arch for m in members if isinstance(m.task.spec, TeacherSpec)] == ["small", "wide"]


def test_condensers_get_what_they_need() -> None:
    """Embeddings by the encoder asked for, or the teacher itself; params and versions fully resolved."""
    found = expand()
    nearest = one(found, condenser="nearest", ipc=1, protocol=None, metric=None)
    assert nearest.task.inputs == {"embedding": one(found, role="teacher:single").key}
    assert isinstance(nearest.task.spec, CondenseSpec)
    assert nearest.task.spec.params == {"encoder": "teacher:embedding", "width": 4}
    assert (nearest.task.spec.kind, nearest.task.spec.resolution, nearest.task.version) == ("coreset", 32, (1, 7))
    distil = one(found, condenser="distil", ipc=1, protocol=None, metric=None)
    assert distil.task.inputs == {"observer": one(found, role="single").key}
    assert isinstance(distil.task.spec, CondenseSpec)
    assert (distil.task.spec.kind, distil.task.spec.seed) == ("method", 0)


class TryingParams(Value, frozen=True):
    """A role and an architecture."""

    observer: str = "small"
    student: str = "small"


class Trying(Distil):
    """Looks at a teacher and trains students."""

    Params = TryingParams

    def needs(self, params: Any) -> dict[str, Need]:
        """The teacher of the role asked for."""
        return {"observer": Need(stage="teacher", source=params.observer)}


def test_a_role_may_be_called_like_another_parameter(monkeypatch: pytest.MonkeyPatch) -> None:
    """In a key only the parameter that names the teacher gives way to the input's name."""
    monkeypatch.setitem(fake_plugins.PLUGINS["methods"], "distil", Trying())
    found = expand(MANIFEST.replace('"nearest", ', "").replace(', "soft"', "").replace(".single]", ".small]"))
    spec = one(found, condenser="distil", ipc=1, protocol=None, metric=None).task.spec
    assert isinstance(spec, CondenseSpec)
    assert spec.params == {"observer": "observer", "student": "small"}


def test_the_name_of_a_role_is_for_people() -> None:
    """The same teacher under another role name: every key stays, but for the protocol's own role."""
    before = expand()
    renamed = expand(
        MANIFEST.replace("[teachers.judge]", "[teachers.jury]") + '[params.spread]\nencoder = "teacher:jury"\n'
    )
    assert [p.key for p in renamed.tasks] == [p.key for p in before.tasks]


def test_embeddings_name_their_encoder() -> None:
    """The teacher is an input, not a field: the spec says only that it is one."""
    embed = one(expand(), role="teacher:judge")
    assert isinstance(embed.task.spec, EmbedSpec)
    assert (embed.task.spec.encoder, embed.task.spec.split, embed.task.spec.batch) == ("teacher", "train", 256)
    assert embed.task.inputs == {"encoder": one(expand(), role="judge").key}


def test_large_splits_are_embedded_in_parts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whole batches until all images are covered; what rests on the embedding waits for all of its parts, in order."""
    monkeypatch.setattr(recipe, "EMBED_ROWS", recipe.EMBED_BATCH)
    found = expand()
    parts = [t for t in found.tasks if t.label.role == "teacher:single"]
    bounds = [(t.task.spec.rows.first, t.task.spec.rows.count) for t in parts]  # type: ignore[union-attr]
    images = bounds[-1][0] + bounds[-1][1]
    assert bounds == [(first, min(256, images - first)) for first in range(0, images, 256)]
    assert len(bounds) > 1
    nearest = one(found, condenser="nearest", ipc=1, protocol=None, metric=None)
    assert nearest.task.inputs == {f"embedding.{i}": part.key for i, part in enumerate(parts)}
    measured = [t.task.inputs for t in found.tasks if t.task.stage == "analyze"]
    assert all(set(inputs) == {"set", "encoder", *(f"embedding.{i}" for i in range(len(parts)))} for inputs in measured)


NETWORK = """[encoders.dino]
library = "timm"
arch = "vit_base_patch14_dinov2"
weights = "dino"
sha256 = "{}"
[params.{}]
encoder = "encoder:dino"
"""


def test_embeddings_of_the_test_split_have_a_name_of_their_own(monkeypatch: pytest.MonkeyPatch) -> None:
    """On screens they are not the training split's, and a shared selector warns whichever comes first."""

    def needs(_plugin: object, params: Any) -> dict[str, Need]:
        both = {"heldout": "test", "embedding": "train"}
        return {role: Need(stage="embed", source=params.encoder, split=split) for role, split in both.items()}

    monkeypatch.setattr(fake_plugins.Spread, "needs", needs)
    found = expand(MANIFEST + NETWORK.format("b" * 64, "nearest") + '[params.spread]\nencoder = "encoder:dino"\n')
    held, train = one(found, role="encoder:dino on test"), one(found, role="encoder:dino")
    assert isinstance(held.task.spec, EmbedSpec)
    assert isinstance(train.task.spec, EmbedSpec)
    assert (held.task.spec.split, train.task.spec.split) == ("test", "train")
    assert any("metric 'spread' has an encoder that also selects" in warning for warning in found.warnings)


def test_a_network_made_elsewhere_is_in_the_spec_of_what_it_encodes() -> None:
    """Its weights' digest is in the key, its name in the manifest is not; nothing here trains it."""
    found = expand(MANIFEST + NETWORK.format("b" * 64, "nearest"))
    embed = one(found, role="encoder:dino")
    assert isinstance(embed.task.spec, EmbedSpec)
    assert embed.task.spec.encoder == "network"
    assert embed.task.spec.network is not None
    assert (embed.task.spec.network.sha256, embed.task.spec.network.resolution) == ("b" * 64, 224)
    assert embed.task.inputs == {}
    nearest = one(found, condenser="nearest", ipc=1, protocol=None, metric=None)
    assert isinstance(nearest.task.spec, CondenseSpec)
    assert nearest.task.spec.params["encoder"] == "encoder:embedding"
    assert found.warnings == ()


def test_a_network_that_selects_and_measures_is_no_independent_judge() -> None:
    """The same features for both are warned of, as with teachers."""
    text = NETWORK.format("b" * 64, "nearest") + '[params.spread]\nencoder = "encoder:dino"\n'
    (warning,) = expand(MANIFEST + text).warnings
    assert "metric 'spread' has an encoder that also selects" in warning


def test_pixels_need_no_teacher_and_have_one_precision() -> None:
    """Pixels are the same numbers under bf16, so they are not made twice."""
    text = edited('"dice", "nearest", "distil"', '"nearest"').replace('"hard", "soft"', '"hard"')
    text = text.replace('["spread"]', "[]") + '[params.nearest]\nencoder = "pixels"\n'
    full, half = expand(text), expand('precision = "bf16"\n' + text)
    assert counts(full) == {"embed": 1, "condense": 2, "evaluate": 4}
    assert one(full, role="pixels").task.inputs == {}
    assert one(full, role="pixels").key == one(half, role="pixels").key
    assert {t.key for t in full.tasks if t.task.stage != "embed"}.isdisjoint(t.key for t in half.tasks)


def test_measures_are_wired_to_set_embeddings_and_encoder() -> None:
    """The encoder itself is needed too: it embeds the condensed images."""
    found = expand()
    item = one(found, metric="spread", condenser="distil", ipc=10)
    assert item.task.inputs == {
        "set": one(found, condenser="distil", ipc=10, protocol=None, metric=None).key,
        "embedding": one(found, role="teacher:judge").key,
        "encoder": one(found, role="judge").key,
    }
    assert isinstance(item.task.spec, AnalyzeSpec)
    assert item.task.spec.params == {"encoder": "teacher:embedding"}


def test_only_what_cells_need_is_planned() -> None:
    """A teacher that nobody asks for is not trained."""
    text = edited('"dice", "nearest", "distil"', '"dice"').replace('"hard", "soft"', '"hard"')
    text = text.replace('["spread"]', "[]")
    assert counts(expand(text + COMMITTEE)) == {"condense": 6, "evaluate": 12}


def test_set_seeds() -> None:
    """Each condenser's own by default, the manifest's where given, none where nothing is random."""
    found = expand(edited("student_seeds", "set_seeds = [4, 9]\nstudent_seeds"))
    seeds = {(t.label.condenser, t.label.set_seed) for t in found.tasks if t.task.stage == "condense"}
    assert seeds == {("dice", 4), ("dice", 9), ("nearest", None), ("distil", 4), ("distil", 9)}
    assert {t.label.set_seed for t in expand().tasks if t.label.condenser == "dice"} == {0, 1, 2}


def test_cells_hold_the_keys_that_fill_them() -> None:
    """What `collect` looks up: one evaluation per pair of seeds, one measure per set and metric."""
    found = expand()
    assert len(found.cells) == 3 * 2 * 2
    by_key = {t.key: t for t in found.tasks}
    for cell in found.cells:
        assert len(cell.evaluations) == (6 if cell.condenser == "dice" else 2)
        for set_seed, student_seed, key in cell.evaluations:
            label = by_key[key].label
            assert label == Label(
                cell.dataset, cell.condenser, cell.ipc, cell.protocol, cell.student, set_seed, student_seed
            )
        for set_seed, key in cell.sets:
            assert (by_key[key].task.stage, by_key[key].label.set_seed) == ("condense", set_seed)
        assert [(s, m) for s, m, _ in cell.analyses] == [(s, "spread") for s, _ in cell.sets]
    named = {key for cell in found.cells for _, _, key in cell.evaluations}
    assert named == {t.key for t in found.tasks if t.task.stage == "evaluate"}


def test_blocks_that_name_one_cell_add_up_their_seeds() -> None:
    """Union means union: no seed is lost, no task is there twice."""
    axes = 'datasets=["shipped"]\ncondensers=["dice"]\nipc=[1]\nprotocols=["hard"]\nstudents=["small"]\n'
    text = f'name="u"\n[[grid]]\n{axes}set_seeds=[0]\nstudent_seeds=[0,1]\n[[grid]]\n{axes}set_seeds=[0,1]\n'
    found = expand(text)
    (cell,) = found.cells
    assert [(s, t) for s, t, _ in cell.evaluations] == [(0, 0), (0, 1), (1, 0)]
    assert counts(found) == {"condense": 2, "evaluate": 3}


def test_a_changed_teacher_renews_everything_downstream_and_nothing_else() -> None:
    """The DAG of keys: what did not consume the teacher keeps its key."""
    before, after = expand(), expand(edited('arch = "small"\nepochs = 3', 'arch = "small"\nepochs = 4'))
    kept = {t.key for t in before.tasks} & {t.key for t in after.tasks}
    names = {(t.task.stage, t.label.condenser, t.label.protocol) for t in before.tasks if t.key in kept}
    assert names == {
        ("teacher", None, None),
        ("embed", None, None),
        ("condense", "dice", None),
        ("evaluate", "dice", "hard"),
        ("analyze", "dice", None),
    }


def test_growing_a_manifest_keeps_its_keys() -> None:
    """Adding ipc, seeds and condensers computes the difference only."""
    small = expand(edited("ipc = [1, 10]", "ipc = [1]"))
    assert {t.key for t in small.tasks} < {t.key for t in expand().tasks}


def test_absent_files_make_keys_provisional() -> None:
    """The plan says so and warns; class sizes are the preset's."""
    found = expand(edited('"shipped"', '"big"'))
    assert found.provisional
    assert any("dataset 'big'" in w for w in found.warnings)
    spec = one(found, role="single").task.spec
    assert isinstance(spec, TeacherSpec)
    assert spec.dataset.index == "absent:big"
    assert spec.training is not None
    assert spec.training.steps == 3 * 391


def test_excludes_that_match_nothing_warn() -> None:
    """They are no reason to refuse."""
    (warning,) = expand(MANIFEST + '[[exclude]]\ncondenser = "dise"\n').warnings
    assert "exclude[0].condenser = 'dise': on no condensers axis" in warning


def test_measures_with_the_selectors_own_teacher_warn() -> None:
    """Such a measure flatters the sets that its encoder selected."""
    (warning,) = expand(MANIFEST + '[params.spread]\nencoder = "teacher:single"\n').warnings
    assert "metric 'spread' has an encoder that also selects, distils or labels" in warning


def test_measures_in_the_selectors_own_pixels_warn() -> None:
    """As tables say that such a measure is not independent."""
    text = MANIFEST + '[params.spread]\nencoder = "pixels"\n[params.nearest]\nencoder = "pixels"\n'
    assert any("metric 'spread' has an encoder that also selects" in warning for warning in expand(text).warnings)


def test_equal_recipes_under_two_roles_are_one_teacher() -> None:
    """And the judge is then no longer independent."""
    found = expand(edited('arch = "wide"', 'arch = "small"').replace("seed = 5", ""))
    assert counts(found)["teacher"] == 1
    assert len(found.warnings) == 1


def test_ipc_is_held_against_the_files(tmp_path: Path) -> None:
    """A folder may hold less than its preset says."""
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
    text = edited('"shipped"', '"big"').replace("[1, 10]", "[1, 101]")
    with pytest.raises(ProblemsError) as caught:
        expand(text, Profile(name="here", backend="local", data={"big": tmp_path}))
    assert caught.value.problems == ("m.toml: ipc = 101: the smallest training class of big holds 100 images",)


def test_teachers_train_on_a_split_that_exists() -> None:
    """A misspelt split would fail on the first node."""
    with pytest.raises(ProblemsError, match=r"judge.split = 'trein': shipped has no such split, only"):
        expand(edited("seed = 5", 'split = "trein"'))


def test_plans_survive_json() -> None:
    """Cells and labels are written beside a run and read back."""
    found = expand()
    for value in (found.cells, [t.label for t in found.tasks]):
        assert msgspec.json.decode(msgspec.json.encode(value), type=list[type(value[0])]) == value  # type: ignore[misc]


def test_planning_imports_nothing_heavy() -> None:
    """The login node plans without torch, numpy or the front end."""
    code = (
        "import sys; from condhpc import facts, manifest, plan, profile\n"
        "print(sorted({'torch', 'numpy', 'h5py', 'submitit', 'textual', 'click'} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    assert done.stdout.strip() == "[]"


def test_reference_lines_have_students_and_no_set() -> None:
    """All training data: with the steps of the cell's ipc, and with a schedule of its own that no ipc changes."""
    found = expand(edited('["dice", "nearest", "distil"]', '["dice", "full_same_steps", "full_schedule"]'))
    assert counts(found) == {"teacher": 2, "embed": 1, "condense": 6, "evaluate": 24 + 8 + 4, "analyze": 6}
    same = [t for t in found.tasks if t.label.condenser == "full_same_steps"]
    whole = [t for t in found.tasks if t.label.condenser == "full_schedule"]
    peers = [t for t in found.tasks if t.label.condenser == "dice" and t.task.stage == "evaluate"]
    assert {t.task.spec for t in same} == {t.task.spec for t in peers}  # type: ignore[comparison-overlap]
    assert all("set" not in t.task.inputs for t in same + whole)
    assert {t.label.ipc for t in whole} == {None}
    for item in whole:
        assert isinstance(item.task.spec, EvaluateSpec)
        assert item.task.spec.training.steps == 200 * -(-1000 // 128)
    (cell,) = [c for c in found.cells if (c.condenser, c.ipc, c.protocol) == ("full_schedule", None, "soft")]
    assert (cell.sets, len(cell.evaluations), cell.analyses) == ((), 2, ())


def test_cached_labels_are_a_task_that_architectures_share() -> None:
    """One relabel task per set, seed and training; its students consume set and labels, not the teachers."""
    text = edited('["small"]', '["small", "wide"]').replace(
        "[teachers.single]", '[labels]\nsource = "cached"\n[teachers.single]'
    )
    found = expand(text)
    assert counts(found)["relabel"] == 10 * 2
    soft = [t for t in found.tasks if t.task.stage == "evaluate" and t.label.protocol == "soft"]
    assert len(soft) == 10 * 2 * 2
    assert {tuple(t.task.inputs) for t in soft} == {("set", "labels")}
    by_key = {t.key: t for t in found.tasks}
    for item in soft:
        labels = by_key[item.task.inputs["labels"]]
        assert isinstance(labels.task.spec, RelabelSpec)
        assert isinstance(item.task.spec, EvaluateSpec)
        assert labels.task.inputs["set"] == item.task.inputs["set"]
        assert by_key[labels.task.inputs["single.0"]].label.role == "single"
        ours, theirs = item.task.spec.training, labels.task.spec
        assert (theirs.steps, theirs.batch, theirs.augment, theirs.seed) == (
            ours.steps, ours.batch, ours.augment, item.label.student_seed,
        )  # fmt: skip


def test_labels_of_all_training_data_are_never_cached() -> None:
    """They would not fit on any disk."""
    text = edited('["dice", "nearest", "distil"]', '["full_schedule"]').replace(
        "[teachers.single]", '[labels]\nsource = "cached"\n[teachers.single]'
    )
    found = expand(text)
    assert "relabel" not in counts(found)


def test_an_external_set_enters_by_its_digest() -> None:
    """Content and how to read it are in the key; what it is said to have cost is not."""
    text = edited('["dice", "nearest", "distil"]', '["made"]').replace("[1, 10]", "[10]") + EXTERNAL
    found = expand(text)
    assert counts(found) == {"teacher": 2, "embed": 1, "condense": 1, "evaluate": 4, "analyze": 1}
    spec = one(found, condenser="made", protocol=None, metric=None).task.spec
    assert isinstance(spec, CondenseSpec)
    assert (spec.kind, spec.params["sha256"], spec.params["name"], spec.resolution) == (
        "external",
        "a" * 64,
        "made",
        32,
    )
    costly, larger, other = (
        expand(text + line) for line in ("gpu_h = 6.5\n", "resolution = 64\n", 'class_folders = "numbers"\n')
    )
    assert {t.key for t in costly.tasks} == {t.key for t in found.tasks}
    for changed in (larger, other):
        assert not {t.key for t in changed.tasks if t.task.stage == "condense"} & {t.key for t in found.tasks}


def test_a_student_that_needs_larger_images_is_refused() -> None:
    """Said at plan time, by architecture and norm layers of the protocol."""
    with pytest.raises(ProblemsError) as caught:
        expand(edited('["hard", "soft"]', '["hard", "per_image"]'))
    assert caught.value.problems == (
        "m.toml: student 'small' on shipped under 'per_image': images of 32 px are too few, it needs 40",
    )


def test_replacing_a_published_length_is_said() -> None:
    """A native protocol with another length is no replay of its publication."""
    text = edited('["hard", "soft"]', '["native"]') + "[training.shipped]\nepochs = 2\n"
    assert "replaces what protocol 'native' publishes" in "".join(expand(text).warnings)
    assert expand(edited('["hard", "soft"]', '["native"]')).warnings == ()
