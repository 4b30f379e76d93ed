"""Native protocol of SRe2L (Yin et al., NeurIPS 2023): one teacher's labels kept in a file, batch 1024, 300 epochs.

AdamW 1e-3, weight decay 0.01 but on norms and biases, cosine to zero, random resized crops from 0.08 of the area,
CutMix α = 1, KL at T = 20 without T². Followed in its code: a batch passes in two halves, each with its own batch
statistics. Deviations: the rate falls by steps, not by epochs; the last short batch of an epoch is trained on; the last
epoch is the result, the best of every tenth stands beside it.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Probes, Protocol, Rule, TeacherLabels

PLUGIN = Protocol(
    name="sre2l",
    follows="code",
    labels="teacher",
    loss="kl",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01),
    cutmix_alpha=1.0,
    test="last",
    teacher_role="single",
    teacher=TeacherLabels(form="softmax", temperature=20.0),
    source="cached",
    crop_scale_min=0.08,
    rules=(Rule(epochs=300, batch=1024),),
    accumulate=2,
    probes=Probes(count=30),
)
