"""Native protocol of DELT (Shen et al., CVPR 2025): RDED's with RandAugment, smaller crops and no patch shuffling.

RandAugment is timm's `rand-m6-n2-mstd1.0`, crops keep a quarter of the area or more. Everything else is as in
`rded`, whose code it extends, without the second forward pass of the student. Deviations: the rate falls by steps;
the last epoch is the result, the best of every tenth stands beside it.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Probes, Protocol, RandAugment, Rule, TeacherLabels

PLUGIN = Protocol(
    name="delt",
    follows="code",
    labels="teacher",
    loss="kl",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01, stretch=2.0),
    cutmix_alpha=1.0,
    test="last",
    teacher_role="single",
    teacher=TeacherLabels(form="softmax", temperature=20.0),
    crop_scale_min=0.25,
    randaugment=RandAugment(operations=2, magnitude=6.0, magnitude_std=1.0),
    rules=(Rule(epochs=300),),
    probes=Probes(count=30),
    test_per_class=50,
)
