"""The protocol `erm`."""

from __future__ import annotations

import msgspec

from condhpc import registry


def test_differs_from_single_teacher_in_the_label_source_alone() -> None:
    """What the comparison of protocols rests on: name, label source and teacher role differ, nothing else."""
    erm, single = (msgspec.to_builtins(registry.load("protocols", name)) for name in ("erm", "single_teacher"))
    assert {field for field in erm if erm[field] != single[field]} == {"name", "labels", "teacher_role"}


def test_is_hard_labels_with_the_published_recipe() -> None:
    """AdamW 1e-3, betas 0.9 and 0.999, decay 0.01, CutMix α = 1, no smoothing, last epoch."""
    found = registry.load("protocols", "erm")
    assert (found.labels, found.teacher_role, found.label_smoothing, found.test) == ("hard", None, 0.0, "last")
    recipe = found.optimizer
    assert (recipe.name, recipe.lr, recipe.momentum, recipe.beta2) == ("adamw", 0.001, 0.9, 0.999)
    assert (recipe.weight_decay, found.cutmix_alpha) == (0.01, 1.0)
