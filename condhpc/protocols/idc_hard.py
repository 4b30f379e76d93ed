"""Native protocol of IDC (Kim et al., ICML 2022), which Minimax and MGD3 follow: hard labels, SGD, instance norm.

SGD 0.01, momentum 0.9, weight decay 5e-4 on all parameters (above 100 classes 0.1 and 1e-4), batch 64 (128), rate × 0.2
after two and five sixths; 3,000, 2,000, 1,500 or 1,000 epochs up to ipc 1, 10, 50 and above; crops from half the area,
colour jitter 0.4, PCA lighting 0.1, CutMix α = 1 on every batch; norms are per image. Followed in its code. Deviations:
tests crop the centre out of a resize by 256/224, like all others here; the last epoch is the result, the best of 100
tests stands beside it. Students are ResNetAP-10, ConvNet-6 or ResNet-18.
"""

from __future__ import annotations

from condhpc.spec import Optimizer, Probes, Protocol, Rule

PLUGIN = Protocol(
    name="idc_hard",
    follows="code",
    labels="hard",
    loss="ce",
    optimizer=Optimizer(
        name="sgd",
        lr=0.01,
        weight_decay=5e-4,
        nesterov=False,
        decay_all=True,
        schedule="step",
        milestones=(2 / 3, 5 / 6),
        gamma=0.2,
    ),
    cutmix_alpha=1.0,
    test="last",
    crop_scale_min=0.5,
    color_jitter=0.4,
    lighting_std=0.1,
    rules=(
        Rule(classes_up_to=100, ipc_up_to=1, epochs=3000, batch=64),
        Rule(classes_up_to=100, ipc_up_to=10, epochs=2000, batch=64),
        Rule(classes_up_to=100, ipc_up_to=50, epochs=1500, batch=64),
        Rule(classes_up_to=100, epochs=1000, batch=64),
        Rule(ipc_up_to=1, epochs=3000, batch=128, lr=0.1, weight_decay=1e-4),
        Rule(ipc_up_to=10, epochs=2000, batch=128, lr=0.1, weight_decay=1e-4),
        Rule(ipc_up_to=50, epochs=1500, batch=128, lr=0.1, weight_decay=1e-4),
        Rule(epochs=1000, batch=128, lr=0.1, weight_decay=1e-4),
    ),
    student_norm="instance",
    probes=Probes(count=100),
)
