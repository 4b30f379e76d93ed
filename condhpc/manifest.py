"""The manifest: what to compute, as frozen typed values. All but the budget changes numbers; nothing else does."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from condhpc import budget
from condhpc.errors import InputError
from condhpc.manifest_check import check, decode_params
from condhpc.spec import DiffusionTransformer, FolderSpec, NetworkSpec, Positive, Precision, Value, WeightsSpec
from condhpc.typed_toml import Name, Reader, read

Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Axis = Annotated[tuple[Name, ...], Meta(min_length=1)]
Seeds = Annotated[tuple[Seed, ...], Meta(min_length=1)]


Epochs = Annotated[int, Meta(ge=1, le=1_000_000)]
Batch = Annotated[int, Meta(ge=2)]
"""Batch norm has no statistics of a single image."""


class Grid(Value, frozen=True):
    """One block: the Cartesian product of its axes. Blocks are united."""

    datasets: Axis
    condensers: Axis
    ipc: Annotated[tuple[Positive, ...], Meta(min_length=1)]
    protocols: Axis
    students: Axis = ("resnet18",)
    set_seeds: Seeds | None = None
    """None: each condenser's own default. A condenser that is not seeded is built once, whatever is said here."""
    student_seeds: Seeds = (0,)
    metrics: tuple[Name, ...] = ()


class Exclude(Value, frozen=True):
    """Cells to leave out: those that agree with every field given."""

    dataset: Name | None = None
    condenser: Name | None = None
    ipc: Positive | None = None
    protocol: Name | None = None
    student: Name | None = None


class Teacher(Value, frozen=True):
    """A role: one classifier, or a committee of several, of each dataset that needs it."""

    # NOTE: plain `str`, because msgspec 0.22 crashes on a union of an array and a string with a pattern.
    arch: Annotated[tuple[str, ...], Meta(min_length=1)] | str
    """One architecture, or a list: a committee."""
    epochs: Epochs | None = None
    """Passes over the training split. Required unless `weights` are given."""
    batch: Batch = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: Annotated[float, Meta(gt=0.0)] = 0.1
    """Peak learning rate; cosine to zero."""
    weight_decay: Annotated[float, Meta(ge=0.0)] = 5e-4
    seed: Seed | Annotated[tuple[Seed, ...], Meta(min_length=1)] = 0
    """One for all members, or one per member."""
    split: Name = "train"
    weights: WeightsSpec | tuple[WeightsSpec, ...] | None = None
    """Trained elsewhere: name (the profile maps it to a file) and SHA-256; a list has one per member."""

    @property
    def members(self) -> tuple[tuple[str, int, WeightsSpec | None], ...]:
        """(arch, seed, weights) of each member."""
        archs = self.arch if isinstance(self.arch, tuple) else (self.arch,)
        seeds = (self.seed,) * len(archs) if isinstance(self.seed, int) else self.seed
        given = self.weights if isinstance(self.weights, tuple) else (self.weights,) * len(archs)
        return tuple(zip(archs, seeds, given, strict=False))

    @property
    def committee(self) -> bool:
        """Whether `arch` is a list; a list of one is a committee of one."""
        return isinstance(self.arch, tuple)


class OwnDataset(Value, frozen=True):
    """A user's own folder under a name of their choice; the facts that presets know by themselves."""

    loader: Name
    """Dataset plug-in that reads it, for example `image_folder`."""
    resolution: Positive
    mean: tuple[float, float, float]
    std: tuple[Annotated[float, Meta(gt=0.0)], Annotated[float, Meta(gt=0.0)], Annotated[float, Meta(gt=0.0)]]
    mirror: bool
    crop_scale_min: Annotated[float, Meta(gt=0.0, le=1.0)]
    epochs: Positive = 300
    full_epochs: Positive = 200
    classes: tuple[str, ...] = ()
    """Class names in label order; empty: the folder's class folders, sorted by name."""
    train_split: Name = "train"
    test_split: Name = "test"


class TrainingOverride(Value, frozen=True):
    """How long protocols train on condensed sets of one dataset, in place of the dataset's own."""

    epochs: Epochs | None = None
    batch: Batch | None = None
    full_epochs: Epochs | None = None
    """Of the reference line `full_schedule`."""


class LabelChoice(Value, frozen=True):
    """Where teachers' labels come from, in place of each protocol's own choice."""

    source: Literal["online", "cached"] | None = None
    top_k: Positive | None = None
    """Largest entries kept of each cached label."""


class External(Value, frozen=True):
    """A condensed set made elsewhere. The profile maps its name to a path."""

    format: Literal["folder", "indices", "hdf5"]
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")]
    """As `condhpc data digest` prints it."""
    ipc: Positive
    resolution: Positive | None = None
    """Side of its images, pixels; None: the dataset's."""
    class_folders: Literal["names", "numbers"] = "names"
    gpu_h: Annotated[float, Meta(ge=0.0)] | None = None
    """Declared cost of its construction, like the next three; nothing of it enters a key."""
    gpu_type: str = ""
    cpu_h: Annotated[float, Meta(ge=0.0)] | None = None
    kwh: Annotated[float, Meta(ge=0.0)] | None = None
    source: str = ""
    """Where set and cost are from."""


class Encoder(NetworkSpec, frozen=True):
    """A network made elsewhere that turns images into vectors; `encoder:<name>` in parameters of plug-ins."""

    resolution: Positive = 224
    mean: tuple[float, float, float] = (0.485, 0.456, 0.406)
    std: tuple[Annotated[float, Meta(gt=0.0)], Annotated[float, Meta(gt=0.0)], Annotated[float, Meta(gt=0.0)]] = (
        0.229,
        0.224,
        0.225,
    )


class Generator(Value, frozen=True):
    """A class-conditional diffusion transformer: a diffusers folder made elsewhere, or trained here on the dataset."""

    folder: Name | None = None
    """Made elsewhere: the profile's `[weights]` maps this name to a diffusers folder."""
    sha256: Annotated[str, Meta(pattern="^[0-9a-f]{64}$")] | None = None
    """Of the folder behind `folder` or `vae`, as `condhpc data digest` prints it."""
    classes: Name | None = None
    """Dataset whose label order the folder's generator has, such as `imagenet1k`; None: the dataset's own."""
    pretrained_on: str = ""
    """What `folder` or `vae` saw before; shown beside results. Required with either."""
    steps: Annotated[int, Meta(ge=1, le=10_000_000)] | None = None
    """Of the training here. Required unless `folder` is given; all that follows belongs to it."""
    space: Literal["pixel", "latent"] = "pixel"
    vae: Name | None = None
    """Autoencoder of the latent space; the profile's `[weights]` maps this name to its diffusers folder."""
    patch: Positive = 2
    width: Positive = 192
    depth: Positive = 6
    heads: Positive = 3
    batch: Positive = 128
    lr: Annotated[float, Meta(gt=0.0)] = 3e-4
    ema_decay: Annotated[float, Meta(ge=0.0, lt=1.0)] = 0.999
    label_dropout: Annotated[float, Meta(ge=0.0, le=1.0)] = 0.1
    """Share of images that are seen without their label, for classifier-free guidance."""
    seed: Seed = 0
    split: Name = "train"

    @property
    def outside(self) -> FolderSpec | None:
        """The folder behind `folder` or `vae`."""
        name = self.folder or self.vae
        return None if name is None or self.sha256 is None else FolderSpec(name=name, sha256=self.sha256)

    @property
    def size(self) -> DiffusionTransformer:
        """Of the network that is trained here."""
        return DiffusionTransformer(patch=self.patch, width=self.width, depth=self.depth, heads=self.heads)


class Manifest(Value, frozen=True):
    """A whole manifest, checked: every name in it exists and every role that is used is defined."""

    name: str
    grids: tuple[Grid, ...]
    exclude: tuple[Exclude, ...]
    params: dict[str, Any]
    """By plug-in name: its `Params`, defaults filled in; only where a `[params.<name>]` block stands."""
    teachers: dict[str, Teacher]
    encoders: dict[str, Encoder]
    generators: dict[str, Generator]
    datasets: dict[str, OwnDataset]
    training: dict[str, TrainingOverride]
    external: dict[str, External]
    labels: LabelChoice
    precision: Precision
    budget: str
    """What its runs may be charged, as `budget.parse` reads it; empty: not bounded. No number depends on it."""
    file: str
    """Where it was read from, for messages."""
    text: str
    """Verbatim, for the run's folder."""

    @property
    def weights(self) -> tuple[str, ...]:
        """Names of all files of weights that it rests on."""
        members = (w.name for t in self.teachers.values() for _, _, w in t.members if w is not None)
        return tuple(dict.fromkeys((*members, *(encoder.weights for encoder in self.encoders.values()))))

    @property
    def folders(self) -> tuple[str, ...]:
        """Names of all folders of weights that it rests on."""
        return tuple(dict.fromkeys(g.outside.name for g in self.generators.values() if g.outside is not None))

    def params_of(self, name: str, wanted: type[Value]) -> Any:
        """Parameters of a plug-in: those given, else its defaults."""
        return self.params[name] if name in self.params else msgspec.convert({}, wanted)


class _File(Value, frozen=True):
    """Top-level keys beside the axes."""

    name: Name
    grid: tuple[Grid, ...] = ()
    exclude: tuple[Exclude, ...] = ()
    params: dict[Name, dict[str, Any]] = msgspec.field(default_factory=dict)
    teachers: dict[Name, Teacher] = msgspec.field(default_factory=dict)
    encoders: dict[Name, Encoder] = msgspec.field(default_factory=dict)
    generators: dict[Name, Generator] = msgspec.field(default_factory=dict)
    datasets: dict[Name, OwnDataset] = msgspec.field(default_factory=dict)
    training: dict[Name, TrainingOverride] = msgspec.field(default_factory=dict)
    external: dict[Name, External] = msgspec.field(default_factory=dict)
    labels: LabelChoice = LabelChoice()
    precision: Precision = "fp32"
    budget: str = ""


_AXES = tuple(f.name for f in msgspec.structs.fields(Grid))


def load(path: Path) -> Manifest:
    """Read and check a manifest.

    Raises ProblemsError with every problem: file, dotted key, what was found, what was expected, nearest name.
    """
    text, tables = read(path)
    return parse(text, tables, str(path))


def parse(text: str, tables: dict[str, Any], file: str) -> Manifest:
    """As `load`, from parsed tables."""
    reader = Reader(file)
    tables, top_level = _split_axes(tables)
    raw = reader.struct(tables, _File, "", _AXES)
    manifest = Manifest(
        name=raw.name,
        grids=_grids(reader, raw.grid, top_level, tables),
        exclude=raw.exclude,
        params=decode_params(reader, raw.params),
        teachers=raw.teachers,
        encoders=raw.encoders,
        generators=raw.generators,
        datasets=raw.datasets,
        training=raw.training,
        external=raw.external,
        labels=raw.labels,
        precision=raw.precision,
        budget=_budget(reader, raw.budget),
        file=file,
        text=text,
    )
    check(reader, manifest, grid_keys(tables, manifest))
    reader.finish()
    return manifest


def grid_keys(tables: dict[str, Any], manifest: Manifest) -> tuple[str, ...]:
    """Dotted prefix of each block: empty where the axes stand at the top level."""
    return tuple(f"grid[{i}]." if "grid" in tables else "" for i in range(len(manifest.grids)))


def _budget(reader: Reader, text: str) -> str:
    if text:
        try:
            budget.parse(text)
        except InputError as error:
            reader.problem("budget", str(error))
    return text


def _split_axes(tables: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Tables without the top-level axes, and those axes. `datasets` is an axis if a list, else own datasets."""
    axes = {k: v for k, v in tables.items() if k in _AXES and not (k == "datasets" and isinstance(v, dict))}
    return {k: v for k, v in tables.items() if k not in axes}, axes


def _grids(
    reader: Reader, blocks: tuple[Grid, ...], top_level: dict[str, Any], tables: dict[str, Any]
) -> tuple[Grid, ...]:
    if "grid" in tables:
        for key in top_level:
            reader.problem(key, "stands beside [[grid]] blocks; move it into each block that needs it")
        if tables["grid"] == []:
            reader.problem("grid", " = []: empty, expected at least one [[grid]] block")
        return blocks
    if not top_level:
        reader.problem("grid", f"missing, expected [[grid]] blocks or top-level axes ({', '.join(_AXES[:4])}, …)")
        return ()
    if "datasets" in tables:
        reader.problem("datasets", "is a table of your own datasets here; put the axes into a [[grid]] block")
        top_level = {**top_level, "datasets": list(tables["datasets"])}
    return (reader.struct(top_level, Grid, ""),)
