"""Native protocol of G-VBSM (Shao et al., CVPR 2024): four teachers' logits brought to equal norms, MSE + 0.1 CE.

Labels are kept in a file; batch 1024, 300 epochs, AdamW 1e-3, weight decay 0.01, cosine to zero, crops from 0.08 of
the area, CutMix α = 1. Followed in its code. Deviations: the rate falls by steps; of mixed images the hard part
counts both labels by area; the last epoch is the result, the best of every tenth stands beside it.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Probes, Protocol, Rule, TeacherLabels

PLUGIN = Protocol(
    name="gvbsm",
    follows="code",
    labels="teacher",
    loss="mse",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01),
    cutmix_alpha=1.0,
    test="last",
    teacher_role="gvbsm_committee",
    committee=("resnet18", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x0_5"),
    teacher=TeacherLabels(form="logits", equal_norms=True),
    source="cached",
    hard_weight=0.1,
    crop_scale_min=0.08,
    rules=(Rule(epochs=300, batch=1024),),
    probes=Probes(count=30),
)
