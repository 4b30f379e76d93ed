"""ImageNette (fastai's imagenette2): 10 easy classes of ImageNet, labels in the order of their wnids.

Its `val` folder is 97 % ImageNet training images: a network trained on ImageNet-1K has seen them.
"""

from __future__ import annotations

from pathlib import Path

from condhpc.datasets.image_folder import ImageFolder
from condhpc.spec import DatasetInfo

INFO = DatasetInfo(
    classes=10,
    train_class_sizes=(963, 955, 993, 858, 941, 956, 961, 931, 951, 960),
    resolution=224,
    mean=(0.485, 0.456, 0.406),
    std=(0.229, 0.224, 0.225),
    mirror=True,
    crop_scale_min=0.08,
    epochs=1000,
    test_split="val",
)

PLUGIN = ImageFolder(INFO, Path(__file__).with_name("imagenette.txt"))
