"""`[generators.<name>]` blocks: what is refused, what is planned, and what enters keys."""

from __future__ import annotations

from typing import Any

import fake_plugins
import pytest
import tomli
from fake_plugins import MANIFEST

from condhpc import facts, manifest, plan
from condhpc.errors import ProblemsError
from condhpc.plan import Plan, Planned
from condhpc.planned import Sheet
from condhpc.profile import Profile
from condhpc.spec import CondenseSpec, EmbedSpec, GeneratorSpec, Need, Value
from condhpc.upstream import Upstream

FOLDER = f'folder = "xl"\nsha256 = "{"a" * 64}"\npretrained_on = "photographs"'


class DrawParams(Value, frozen=True):
    """A generator by its name."""

    generator: str = "dit"


@pytest.fixture(autouse=True)
def _plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """The method needs a generator, and its latents."""
    fake_plugins.install(monkeypatch)

    def needs(_plugin: object, params: Any) -> dict[str, Need]:
        return {
            "generator": Need(stage="generator", source=params.generator),
            "latents": Need(stage="embed", source=f"generator:{params.generator}"),
        }

    monkeypatch.setattr(fake_plugins.Distil, "needs", needs)
    monkeypatch.setattr(fake_plugins.Distil, "Params", DrawParams)


def block(text: str) -> str:
    """The correct manifest with that block."""
    return f"{MANIFEST}[generators.dit]\n{text}\n"


def problems(text: str) -> list[str]:
    """Problems of a manifest, without the file's name."""
    with pytest.raises(ProblemsError) as caught:
        manifest.parse(text, tomli.loads(text), "m.toml")
    return [p.removeprefix("m.toml: ") for p in caught.value.problems]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", "steps: missing, expected a number of steps (or `folder`, made elsewhere)"),
        (f"{FOLDER}\nsteps = 5", "steps: stands beside `folder`, which is not trained here; keep one of both"),
        (f"{FOLDER}\npatch = 4", "patch: stands beside `folder`, which is not trained here; keep one of both"),
        (f'{FOLDER}\nsplit = "all"', "split: stands beside `folder`, which is not trained here; keep one of both"),
        (f'{FOLDER}\nvae = "v"', "vae: stands beside `folder`, which is not trained here; keep one of both"),
        (f'folder = "xl"\nsha256 = "{"a" * 64}"', "pretrained_on: missing, expected of the folder behind `folder`"),
        ('folder = "xl"\npretrained_on = "x"', "sha256: missing, expected of the folder behind `folder`"),
        ('steps = 5\npretrained_on = "x"', (
            "pretrained_on: is of a folder made elsewhere, and neither `folder` nor `vae` is given")),
        ('steps = 5\nspace = "latent"', "vae: does not fit space = 'latent', expected a `vae`"),
        (f'steps = 5\nvae = "v"\nsha256 = "{"a" * 64}"\npretrained_on = "x"',
         "vae: does not fit space = 'pixel', expected none, or space = 'latent'"),
        ('steps = 5\nclasses = "shipped"', "classes: is of a generator made elsewhere, and no `folder` is given"),
        (f'{FOLDER}\nclasses = "shiped"', "classes = 'shiped': no such dataset; did you mean 'shipped'?"),
        ("steps = 5\nwidth = 10\nheads = 5", "width = 10: expected a multiple of 4 and of heads = 5"),
        ("steps = 5\nwidth = 12\nheads = 5", "width = 12: expected a multiple of 4 and of heads = 5"),
        ("steps = 0", "steps = 0: expected int >= 1"),
    ],
)  # fmt: skip
def test_a_block_is_either_loaded_or_trained(text: str, expected: str) -> None:
    """Everything that does not go together is said, with the key."""
    assert problems(block(text)) == [f"generators.dit.{expected}"]


def test_a_generator_that_is_used_is_defined() -> None:
    """The message says who needs it, and what may have been meant."""
    expected = (
        "generators.dit: missing, needed by condenser 'distil'; expected a [generators.dit] block with steps "
        "(or folder); did you mean 'dits'?"
    )
    assert problems(MANIFEST + "[generators.dits]\nsteps = 5\n") == [expected]


def expand(text: str) -> Plan:
    """The plan of a manifest."""
    loaded = manifest.parse(text, tomli.loads(text), "m.toml")
    return plan.expand(loaded, facts.gather(loaded, Profile(name="here", backend="local")))


def of_stage(found: Plan, stage: str) -> list[Planned]:
    """Tasks of a stage."""
    return [t for t in found.tasks if t.task.stage == stage]


def test_a_generator_is_planned_once_and_wired() -> None:
    """Sets consume it, and its latents, which consume it themselves."""
    found = expand(block("steps = 500\nbatch = 64"))
    (generator,) = of_stage(found, "generator")
    (latents,) = [t for t in of_stage(found, "embed") if t.label.role == "generator:dit"]
    sets = [t for t in of_stage(found, "condense") if t.label.condenser == "distil"]
    spec = generator.task.spec
    assert isinstance(spec, GeneratorSpec)
    assert spec.training is not None
    assert (spec.training.steps, spec.training.batch, spec.folder, spec.vae) == (500, 64, None, None)
    assert isinstance(latents.task.spec, EmbedSpec)
    assert (latents.task.spec.encoder, latents.task.inputs) == ("generator", {"generator": generator.key})
    assert len(sets) == 2
    for item in sets:
        assert item.task.inputs == {"generator": generator.key, "latents": latents.key}
        assert isinstance(item.task.spec, CondenseSpec)
        assert item.task.spec.params == {"generator": "generator"}


def test_a_name_in_the_manifest_is_no_part_of_a_key() -> None:
    """Another name for the same generator gives the same keys; another recipe others."""
    text = block("steps = 500")
    renamed = text.replace("generators.dit", "generators.other") + '[params.distil]\ngenerator = "other"\n'
    assert {t.key for t in expand(renamed).tasks} == {t.key for t in expand(text).tasks}
    assert of_stage(expand(block("steps = 501")), "generator")[0].key != of_stage(expand(text), "generator")[0].key


def test_a_folder_is_in_the_key_by_its_digest() -> None:
    """With what it saw, and whose labels it has; its recipe is nobody's here."""
    found = expand(block(f'{FOLDER}\nclasses = "shipped"'))
    spec = of_stage(found, "generator")[0].task.spec
    assert isinstance(spec, GeneratorSpec)
    assert spec.folder is not None
    assert (spec.folder.name, spec.folder.sha256) == ("xl", "a" * 64)
    assert (spec.classes, spec.pretrained_on, spec.training, spec.arch) == ("shipped", "photographs", None, None)
    latent = block(f'steps = 5\nspace = "latent"\nvae = "v"\nsha256 = "{"b" * 64}"\npretrained_on = "x"')
    trained = of_stage(expand(latent), "generator")[0].task.spec
    assert isinstance(trained, GeneratorSpec)
    assert trained.vae is not None
    assert (trained.vae.name, trained.folder) == ("v", None)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("steps = 5\nsplit = 'nope'", r"generators\.dit\.split = 'nope': {} has no such split, only \["),
        ("steps = 5\npatch = 7", r"generators\.dit\.patch = 7: does not divide the \d+ px of {}"),
    ],
)
def test_what_a_dataset_says_against_a_block(text: str, expected: str) -> None:
    """Told when the plan is made, by the facts of the dataset, and not by a task hours later."""
    name = manifest.parse(block("steps = 5"), tomli.loads(block("steps = 5")), "m.toml").grids[0].datasets[0]
    with pytest.raises(ProblemsError, match=expected.format(name)):
        expand(block(text))


def test_a_folder_needs_no_split(monkeypatch: pytest.MonkeyPatch) -> None:
    """A dataset may call its training split as it likes; only a training here looks for the one that is named."""

    def images(self: facts.Facts, split: str) -> int:
        assert self.index is not None
        return len({"learn": self.index.splits["train"]}[split].labels)

    monkeypatch.setattr(facts.Facts, "images", images)
    loaded = manifest.parse(block(FOLDER), tomli.loads(block(FOLDER)), "m.toml")
    held = facts.gather(loaded, Profile(name="here", backend="local"))
    upstream = Upstream(loaded, held, Sheet())
    assert upstream.generator(loaded.grids[0].datasets[0], "dit")
