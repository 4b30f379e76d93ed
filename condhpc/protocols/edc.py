"""Native protocol of EDC on ImageNet-1K (Shao et al., NeurIPS 2024): mean logits of four teachers, averaged weights.

Labels are kept in a file; batch 100, 300 epochs, AdamW 1e-3, weight decay 0.01, the cosine ends at half the rate;
crops from half the area, 2 × 2 patches shuffled, CutMix α = 1; MSE + 0.025 CE. Its code is followed: the average of
weights (decay 0.99) is tested, and batch-norm statistics are not averaged. Deviations: the rate falls by steps; of
mixed images the hard part counts both labels by area; the last epoch is the result, the best of every 30th beside it.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Probes, Protocol, Rule, TeacherLabels

PLUGIN = Protocol(
    name="edc",
    follows="code",
    labels="teacher",
    loss="mse",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01, stretch=2.0),
    cutmix_alpha=1.0,
    test="last",
    teacher_role="edc_committee",
    committee=("resnet18", "mobilenet_v2", "shufflenet_v2_x0_5", "alexnet"),
    teacher=TeacherLabels(form="logits"),
    source="cached",
    hard_weight=0.025,
    crop_scale_min=0.5,
    patch_shuffle=2,
    rules=(Rule(epochs=300, batch=100),),
    ema_decay=0.99,
    probes=Probes(count=10),
)
