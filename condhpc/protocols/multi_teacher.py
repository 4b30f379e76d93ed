"""Labels from a fixed committee of four frozen eval-mode teachers: the mean of their softmax at T = 20.

The recipe is that of `single_teacher`; the label source alone differs. Four architectures, as in the
multi-teacher line of the field (G-VBSM, EDC, CV-DD, FADRM+); which four is fixed, so that nobody can choose them by
the result: ResNet-18, MobileNetV2, ShuffleNetV2 ×1.0, DenseNet-121.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Protocol, TeacherLabels

PLUGIN = Protocol(
    name="multi_teacher",
    follows="condhpc",
    labels="teacher",
    loss="kl",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01, momentum=0.9, beta2=0.999),
    cutmix_alpha=1.0,
    test="last",
    teacher_role="committee",
    committee=("resnet18", "mobilenet_v2", "shufflenet_v2_x1_0", "densenet121"),
    teacher=TeacherLabels(form="softmax", temperature=20.0),
)
