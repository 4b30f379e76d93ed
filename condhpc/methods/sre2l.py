"""SRe2L's recover stage (Yin, Xing, Shen, NeurIPS 2023, arXiv 2306.13092, §3.2).

For each ipc index and chunk of classes, one image per class starts as noise; each step crops, mirrors and rolls it, and
lowers the cross-entropy of a frozen backbone plus r_bn · Σ_l w_l (‖σ²_l − σ̂²_l‖₂ + ‖μ_l − μ̂_l‖₂) over the inputs of its
batch norms, w = 10 for the first. Adam (0.5, 0.9), cosine to 0, pixels clamped between black and white, last step kept.

Deviations: `fidelity = "paper"` rounds the final pixels, "code" truncates them. Rolls of up to 32 of 224 px shrink in
proportion where images are smaller. Mirrors only where the dataset allows. ImageNet's subsets have no published values
and take ImageNet-1K's; CIFAR-10 takes CIFAR-100's. Labels are a matter of protocols, so relabelling is not here.
With `init = "real"` this is the start of SRe2L++ (CV-DD, 2025) up to whole images in the place of patches.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.methods.base_matching import ChunkedMatching, ChunkedParams, recipe_of

if TYPE_CHECKING:
    from condhpc.methods.base import Work
    from condhpc.recovery import Recipe


class Sre2lParams(ChunkedParams, frozen=True):
    """Parameters of SRe2L."""


class Sre2l(ChunkedMatching):
    """Squeeze, recover: the root of methods that match batch-norm statistics."""

    Params = Sre2lParams

    def recipe(self, work: Work) -> Recipe:
        """Crops of the same scales at all steps."""
        from condhpc.unit_augment import scale_curriculum

        params = work.params
        return recipe_of(work, scale_curriculum("none", params.iterations, params.crop_scale_min, 1.0))


PLUGIN = Sre2l()
