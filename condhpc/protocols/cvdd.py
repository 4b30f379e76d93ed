"""Native protocol of CV-DD (2025): five teachers normalise by what they label; weighted mean of their logits.

Labels are kept in a file; batches of 16 (10 up to ten classes), seen in halves by teachers and student alike, each half
with its own batch statistics; 300 epochs, AdamW 1e-3 (5e-4 up to ten classes), weight decay 0.01, cosine to zero, crops
from 0.08 of the area, CutMix α = 1, KL at T = 20. Weights are softmax(prior / 10) of its code's priors for
ImageNet-1K, up to ten classes for ImageNette. Deviations: published runs tune the end of the cosine per cell on test
data, this one ends at zero always; up to ten classes they train batches of 16 on labels of batches of 10, and some
large students at 1e-3; teachers' dropout is off; the last epoch is the result, the best of every tenth beside it.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Probes, Protocol, Rule, TeacherLabels

PLUGIN = Protocol(
    name="cvdd",
    follows="code",
    labels="teacher",
    loss="kl",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01),
    cutmix_alpha=1.0,
    test="last",
    teacher_role="cvdd_committee",
    committee=("resnet18", "resnet50", "shufflenet_v2_x1_0", "mobilenet_v2", "densenet121"),
    teacher=TeacherLabels(
        form="softmax_of_logits",
        temperature=20.0,
        batch_statistics=True,
        group=8,
        weights=(0.412813, 0.100785, 0.279498, 0.121875, 0.085029),
    ),
    source="cached",
    crop_scale_min=0.08,
    rules=(
        Rule(
            classes_up_to=10,
            epochs=300,
            batch=10,
            lr=5e-4,
            teacher_group=5,
            teacher_weights=(0.309422, 0.109367, 0.183958, 0.133581, 0.263672),
        ),
        Rule(epochs=300, batch=16),
    ),
    accumulate=2,
    probes=Probes(count=30),
)
