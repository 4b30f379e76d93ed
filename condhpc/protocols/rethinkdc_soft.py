"""Native protocol of Rethink-DC, soft labels (arXiv 2502.06434): one teacher online, batch 128, 300 epochs, last epoch.

AdamW 1e-3, weight decay 0.01, cosine to zero, crops from 0.08 of the area, CutMix α = 1, KL at T = 20 without T².
Followed in its code. Deviation: the rate falls by steps, not by epochs.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Protocol, Rule, TeacherLabels

PLUGIN = Protocol(
    name="rethinkdc_soft",
    follows="code",
    labels="teacher",
    loss="kl",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01),
    cutmix_alpha=1.0,
    test="last",
    teacher_role="single",
    teacher=TeacherLabels(form="softmax", temperature=20.0),
    crop_scale_min=0.08,
    rules=(Rule(epochs=300, batch=128),),
)
