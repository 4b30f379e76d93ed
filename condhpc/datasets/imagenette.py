"""ImageNette, clean split (fastai's imagenette2): ImageNet-1K's training images train, its validation images test.

The archive's own folders mix the two, so the split is rebuilt from file names over both: `n########_*` are ImageNet-1K
training images (12,894), `ILSVRC2012_val_*` validation images (500, 50 of each class). `imagenette_fastai` is the
archive's own split.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from condhpc.datasets.base import Index, SplitIndex
from condhpc.datasets.image_folder import ImageFolder
from condhpc.errors import InputError, ProblemsError, first_few
from condhpc.spec import DatasetInfo

INFO = DatasetInfo(
    classes=10,
    train_class_sizes=(1300, 1300, 1300, 1194, 1300, 1300, 1300, 1300, 1300, 1300),
    resolution=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    mirror=True,
    crop_scale_min=0.08,
    epochs=1000,
    test_split="val",
)
CLASSES = Path(__file__).with_name("imagenette.txt")
FOLDERS = ("train", "val")
"""Of the archive."""
_TRAINING = re.compile(r"n\d{8}_\d+\.\w+")
_VALIDATION = re.compile(r"ILSVRC2012_val_\d{8}\.\w+")
_SHOWN = 5


class Imagenette(ImageFolder):
    """The archive's images under the split that their names tell."""

    version = 2

    def index(self, folder: Path | None, splits: Sequence[str] = ()) -> Index:
        """As `ImageFolder.index` over both folders; raises ProblemsError for file names of neither kind, too."""
        unknown = sorted(set(splits) - set(FOLDERS))
        if unknown:
            raise InputError(f"has no split {unknown}, only {list(FOLDERS)}, which are made from file names")
        listed = super().index(folder, FOLDERS)
        rows = [row for split in listed.splits.values() for row in _rows(split)]
        strangers = [path for path, _, _ in rows if not (is_training(path) or is_validation(path))]
        if strangers:
            raise ProblemsError([_complaint(folder, strangers)])
        found = {
            "train": _split(row for row in rows if is_training(row[0])),
            "val": _split(row for row in rows if is_validation(row[0])),
        }
        _require_classes(folder, listed.class_names, found)
        content = f"imagenette {self.version}, image_folder {ImageFolder.version}"
        return msgspec.structs.replace(listed, splits=found, content=content)

    def watched(self, folder: Path, splits: Sequence[str] = ()) -> list[Path]:
        """Both folders of the archive, whatever split is asked for."""
        del splits
        return super().watched(folder, FOLDERS)


def is_training(path: str) -> bool:
    """Whether a file name is that of an ImageNet-1K training image."""
    return _TRAINING.fullmatch(path.rpartition("/")[2]) is not None


def is_validation(path: str) -> bool:
    """Whether a file name is that of an ImageNet-1K validation image."""
    return _VALIDATION.fullmatch(path.rpartition("/")[2]) is not None


def _complaint(folder: Path | None, strangers: list[str]) -> str:
    return (
        f"{folder}: not the file names of ImageNet (n########_*.JPEG or ILSVRC2012_val_########.JPEG), by which this "
        f"split is made: {first_few(strangers, _SHOWN)}; unpack imagenette2 anew, or name another dataset"
    )


def _rows(split: SplitIndex) -> Iterator[tuple[str, int, int]]:
    return zip(split.paths, split.labels, split.sizes, strict=True)


def _split(rows: Iterable[tuple[str, int, int]]) -> SplitIndex:
    paths, labels, sizes = zip(*found, strict=True) if (found := sorted(rows)) else ((), (), ())
    return SplitIndex(paths=paths, labels=labels, sizes=sizes)


def _require_classes(folder: Path | None, classes: tuple[str, ...], splits: dict[str, SplitIndex]) -> None:
    """Every class needs an image of each kind, wherever it lies."""
    kinds = {"train": "training", "val": "validation"}
    problems = [
        f"{folder}: no ImageNet {kinds[split]} image of class {classes[label]}; unpack imagenette2 whole"
        for split, held in splits.items()
        for label in sorted(set(range(len(classes))) - set(held.labels))
    ]
    if problems:
        raise ProblemsError(problems)


PLUGIN = Imagenette(INFO, CLASSES)
