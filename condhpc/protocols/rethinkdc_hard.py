"""Native protocol of Rethink-DC, hard labels (arXiv 2502.06434): cross-entropy, no mixing, batch 128, 300 epochs.

AdamW 1e-3, weight decay 0.01, cosine to zero, crops from 0.08 of the area, last epoch. Followed in its code.
Deviation: the rate falls by steps, not by epochs.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Protocol, Rule

PLUGIN = Protocol(
    name="rethinkdc_hard",
    follows="code",
    labels="hard",
    loss="ce",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01),
    cutmix_alpha=0.0,
    test="last",
    crop_scale_min=0.08,
    rules=(Rule(epochs=300, batch=128),),
)
