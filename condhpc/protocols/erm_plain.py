"""Hard labels without mixing: what CutMix does to `erm`, and the arm that is nearest to ordinary training."""

from __future__ import annotations

from condhpc.spec import Optimizer, Protocol

PLUGIN = Protocol(
    name="erm_plain",
    follows="condhpc",
    labels="hard",
    loss="ce",
    optimizer=Optimizer(name="adamw", lr=1e-3, weight_decay=0.01, momentum=0.9, beta2=0.999),
    cutmix_alpha=0.0,
    test="last",
)
