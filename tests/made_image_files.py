"""Small folders of image files, as downloads leave them."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from condhpc import registry

WNIDS = registry.load("datasets", "imagenette").class_names()


def smooth(width: int, height: int, seed: int = 0) -> Image.Image:
    """A random RGB image without hard edges."""
    coarse = np.random.default_rng(seed).integers(0, 256, (4, 5, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def image_folder(
    home: Path, splits: Sequence[str] = ("train", "test"), classes: Sequence[str] = ("b", "a"), each: int = 3
) -> Path:
    """`<split>/<class>/<i>.jpg` of different sizes, none smaller than 16 pixels."""
    seed = 0
    for split in splits:
        for name in classes:
            (home / split / name).mkdir(parents=True)
            for i in range(each):
                smooth(16 + seed % 7, 17 + seed % 5, seed).save(home / split / name / f"{i}.jpg", quality=90)
                seed += 1
    return home


def imagenette2(home: Path) -> Path:
    """The archive's structure with few images: both folders hold ImageNet's training and validation images."""
    for label, wnid in enumerate(WNIDS):
        files = [f"train/{wnid}/{wnid}_{i}.JPEG" for i in (12, 3)]
        files += [f"val/{wnid}/{wnid}_100.JPEG", f"train/{wnid}/ILSVRC2012_val_{label:08}.JPEG"]
        files += [f"val/{wnid}/ILSVRC2012_val_{50 + label:08}.JPEG"]
        for i, name in enumerate(files):
            (home / name).parent.mkdir(parents=True, exist_ok=True)
            smooth(18, 17, 10 * label + i).save(home / name)
    return home


def settle(home: Path) -> Path:
    """Set the times of all folders back, as if nothing had changed for a while."""
    for folder in [home, *(path for path in home.rglob("*") if path.is_dir())]:
        held = folder.stat()
        os.utime(folder, ns=(held.st_atime_ns, held.st_mtime_ns - 60 * 10**9))
    return home
