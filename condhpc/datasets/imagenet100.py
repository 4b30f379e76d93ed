"""ImageNet-100: the class list of CMC (Tian et al. 2020), labels in the order of that file, which is not sorted."""

from __future__ import annotations

from pathlib import Path

from condhpc.datasets.image_folder import ImageFolder
from condhpc.spec import DatasetInfo

INFO = DatasetInfo(
    classes=100,
    train_class_sizes=(732,),  # the smallest class of ImageNet-1K; most hold 1,300
    resolution=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    mirror=True,
    crop_scale_min=0.08,
    epochs=300,
    test_split="val",
    train_images=126_689,
)

PLUGIN = ImageFolder(INFO, Path(__file__).with_name("imagenet100.txt"))
