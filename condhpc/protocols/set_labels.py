"""Soft labels that came with a set made elsewhere: cross-entropy with them, mixed by area like the images.

The recipe is that of `erm`; the label source alone differs. For sets whose soft labels are part of what was
condensed. Sets without soft labels are refused.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Protocol

PLUGIN = Protocol(
    name="set_labels",
    follows="condhpc",
    labels="set",
    loss="ce",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01, momentum=0.9, beta2=0.999),
    cutmix_alpha=1.0,
    test="last",
)
