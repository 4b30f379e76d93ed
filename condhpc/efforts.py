"""From a task to what it has to do: images through networks, files to decode. Plug-ins say it of their own tasks."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import UNSET

from condhpc import keys, registry, sharding
from condhpc.cost_model import (
    DIT_XL,
    FORWARD,
    TRAINED,
    Effort,
    Generator,
    Network,
    Passes,
    Sources,
    network,
    transformer,
)
from condhpc.registry import Plugin
from condhpc.spec import (
    AnalyzeSpec,
    CondenseSpec,
    DatasetSpec,
    EmbedSpec,
    EvaluateSpec,
    GeneratorSpec,
    Groups,
    Precision,
    PrepareSpec,
    RelabelSpec,
    Task,
    TeacherSpec,
)

InputTask = Callable[[Task, str], Task | None]
"""The task behind an input's role; None where nobody knows it."""
CountImages = Callable[[DatasetSpec, str], int]
"""Images in a split."""

_VAE_SHRINKS = 8
"""Pixels of an image's side for one of its latent."""
_RESIDENT_BYTES = 4 << 30
"""Splits up to this size are decoded once (`images`), larger ones each time an image comes."""


class Efforts:
    """What tasks have to do, as far as their inputs are known."""

    def __init__(self, input_task: InputTask, images: CountImages) -> None:
        self._input_task = input_task
        self._images = images
        self._wholes: dict[tuple[bytes, tuple[tuple[str, str], ...]], tuple[Effort | None, int]] = {}
        """Of sets whose shards were asked for, and their number of groups."""

    def of(self, task: Task) -> Effort | None:
        """None where nobody can say: a network that is not ours, a plug-in that does not tell, a set made elsewhere."""
        spec = task.spec
        if isinstance(spec, TeacherSpec):
            return self._teacher(spec)
        if isinstance(spec, GeneratorSpec):
            return self._generator(spec)
        if isinstance(spec, EmbedSpec):
            return self._embed(task, spec)
        if isinstance(spec, RelabelSpec):
            return self._relabel(task, spec)
        if isinstance(spec, EvaluateSpec):
            return self._evaluate(task, spec)
        return self._plugin(task, spec)

    def _teacher(self, spec: TeacherSpec) -> Effort | None:
        net, training = network(spec.arch), spec.training
        if net is None:
            return None
        tested = self._tested(net, spec.dataset, spec.dataset.test_split)
        if training is None:
            return tested
        seen = training.steps * training.batch
        trained = Passes(net, spec.dataset.resolution, seen, training.steps, TRAINED)
        decoded = self._decoded(spec.dataset, spec.split, seen)
        return Effort((trained, *tested.passes), decoded + tested.decoded, spec.dataset.resolution)

    def _generator(self, spec: GeneratorSpec) -> Effort:
        """Nothing but loading where it was made elsewhere."""
        training, made = spec.training, generator_of(spec)
        if training is None:
            return Effort()
        seen = training.steps * training.batch
        trained = Passes(made.network, made.side, seen, training.steps, TRAINED)
        passes = (trained, *made.encoding(seen, training.batch))
        return Effort(passes, self._decoded(spec.dataset, spec.split, seen), spec.dataset.resolution)

    def _embed(self, task: Task, spec: EmbedSpec) -> Effort | None:
        images = spec.rows.count if spec.rows is not None else self._images(spec.dataset, spec.split)
        side = spec.dataset.resolution
        if spec.encoder == "pixels":
            return Effort((), images, side)
        if spec.encoder == "generator":
            return self._latents(task, spec, images)
        archs = self.archs(task).get("encoder", ()) if spec.network is None else (spec.network.arch,)
        net = network(archs[0]) if archs else None
        seen_px = side if spec.network is None else spec.network.resolution
        if net is None:
            return None
        return Effort((Passes(net, seen_px, images, images / spec.batch, FORWARD),), images, side)

    def _latents(self, task: Task, spec: EmbedSpec, images: int) -> Effort:
        """Through the autoencoder, if there is one."""
        drawing = self.generator(task)
        return Effort(drawing.encoding(images, spec.batch), images, drawing.encoded_px or spec.dataset.resolution)

    def generator(self, task: Task) -> Generator:
        """The one behind the input of that name; DiT-XL/2 where nobody knows it."""
        behind = self._input_task(task, "generator")
        made = behind.spec if behind is not None else None
        return generator_of(made) if isinstance(made, GeneratorSpec) else DIT_XL

    def _relabel(self, task: Task, spec: RelabelSpec) -> Effort | None:
        asked = self._asked(task, spec.dataset.resolution, spec.steps * spec.batch, spec.steps)
        return None if asked is None else Effort(tuple(asked))

    def _evaluate(self, task: Task, spec: EvaluateSpec) -> Effort | None:
        net, training, side = network(spec.student), spec.training, spec.dataset.resolution
        if net is None:
            return None
        seen = training.steps * training.batch
        each = TRAINED + (FORWARD if training.extra_forward else 0.0)
        passes = [Passes(net, side, seen, training.steps * training.accumulate, each)]
        if spec.protocol.labels == "teacher" and spec.protocol.source == "online":
            asked = self._asked(task, side, seen, training.steps)
            if asked is None:
                return None
            passes += asked
        tests = 1 + (spec.protocol.probes.count if spec.protocol.probes is not None else 0)
        tested = self._tested(net, spec.dataset, spec.test_split, tests)
        decoded = tested.decoded
        if "set" not in task.inputs:
            decoded += self._decoded(spec.dataset, spec.dataset.train_split, seen)
        return Effort((*passes, *tested.passes), decoded, side)

    def _plugin(self, task: Task, spec: CondenseSpec | PrepareSpec | AnalyzeSpec) -> Effort | None:
        if isinstance(spec, CondenseSpec) and spec.kind == "external":
            return None
        if task.shards:
            return Effort()  # they do the work
        if not isinstance(spec, CondenseSpec) or not isinstance(spec.groups, Groups):
            return self._asked_plugin(task, spec)
        whole = msgspec.structs.replace(spec, groups=UNSET)
        which = keys.encode(whole), tuple(task.inputs.items())
        if which not in self._wholes:
            self._wholes[which] = self._asked_plugin(task, whole), len(sharding.groups_of(whole))
        found, groups = self._wholes[which]
        return None if found is None else found.share(spec.groups.count / groups)

    def _asked_plugin(self, task: Task, spec: CondenseSpec | PrepareSpec | AnalyzeSpec) -> Effort | None:
        plugin, images = _plugin_of(spec), self._images(spec.dataset, spec.dataset.train_split)
        sources = Sources(self.archs(task), images, self.set_images(task), self._generators(task))
        return plugin.cost(spec, msgspec.convert(spec.params, plugin.Params), sources)

    def _tested(self, net: Network, dataset: DatasetSpec, split: str, times: int = 1) -> Effort:
        """A network on a test split; the images are decoded each time where they are too many to keep."""
        images = self._images(dataset, split)
        tests = Passes(net, dataset.resolution, images * times, times * max(1.0, images / 256), FORWARD)
        return Effort((tests,), self._decoded(dataset, split, images * times), dataset.resolution)

    def _decoded(self, dataset: DatasetSpec, split: str, seen: float) -> float:
        images = self._images(dataset, split)
        return min(seen, images) if images * 3 * dataset.resolution**2 <= _RESIDENT_BYTES else seen

    def _asked(self, task: Task, side: int, images: float, steps: float) -> list[Passes] | None:
        """Images through every teacher among the inputs; None where one of them is not known."""
        nets = [network(arch) for archs in self.archs(task).values() for arch in archs]
        known = [net for net in nets if net is not None]
        return [Passes(net, side, images, steps, FORWARD) for net in known] if len(known) == len(nets) > 0 else None

    def archs(self, task: Task) -> dict[str, tuple[str, ...]]:
        """Architectures by role; a teacher that is not known has an architecture without a name."""
        found: dict[str, tuple[str, ...]] = {}
        for role in task.inputs:
            behind = self._input_task(task, role)
            spec = behind.spec if behind is not None else None
            if spec is None or isinstance(spec, TeacherSpec):
                name = role.partition(".")[0]
                found[name] = (*found.get(name, ()), spec.arch if spec is not None else "")
        return found

    def _generators(self, task: Task) -> dict[str, Generator]:
        behind = ((role, self._input_task(task, role)) for role in task.inputs)
        specs = ((role, found.spec) for role, found in behind if found is not None)
        return {role: generator_of(spec) for role, spec in specs if isinstance(spec, GeneratorSpec)}

    def set_images(self, task: Task) -> int:
        """Images of the condensed set that it looks at; 0 without one."""
        behind = self._input_task(task, "set") if "set" in task.inputs else None
        spec = behind.spec if behind is not None else None
        return spec.ipc * spec.dataset.classes if isinstance(spec, CondenseSpec) else 0


def _plugin_of(spec: CondenseSpec | PrepareSpec | AnalyzeSpec) -> Plugin:
    """What does the work of such a task."""
    if isinstance(spec, PrepareSpec):
        return registry.preparation(spec.method, spec.preparation)
    if isinstance(spec, AnalyzeSpec):
        return registry.load("metrics", spec.metric)  # type: ignore[no-any-return]
    return registry.load(registry.condenser_kind(spec.condenser), spec.condenser)  # type: ignore[no-any-return]


def generator_of(spec: GeneratorSpec) -> Generator:
    """Its transformer; DiT-XL/2 for one made elsewhere, whose size only its folder knows."""
    if spec.arch is None:
        return DIT_XL
    network, side = transformer(spec.arch.width, spec.arch.depth, spec.arch.patch), spec.dataset.resolution
    return Generator(network, side) if spec.vae is None else Generator(network, side // _VAE_SHRINKS, encoded_px=side)


def precision_of(task: Task) -> Precision:
    """Arithmetic of a task's passes."""
    spec: Any = task.spec
    training = getattr(spec, "training", None)
    found: Precision = getattr(training if training is not None else spec, "precision", "fp32")
    return found
