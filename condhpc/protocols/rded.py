"""Native protocol of RDED (Sun et al., CVPR 2024): a teacher of the student's kind asked online, patches shuffled.

Batch 10, 50 or 100 by ipc, doubled from 100 classes on, 300 epochs; AdamW 1e-3, weight decay 0.01; the cosine ends
at half the rate; 2 × 2 patches are shuffled, crops keep half the area or more; CutMix α = 1; KL at T = 20 without T².
Its code is followed: before each step the student also runs in train mode on the unmixed batch, which moves its
batch-norm statistics, and the first 50 test images of each class count. Give the role `single` the student's
architecture. Deviations: the rate falls by steps; the last epoch is the result, the best of every tenth of the last
fifth stands beside it.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Probes, Protocol, Rule, TeacherLabels

PLUGIN = Protocol(
    name="rded",
    follows="code",
    labels="teacher",
    loss="kl",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01, stretch=2.0),
    cutmix_alpha=1.0,
    test="last",
    teacher_role="single",
    teacher=TeacherLabels(form="softmax", temperature=20.0),
    crop_scale_min=0.5,
    patch_shuffle=2,
    rules=(Rule(epochs=300),),
    extra_forward=True,
    probes=Probes(count=6, after=0.8),
    test_per_class=50,
)
