"""ImageNet-1K (ILSVRC 2012): 1,000 classes in the order of their wnids, 732 to 1,300 training images each."""

from __future__ import annotations

from pathlib import Path

from condhpc.datasets.image_folder import ImageFolder
from condhpc.spec import DatasetInfo

INFO = DatasetInfo(
    classes=1000,
    train_class_sizes=(732,),
    resolution=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    mirror=True,
    crop_scale_min=0.08,
    epochs=300,
    full_epochs=100,
    test_split="val",
    train_images=1_281_167,
)

PLUGIN = ImageFolder(INFO, Path(__file__).with_name("imagenet1k.txt"))
