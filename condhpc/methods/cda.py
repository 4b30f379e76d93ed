"""CDA: SRe2L with crops that begin large (Yin & Shen, TMLR 2024, arXiv 2311.18838, §3).

The smallest area share of crops falls from 1 to `crop_scale_min` at `milestone` · iterations: half a cosine, a line, or
a step there. All else is SRe2L's.

Deviations: those of `sre2l`. Defaults are those for ImageNet-1K; the paper's runs on smaller images are not replayed:
they take SRe2L's values.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

from msgspec import Meta

from condhpc.methods.base_matching import ChunkedMatching, ChunkedParams, recipe_of

if TYPE_CHECKING:
    from condhpc.methods.base import Work
    from condhpc.recovery import Recipe


class CdaParams(ChunkedParams, frozen=True):
    """Parameters of CDA."""

    curriculum: Annotated[
        Literal["cosine", "linear", "step"], Meta(description="how the smallest crop shrinks up to the milestone")
    ] = "cosine"
    milestone: Annotated[
        float, Meta(ge=0.0, le=1.0, description="share of the iterations after which it is smallest")
    ] = 1.0


class Cda(ChunkedMatching):
    """Curriculum data augmentation: from whole images to small crops."""

    Params = CdaParams

    def recipe(self, work: Work) -> Recipe:
        """Crops that shrink."""
        from condhpc.unit_augment import scale_curriculum

        params = work.params
        scales_S = scale_curriculum(params.curriculum, params.iterations, params.crop_scale_min, params.milestone)
        return recipe_of(work, scales_S)


PLUGIN = Cda()
