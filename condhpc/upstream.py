"""Teachers, generators, embeddings, condensed sets and analyses: planned when something needs them, each once."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any, Literal

import msgspec

from condhpc import demands, registry
from condhpc.facts import Facts
from condhpc.planned import Encoded, Label, Sheet
from condhpc.recipe import EMBED_BATCH, embed_rows, generator_spec, teacher_specs
from condhpc.spec import (
    ENGINE_VERSION,
    AnalyzeSpec,
    CondenseSpec,
    DatasetSpec,
    EmbedSpec,
    Need,
    NetworkSpec,
    PrepareSpec,
    Stage,
)

if TYPE_CHECKING:
    from collections.abc import Mapping

    from condhpc.manifest import Manifest


class Upstream:
    """Adds to a sheet what an evaluation rests on, and gives the keys back."""

    def __init__(self, manifest: Manifest, facts: Mapping[str, Facts], sheet: Sheet) -> None:
        self._manifest = manifest
        self._roles = manifest.roles
        self._facts = facts
        self._sheet = sheet
        self.shaping: dict[str, set[str]] = {}
        """By dataset: keys of the teachers (and embeddings) that select, distil or label."""
        self.measuring: dict[tuple[str, str], set[str]] = {}
        """By (dataset, metric): keys of the teacher that encodes for it, and of what encoders made for it."""
        self.dataset = cache(self._dataset)
        self.teachers = cache(self._teachers)
        self.generator = cache(self._generator)
        self.embedding = cache(self._embedding)
        self.condensed = cache(self._condensed)
        self.analysis = cache(self._analysis)
        self._measured = cache(self._measure)

    def labelling(self, dataset: str, role: str | None) -> dict[str, str]:
        """Evaluation inputs `<role>.<i>` of a protocol's teachers."""
        if role is None:
            return {}
        found = self.teachers(dataset, role)
        self.shaping.setdefault(dataset, set()).update(found)
        return {f"{role}.{i}": key for i, key in enumerate(found)}

    def _dataset(self, name: str) -> DatasetSpec:
        return self._facts[name].spec()

    def _teachers(self, dataset: str, role: str) -> tuple[str, ...]:
        """Keys of the members of a role."""
        facts = self._facts[dataset]
        teacher = self._roles[role].on(facts.info.resolution)
        images = facts.images(teacher.split)
        specs = teacher_specs(teacher, self.dataset(dataset), facts.info, images, self._manifest.precision)
        found = []
        for i, spec in enumerate(specs):
            name = f"{role}.{i}" if teacher.committee else role
            label = Label(dataset=dataset, role=name)
            found.append(self._sheet.add("teacher", Encoded(spec), {}, _version("teacher", 1), label))
        return tuple(found)

    def _generator(self, dataset: str, name: str) -> str:
        """Key of a generator."""
        generator, facts = self._manifest.generators[name], self._facts[dataset]
        images = facts.images(generator.split) if generator.folder is None else 0
        spec = generator_spec(generator, self.dataset(dataset), facts.info, images, self._manifest.precision)
        return self._sheet.add(
            "generator", Encoded(spec), {}, _version("generator", 1), Label(dataset=dataset, role=name)
        )

    def _embedding(self, dataset: str, source: str, of: Literal["train", "test"]) -> tuple[str, ...]:
        """Keys of a split's embeddings, part by part; pixels are the same at every precision."""
        facts = self._facts[dataset]
        split = facts.info.train_split if of == "train" else facts.info.test_split
        inputs, network = self._encoder(dataset, source), self._network(source)
        found = []
        for rows in embed_rows(facts.images(split)):
            spec = EmbedSpec(
                dataset=self.dataset(dataset),
                split=split,
                encoder=_kind(source),
                network=network,
                batch=EMBED_BATCH,
                precision="fp32" if source == "pixels" else self._manifest.precision,
                rows=rows,
            )
            label = Label(dataset=dataset, role=source + (" on test" if of == "test" else ""))
            found.append(self._sheet.add("embed", Encoded(spec), inputs, _version("embed", 1), label))
        return tuple(found)

    def _network(self, source: str) -> NetworkSpec | None:
        name = demands.network_name(source)
        return None if name is None else self._manifest.encoders[name]

    def _encoder(self, dataset: str, source: str) -> dict[str, str]:
        need = Need(stage="embed", source=source)
        if (name := demands.generator_name(need)) is not None:
            return {"generator": self.generator(dataset, name)}
        role = demands.encoder_role(need)
        return {} if role is None else {"encoder": self.teachers(dataset, role)[0]}

    def _condensed(self, dataset: str, name: str, ipc: int, seed: int | None) -> str:
        """Key of one condensed set."""
        if name in self._manifest.external:
            return self._external(dataset, name)
        plugin = demands.condenser(self._manifest, name)
        params = plugin.settled(self._manifest.params_of(name, plugin.Params), self._facts[dataset].info, ipc)
        spec = CondenseSpec(
            dataset=self.dataset(dataset),
            kind="coreset" if registry.condenser_kind(name) == "coresets" else "method",
            condenser=name,
            params=_plain(params, plugin.needs(params)),
            ipc=ipc,
            seed=seed,
            resolution=self._facts[dataset].info.resolution,
            precision=self._manifest.precision,
        )
        needs = plugin.needs(params)
        inputs, encoders = self._inputs(dataset, needs)
        for role, need in needs.items():
            if need.stage == "prepare":
                inputs[role], before = self._prepared(dataset, name, need, ipc)
                encoders |= before
        self.shaping.setdefault(dataset, set()).update(inputs.values(), encoders.values())
        label = Label(dataset=dataset, condenser=name, ipc=ipc, set_seed=seed)
        return self._sheet.add("condense", Encoded(spec), inputs, _version("condense", plugin.version), label)

    def _prepared(self, dataset: str, method: str, need: Need, ipc: int) -> tuple[str, dict[str, str]]:
        """Key of a preparation, and all that it consumes."""
        plugin = registry.preparation(method, need.source)
        params = msgspec.convert(need.params, plugin.Params)
        needs = plugin.needs(params)
        spec = PrepareSpec(
            dataset=self.dataset(dataset),
            method=method,
            preparation=need.source,
            params=_plain(params, needs),
            ipc=ipc if need.per_ipc else None,
            resolution=self._facts[dataset].info.resolution,
            precision=self._manifest.precision,
        )
        inputs, encoders = self._inputs(dataset, needs)
        label = Label(dataset=dataset, condenser=method, ipc=spec.ipc, role=need.source)
        key = self._sheet.add("prepare", Encoded(spec), inputs, _version("prepare", plugin.version), label)
        return key, inputs | {f"{need.source} {role}": key for role, key in encoders.items()}

    def _external(self, dataset: str, name: str) -> str:
        """Key of a set made elsewhere: its content's digest, and how to read it."""
        block = self._manifest.external[name]
        spec = CondenseSpec(
            dataset=self.dataset(dataset),
            kind="external",
            condenser="external",
            params={
                "name": name,
                "format": block.format,
                "sha256": block.sha256,
                "class_folders": block.class_folders,
            },
            ipc=block.ipc,
            seed=None,
            resolution=block.resolution or self._facts[dataset].info.resolution,
            precision="fp32",
        )
        label = Label(dataset=dataset, condenser=name, ipc=block.ipc)
        return self._sheet.add("condense", Encoded(spec), {}, _version("condense", 1), label)

    def _inputs(self, dataset: str, needs: dict[str, Need]) -> tuple[dict[str, str], dict[str, str]]:
        """Inputs of a plug-in by role (of a committee, or of parts, `role.0`, `role.1`, …), and their encoders."""
        inputs: dict[str, str] = {}
        encoders: dict[str, str] = {}
        for role, need in needs.items():
            if need.stage == "generator":
                inputs[role] = self.generator(dataset, need.source)
                continue
            if need.stage == "embed":
                found = self.embedding(dataset, need.source, need.split)
                several = len(found) > 1
                encoders |= self._encoder(dataset, need.source)
            elif need.stage == "prepare":
                continue  # only condensers have them
            else:
                found = self.teachers(dataset, need.source)
                several = self._roles[need.source].committee
            inputs.update({f"{role}.{i}": key for i, key in enumerate(found)} if several else {role: found[0]})
        return inputs, encoders

    def _analysis(self, metric: str, set_key: str, label: Label) -> str:
        """Key of one measure of one set, whose label says which."""
        dataset = str(label.dataset)
        plugin = demands.metric(metric)
        spec, needed = self._measured(dataset, metric)
        inputs = {"set": set_key, **needed}
        named = msgspec.structs.replace(label, metric=metric)
        return self._sheet.add("analyze", spec, inputs, _version("analyze", plugin.version), named)

    def _measure(self, dataset: str, metric: str) -> tuple[Encoded, dict[str, str]]:
        plugin = demands.metric(metric)
        params = self._manifest.params_of(metric, plugin.Params)
        spec = AnalyzeSpec(
            dataset=self.dataset(dataset),
            metric=metric,
            params=_plain(params, plugin.needs(params)),
            precision=self._manifest.precision,
        )
        inputs, encoders = self._inputs(dataset, plugin.needs(params))
        self.measuring[dataset, metric] = {*inputs.values(), *encoders.values()}
        return Encoded(spec), {**inputs, **encoders}


def _kind(source: str) -> Literal["teacher", "network", "pixels", "generator"]:
    """What encodes, of an embedding's source."""
    kinds: dict[str, Literal["teacher", "network", "generator"]] = {
        "teacher": "teacher",
        "encoder": "network",
        "generator": "generator",
    }
    return kinds.get(source.partition(":")[0], "pixels")


def _version(stage: Stage, plugin: int) -> tuple[int, int]:
    return ENGINE_VERSION[stage], plugin


def _plain(params: Any, needs: Mapping[str, Need]) -> dict[str, Any]:
    """Parameters as a key holds them: what names a teacher role, or a generator, names the input role instead.

    Which one that is, the input's key says; a role's name in the manifest is a name for people.
    """
    inputs: dict[str, str] = {}
    for role, need in needs.items():
        if need.stage == "embed":
            inputs.setdefault(need.source, f"{need.source.partition(':')[0]}:{role}")
    inputs.pop("pixels", None)
    found: dict[str, Any] = msgspec.to_builtins(params)
    plain = {name: inputs.get(value, value) if isinstance(value, str) else value for name, value in found.items()}
    # A role may be called like anything, such as an architecture; only the parameter of the role's name is meant.
    named = [role for role, need in needs.items() if need.stage in {"teacher", "generator"} and role in found]
    return plain | {role: role for role in named}
