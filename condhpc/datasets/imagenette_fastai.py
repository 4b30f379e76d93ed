"""ImageNette with the split of fastai's archive, whose `val` is almost wholly made of ImageNet-1K training images.

For comparison with numbers that were published on it; a network trained on ImageNet-1K has seen this `val`.
"""

from __future__ import annotations

import msgspec

from condhpc.datasets import imagenette
from condhpc.datasets.base import Index
from condhpc.datasets.image_folder import ImageFolder

INFO = msgspec.structs.replace(imagenette.INFO, train_class_sizes=(963, 955, 993, 858, 941, 956, 961, 931, 951, 960))


class ImagenetteFastai(ImageFolder):
    """The folders as they are."""

    def remarks(self, index: Index) -> tuple[str, ...]:
        """How far the split is contaminated, by file names."""
        train, test = index.splits[INFO.train_split].paths, index.splits[INFO.test_split].paths
        seen, leaked = sum(map(imagenette.is_training, test)), sum(map(imagenette.is_validation, train))
        if not seen + leaked:
            return ()
        text = (
            f"{seen:,} of {len(test):,} images in 'val' are ImageNet-1K training images, {leaked:,} of {len(train):,} "
            "in 'train' are ImageNet-1K validation images; judge with no network that saw ImageNet-1K, or take the "
            "clean split 'imagenette'"
        )
        return (text,)


PLUGIN = ImagenetteFastai(INFO, imagenette.CLASSES)
