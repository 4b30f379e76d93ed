"""Small plug-ins for tests of plans, so that golden keys do not move when a real plug-in does."""

from __future__ import annotations

import sys
import types
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar

import msgspec
from msgspec import Meta

from condhpc import registry
from condhpc.datasets.base import Index, SplitIndex
from condhpc.errors import InputError, UnknownNameError
from condhpc.registry import Plugin
from condhpc.spec import DatasetInfo, Need, Optimizer, Protocol, Rule, TeacherLabels, Value

if TYPE_CHECKING:
    import pytest


def info(classes: int = 10, sizes: tuple[int, ...] = (100,), epochs: int = 300) -> DatasetInfo:
    """Facts of a made-up dataset of 32-pixel images."""
    return DatasetInfo(
        classes=classes,
        train_class_sizes=sizes,
        resolution=32,
        mean=(0.5, 0.5, 0.5),
        std=(0.25, 0.25, 0.25),
        mirror=True,
        crop_scale_min=0.5,
        epochs=epochs,
    )


def index(classes: Sequence[str], per_class: int = 100) -> Index:
    """An index of made-up files: `per_class` training images and one test image of each class."""
    labels = tuple(label for label in range(len(classes)) for _ in range(per_class))
    train = SplitIndex(paths=tuple(f"train/{i}.png" for i in range(len(labels))), labels=labels, sizes=labels)
    few = tuple(range(len(classes)))
    test = SplitIndex(paths=tuple(f"test/{i}.png" for i in few), labels=few, sizes=few)
    return Index(class_names=tuple(classes), splits={"train": train, "test": test}, content="fake 1")


class FakeDataset:
    """Ships with its package, or wants a folder whose class folders it lists."""

    def __init__(self, facts: DatasetInfo | None, *, shipped: bool) -> None:
        self.INFO = facts
        self._shipped = shipped

    def index(self, folder: Path | None, splits: Sequence[str] = ()) -> Index:
        """Ten classes, or the folders found."""
        del splits
        if folder is None and not self._shipped:
            raise InputError("needs a folder")
        if folder is None:
            return index([str(i) for i in range(10)])
        names = sorted(p.name for p in folder.iterdir())
        if not names:
            raise InputError(f"{folder}: empty, expected one folder per class")
        return index(names)

    def watched(self, folder: Path, splits: Sequence[str] = ()) -> list[Path]:
        """Nothing: always list anew."""
        del folder, splits
        return []

    def class_names(self) -> tuple[str, ...]:
        """The files decide."""
        return ()

    def remarks(self, index: Index) -> tuple[str, ...]:
        """Nothing to say."""
        del index
        return ()


class EncoderParams(Value, frozen=True):
    """An encoder and a size."""

    encoder: Annotated[str, Meta(pattern="^(pixels|(teacher|encoder):.+)$")] = "teacher:single"
    width: Annotated[int, Meta(ge=1)] = 4


class JudgeParams(Value, frozen=True):
    """An encoder of its own."""

    encoder: str = "teacher:judge"


class Dice(Plugin):
    """Seeded, needs nothing."""

    default_set_seeds: ClassVar[Sequence[int]] = (0, 1, 2)


class Nearest(Plugin):
    """Not seeded, needs embeddings."""

    seeded = False
    version = 7
    Params = EncoderParams

    def needs(self, params: Any) -> dict[str, Need]:
        """Embeddings by the encoder asked for."""
        return {"embedding": Need(stage="embed", source=params.encoder)}


class Distil(Plugin):
    """Seeded, needs a teacher."""

    default_set_seeds: ClassVar[Sequence[int]] = (0,)

    def needs(self, params: Any) -> dict[str, Need]:
        """The teacher `single`."""
        del params
        return {"observer": Need(stage="teacher", source="single")}


class Spread(Plugin):
    """A metric over embeddings."""

    seeded = False
    Params = JudgeParams

    def needs(self, params: Any) -> dict[str, Need]:
        """Embeddings by the encoder asked for."""
        return {"embedding": Need(stage="embed", source=params.encoder)}


def protocol(name: str, role: str | None) -> Protocol:
    """A protocol that differs in its label source alone."""
    return Protocol(
        name=name,
        follows="condhpc",
        labels="hard" if role is None else "teacher",
        loss="ce" if role is None else "kl",
        teacher_role=role,
        teacher=None if role is None else TeacherLabels(form="softmax", temperature=20.0),
        optimizer=Optimizer(name="adamw", lr=0.001, weight_decay=0.01),
        cutmix_alpha=1.0,
        test="last",
    )


PLUGINS: dict[str, dict[str, Any]] = {
    "datasets": {
        "shipped": FakeDataset(info(), shipped=True),
        "big": FakeDataset(info(classes=100, sizes=(500,)), shipped=False),
        "folder": FakeDataset(None, shipped=False),
    },
    "coresets": {"dice": Dice(), "nearest": Nearest()},
    "methods": {"distil": Distil()},
    "metrics": {"spread": Spread()},
    "protocols": {
        "hard": protocol("hard", None),
        "soft": protocol("soft", "single"),
        "many": protocol("many", "committee"),
        "fixed": msgspec.structs.replace(protocol("fixed", "committee"), committee=("small", "wide")),
        "per_image": msgspec.structs.replace(protocol("per_image", None), student_norm="instance"),
        "given": msgspec.structs.replace(protocol("given", None), labels="set"),
        "native": msgspec.structs.replace(protocol("native", None), follows="code", rules=(Rule(epochs=9, batch=4),)),
    },
}


def _load(kind: str, name: str) -> Any:
    if name not in PLUGINS[kind]:
        raise UnknownNameError(name)
    return PLUGINS[kind][name]


def install(monkeypatch: pytest.MonkeyPatch) -> None:
    """Put these plug-ins and two architectures in the place of the real ones."""
    monkeypatch.setattr(registry, "names", lambda kind: tuple(sorted(PLUGINS[kind])))
    monkeypatch.setattr(registry, "load", _load)
    models = types.ModuleType("condhpc.models")
    models.ARCHS = ("small", "wide")  # type: ignore[attr-defined]
    models.minimum_px = lambda _arch, norm: 40 if norm == "instance" else 8  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "condhpc.models", models)


MANIFEST = """
name = "tiny"
datasets = ["shipped"]
condensers = ["dice", "nearest", "distil"]
ipc = [1, 10]
protocols = ["hard", "soft"]
students = ["small"]
student_seeds = [0, 1]
metrics = ["spread"]

[teachers.single]
arch = "small"
epochs = 3

[teachers.judge]
arch = "wide"
epochs = 3
seed = 5
"""
"""A manifest over these plug-ins, correct as it stands."""
