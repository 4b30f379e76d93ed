"""CIFAR-10 (Krizhevsky 2009) as image files: 32 px, 5,000 training and 1,000 test images of each of 10 classes."""

from __future__ import annotations

from condhpc.datasets.image_folder import ImageFolder
from condhpc.spec import DatasetInfo

INFO = DatasetInfo(
    classes=10,
    train_class_sizes=(5000,) * 10,
    resolution=32,
    mean=(0.4914, 0.4822, 0.4465),
    std=(0.2470, 0.2435, 0.2616),
    mirror=True,
    crop_scale_min=0.5,
    epochs=300,
    test_split="test",
)
CLASS_NAMES = ("airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck")

PLUGIN = ImageFolder(INFO, CLASS_NAMES)
