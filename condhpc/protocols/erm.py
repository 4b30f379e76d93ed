"""Hard-label training: every image counts with its own label, and CutMix mixes labels by area.

The recipe is that of the SRe2L family (AdamW 1e-3, weight decay 0.01, cosine to zero, CutMix α = 1; Yin et al.,
NeurIPS 2023), as in the hard arm of Rethink-DC. Deviations: optimiser steps are fixed per dataset and ipc instead
of epochs at batch 1024 or 128, Rethink-DC's hard arm does not mix, and the last epoch is reported, not the best.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Protocol

PLUGIN = Protocol(
    name="erm",
    follows="condhpc",
    labels="hard",
    loss="ce",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01, momentum=0.9, beta2=0.999),
    cutmix_alpha=1.0,
    test="last",
)
