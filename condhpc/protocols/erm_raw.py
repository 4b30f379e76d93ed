"""Hard labels on images as they are: no crops, no mirroring, no mixing; what a set is worth without augmentation.

The recipe is that of `erm`, augmentation alone is off. With `erm` it makes the pair of the augmentation-robust score
(DD-Ranking, arXiv 2505.13300).
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Protocol

PLUGIN = Protocol(
    name="erm_raw",
    follows="condhpc",
    labels="hard",
    loss="ce",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01, momentum=0.9, beta2=0.999),
    cutmix_alpha=0.0,
    test="last",
    crop_scale_min=1.0,
    mirror=False,
)
