"""What is known of each dataset that a manifest names: from its files where they are here, else from its preset."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from condhpc import registry
from condhpc.errors import InputError, ProblemsError
from condhpc.spec import DatasetInfo, DatasetSpec

if TYPE_CHECKING:
    from condhpc.datasets.base import Dataset
    from condhpc.file_index import Index, SplitIndex
    from condhpc.manifest import Manifest, OwnDataset
    from condhpc.profile import Profile

Lister = Callable[[str, "Path | None", "Sequence[str]"], "Index"]
"""Loader, folder and splits (empty: the loader's own) to the index of the files; raises InputError."""


@dataclass(frozen=True)
class Facts:
    """One dataset under the name that manifests use."""

    name: str
    loader: str
    info: DatasetInfo
    """`classes` and `train_class_sizes` are those of the files where these are here."""
    folder: Path | None
    """Its folder, or its pack; None for data that ships in a package."""
    index: Index | None
    """None when the files are not on this machine."""
    digest: str
    """Of the index; `absent:<name>` when the files are not on this machine, which makes keys provisional."""
    warnings: tuple[str, ...] = ()

    @property
    def class_sizes(self) -> tuple[int, ...]:
        """Training images per class, label order; empty where nothing is known."""
        sizes = self.info.train_class_sizes
        return sizes * self.info.classes if len(sizes) == 1 else sizes

    def images(self, split: str) -> int:
        """Images in a split; a preset's figure for any split when the files are not here (1 where it has none)."""
        if self.index is not None:
            return len(self.index.splits[split].labels)
        return self.info.train_images or max(sum(self.class_sizes), 1)

    def spec(self) -> DatasetSpec:
        """The part that enters keys."""
        return DatasetSpec(
            name=self.name,
            loader=self.loader,
            index=self.digest,
            classes=self.info.classes,
            resolution=self.info.resolution,
            mean=self.info.mean,
            std=self.info.std,
            train_split=self.info.train_split,
            test_split=self.info.test_split,
        )


def list_files(loader: str, folder: Path | None, splits: Sequence[str]) -> Index:
    """The index by looking at every file; raises InputError."""
    plugin: Dataset = registry.load("datasets", loader)
    return plugin.index(folder, splits)


def gather(manifest: Manifest, profile: Profile, lister: Lister = list_files) -> dict[str, Facts]:
    """Facts of every dataset on an axis of the manifest.

    A folder that is not here gives a warning; raises ProblemsError for one that is here and cannot be used.
    """
    found: dict[str, Facts] = {}
    problems: list[str] = []
    for name in dict.fromkeys(d for grid in manifest.grids for d in grid.datasets):
        try:
            found[name] = of(name, manifest.datasets.get(name), profile, lister)
        except InputError as error:
            found_here = error.problems if isinstance(error, ProblemsError) else (str(error),)
            problems += [f"dataset '{name}': {problem}" for problem in found_here]
    if problems:
        raise ProblemsError(problems)
    return found


def require(facts: Mapping[str, Facts]) -> None:
    """Raise ProblemsError unless the files of every dataset are on this machine."""
    missing = [w for f in facts.values() if f.index is None for w in f.warnings]
    if missing:
        raise ProblemsError(missing)


def of(name: str, own: OwnDataset | None, profile: Profile, lister: Lister = list_files) -> Facts:
    """Facts of one dataset: a preset, or with `own` the one that a manifest describes. Raises InputError."""
    loader = own.loader if own is not None else name
    plugin: Dataset = registry.load("datasets", loader)
    folder = profile.data.get(name)
    info = _own_info(own) if own is not None else plugin.INFO
    if info is None:
        raise InputError(f"'{loader}' is a loader; describe your folder in a [datasets.<name>] block")
    try:
        index, warning = _index(partial(lister, loader), folder, info if own is not None else None), ""
    except _AbsentError as absent:
        index, warning = None, _absent_warning(name, str(absent), profile)
    if index is None:
        if own is not None and not own.classes:
            raise InputError(f"{warning}. Without the files, `classes` must list the class names")
        return Facts(name, loader, info, folder, None, f"absent:{name}", (warning,))
    if own is not None and own.classes:
        index = relabelled(index, own.classes)
    remarks = tuple(f"dataset '{name}': {remark}" for remark in plugin.remarks(index))
    return Facts(name, loader, _sized(info, index), folder, index, index.digest(), remarks)


class _AbsentError(Exception):
    """The files are not on this machine, and why one thinks so."""


def _index(
    listed: Callable[[Path | None, Sequence[str]], Index], folder: Path | None, own: DatasetInfo | None
) -> Index:
    """The index of the files; without a folder the loader says whether it needs one. Raises _AbsentError."""
    splits = () if own is None else (own.train_split, own.test_split)
    if folder is not None:
        if not folder.exists():
            raise _AbsentError(f"its folder {folder} is not on this machine")
        return listed(folder, splits)
    try:
        return listed(None, splits)
    except InputError as error:
        raise _AbsentError(str(error)) from error


def _absent_warning(name: str, why: str, profile: Profile) -> str:
    hint = f"to submit, the folder must be here and stand as `{name}` under [data] in profile '{profile.name}'"
    return f"dataset '{name}': {why}; {hint}"


def relabelled(index: Index, classes: tuple[str, ...]) -> Index:
    """The index restricted to the named classes, labels in that order.

    Raises InputError for a class that has no files.
    """
    missing = [c for c in classes if c not in index.class_names]
    if missing:
        raise InputError(f"classes {missing[:5]} are listed but not in the folder; it has {index.class_names[:5]}…")
    label_of = {index.class_names.index(c): label for label, c in enumerate(classes)}
    splits = {name: _restricted(split, label_of) for name, split in index.splits.items()}
    return msgspec.structs.replace(index, class_names=classes, splits=splits)


def _restricted(split: SplitIndex, label_of: dict[int, int]) -> SplitIndex:
    kept = [i for i, label in enumerate(split.labels) if label in label_of]
    return msgspec.structs.replace(
        split,
        paths=tuple(split.paths[i] for i in kept),
        labels=tuple(label_of[split.labels[i]] for i in kept),
        sizes=tuple(split.sizes[i] for i in kept),
    )


def _own_info(own: OwnDataset) -> DatasetInfo:
    """Facts from a `[datasets.<name>]` block, before its files are seen."""
    return DatasetInfo(
        classes=max(len(own.classes), 1),
        train_class_sizes=(),
        resolution=own.resolution,
        mean=own.mean,
        std=own.std,
        mirror=own.mirror,
        crop_scale_min=own.crop_scale_min,
        epochs=own.epochs,
        full_epochs=own.full_epochs,
        test_split=own.test_split,
        train_split=own.train_split,
    )


def _sized(info: DatasetInfo, index: Index) -> DatasetInfo:
    """Facts with the class count and sizes that the files have."""
    for split in (info.train_split, info.test_split):
        if split not in index.splits:
            raise InputError(f"has no split '{split}', only {sorted(index.splits)}")
    counts = Counter(index.splits[info.train_split].labels)
    classes = len(index.class_names)
    sizes = tuple(counts[label] for label in range(classes))
    return msgspec.structs.replace(info, classes=classes, train_class_sizes=sizes)
