"""Labels from one frozen eval-mode teacher on every augmented batch: KL at T = 20 without the T² factor.

The recipe of the SRe2L family (AdamW 1e-3, weight decay 0.01, cosine to zero, CutMix α = 1; Yin et al., NeurIPS
2023), with the teacher asked online as in RDED (Sun et al., CVPR 2024). Deviations: optimiser steps are fixed per
dataset and ipc, no patch shuffling, the schedule ends at zero, and the last epoch is reported, not the best.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Protocol, TeacherLabels

PLUGIN = Protocol(
    name="single_teacher",
    follows="condhpc",
    labels="teacher",
    loss="kl",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01, momentum=0.9, beta2=0.999),
    cutmix_alpha=1.0,
    test="last",
    teacher_role="single",
    teacher=TeacherLabels(form="softmax", temperature=20.0),
)
