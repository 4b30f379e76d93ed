"""Tasks of the five stages on the digits, and a store in which they really run, in this process."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any

import msgspec

from condhpc import attempt, keys, lease, registry, store
from condhpc.context import Context, Site
from condhpc.layout import Layout, TaskFolder
from condhpc.spec import (
    AnalyzeSpec,
    Augment,
    CondenseSpec,
    DatasetSpec,
    DiffusionTransformer,
    EmbedSpec,
    EvaluateSpec,
    GeneratorSpec,
    GeneratorTraining,
    Optimizer,
    PrepareSpec,
    Task,
    TeacherSpec,
    Training,
    WeightsSpec,
)
from condhpc.store import Record

DIGITS = registry.load("datasets", "digits")
INDEX = DIGITS.index(None)
DATASET = DatasetSpec(
    name="digits",
    loader="digits",
    index=INDEX.digest(),
    classes=10,
    resolution=8,
    mean=DIGITS.INFO.mean,
    std=DIGITS.INFO.std,
)


def training(steps: int, batch: int, **changes: Any) -> Training:
    """AdamW 1e-3 with crops, without CutMix unless asked for."""
    fields: dict[str, Any] = {
        "bn_group": batch,
        "optimizer": Optimizer(name="adamw", lr=0.001, weight_decay=0.01),
        "augment": Augment(crop_scale_min=0.6, flip=False, cutmix_alpha=0.0),
        "precision": "fp32",
    }
    return Training(steps=steps, batch=batch, **{**fields, **changes})


def teacher(seed: int = 0, steps: int = 36, weights: WeightsSpec | None = None, **changes: Any) -> Task:
    """A ConvNet-3 of all training digits; 12 steps are an epoch."""
    spec = TeacherSpec(
        dataset=DATASET,
        arch="convnet3",
        seed=seed,
        split="train",
        training=None if weights is not None else training(steps, 128),
        weights=weights,
    )
    return Task(stage="teacher", spec=msgspec.structs.replace(spec, **changes), inputs={}, version=(1, 1))


def generator(steps: int = 40, **changes: Any) -> Task:
    """A diffusion transformer of two small blocks, on the pixels of all training digits."""
    spec = GeneratorSpec(
        dataset=DATASET,
        seed=0,
        split="train",
        arch=DiffusionTransformer(patch=2, width=32, depth=2, heads=2),
        training=GeneratorTraining(
            steps=steps, batch=64, lr=2e-3, ema_decay=0.9, label_dropout=0.1, mirror=False, precision="fp32"
        ),
        vae=None,
        folder=None,
        classes="",
        pretrained_on="",
    )
    return Task(stage="generator", spec=msgspec.structs.replace(spec, **changes), inputs={}, version=(1, 1))


def latents(generator_key: str, **changes: Any) -> Task:
    """Latents of the training split by a generator's key."""
    found = embed(**changes)
    spec = msgspec.structs.replace(found.spec, encoder="generator")
    return msgspec.structs.replace(found, spec=spec, inputs={"generator": generator_key})


def prepare(method: str, name: str, inputs: dict[str, str], ipc: int | None = None, **params: Any) -> Task:
    """What a method computes from the digits once."""
    plugin = registry.preparation(method, name)
    spec = PrepareSpec(
        dataset=DATASET,
        method=method,
        preparation=name,
        params=msgspec.to_builtins(plugin.Params(**params)),
        ipc=ipc,
        resolution=8,
        precision="fp32",
    )
    return Task(stage="prepare", spec=spec, inputs=inputs, version=(1, plugin.version))


def embed(encoder: str | None = None, batch: int = 256, **changes: Any) -> Task:
    """Embeddings of the training split by a teacher's key, or a `network` made elsewhere, or pixels."""
    spec = EmbedSpec(
        dataset=DATASET,
        split="train",
        encoder="pixels" if encoder is None else "teacher",
        network=None,
        batch=batch,
        precision="fp32",
        rows=None,
    )
    if "network" in changes:
        changes["encoder"] = "network"
    spec = msgspec.structs.replace(spec, **changes)
    return Task(stage="embed", spec=spec, inputs={} if encoder is None else {"encoder": encoder}, version=(1, 1))


def condense(condenser: str, inputs: dict[str, str] | None = None, ipc: int = 2, **changes: Any) -> Task:
    """A condensed set of digits."""
    kind = registry.condenser_kind(condenser)
    plugin = registry.load(kind, condenser)
    spec = CondenseSpec(
        dataset=DATASET,
        kind="coreset" if kind == "coresets" else "method",
        condenser=condenser,
        params=msgspec.to_builtins(plugin.settled(plugin.Params(), DIGITS.INFO, ipc)),
        ipc=ipc,
        seed=0 if plugin.seeded else None,
        resolution=8,
        precision="fp32",
    )
    changed = msgspec.structs.replace(spec, **changes)
    return Task(stage="condense", spec=changed, inputs=inputs or {}, version=(1, plugin.version))


def evaluate(name: str, inputs: dict[str, str], seed: int = 0, steps: int = 20, **changes: Any) -> Task:
    """A ConvNet-3 student."""
    spec = EvaluateSpec(
        dataset=DATASET,
        student="convnet3",
        protocol=registry.load("protocols", name),
        training=training(steps, 20, augment=Augment(crop_scale_min=0.6, flip=False, cutmix_alpha=1.0)),
        seed=seed,
        test_split="test",
    )
    return Task(stage="evaluate", spec=msgspec.structs.replace(spec, **changes), inputs=inputs, version=(1, 1))


def analyze(metric: str, inputs: dict[str, str], **params: Any) -> Task:
    """One measure."""
    plugin = registry.load("metrics", metric)
    spec = AnalyzeSpec(
        dataset=DATASET, metric=metric, params=msgspec.to_builtins(plugin.Params(**params)), precision="fp32"
    )
    return Task(stage="analyze", spec=spec, inputs=inputs, version=(1, plugin.version))


class Lab:
    """A root in which tasks are attempted as workers do."""

    def __init__(self, root: Path, **site: Any) -> None:
        self.layout = Layout(root)
        self.site = Site(**{"root": str(root), "patience_s": 0.0, "device": "cpu", **site})
        self.layout.index(DATASET.index).parent.mkdir(parents=True, exist_ok=True)
        self.layout.index(DATASET.index).write_bytes(keys.encode(INDEX))

    def folder(self, task: Task) -> TaskFolder:
        """The task's folder."""
        return self.layout.task(task.stage, keys.key(task))

    def attempt(self, task: Task, stop: threading.Event | None = None) -> str:
        """Try once; how it ended."""
        return attempt.run(keys.preimage(task), self.site, stop or threading.Event())

    def key(self, task: Task) -> str:
        """The key of a task that is recorded, after an attempt where it was not."""
        result = self.attempt(task)
        assert result in {"recorded", "cached"}, self.reason(task)
        return keys.key(task)

    def record(self, task: Task) -> Record:
        """The record of a task, attempted if need be."""
        self.key(task)
        found = store.read_record(self.folder(task))
        assert found is not None
        return found

    def artefact(self, task: Task, name: str) -> Path:
        """Path of an artefact, verified."""
        record = self.record(task)
        return store.verified(self.folder(task), record, name)

    def reason(self, task: Task) -> str:
        """Why the last attempt ended."""
        number = lease.latest_number(self.folder(task))
        last = lease.read_attempt(self.folder(task), number)
        assert last is not None
        assert last.end is not None
        return last.end.reason

    def failure(self, task: Task) -> str:
        """The reason of an attempt that must fail."""
        assert self.attempt(task) == "failed"
        return self.reason(task)

    def context(self, task: Task) -> Context:
        """A context without an attempt around it."""
        store.write_task(self.folder(task), keys.preimage(task))
        held = attempt.take(self.folder(task), lease.myself())
        assert held is not None
        return Context(task, keys.key(task), self.site, held, threading.Event())
