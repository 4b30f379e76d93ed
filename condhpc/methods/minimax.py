"""Minimax Diffusion: a generator tuned to be representative and diverse (Gu et al., CVPR 2024, arXiv 2311.15529, §3).

Per phase of classes a DiT is tuned on their real images: biases, norms, class embeddings and added scales alone
(DiffFit); to the diffusion loss come λ_r (1 − cos of x̂0 to the least similar of the class's last real latents) and
λ_d (cos of x̂0 to the most similar of the class's last predictions). Images are then drawn with the average of weights.

Left to the text by the paper, and how it is here: both terms are means over a batch's images of a class, then over its
classes, and begin when a class has memories; latents are the autoencoder's modes, not samples; each added scale is one
number; images are resized where the dataset's size is not the generator's; real ones, then cut without a margin, are
encoded once for all epochs. `fidelity = "code"` lets the single extreme pair of a class alone count, and guides the
first three latent channels alone, as the sampler of DiT does.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

import msgspec
from msgspec import Meta

from condhpc.cost_model import TRAINED, Effort, Passes
from condhpc.methods.base import Group, Method, Unit, Work
from condhpc.spec import CondenseSpec, DatasetInfo, Need, Positive, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.cost_model import Sources

_MANY_CLASSES = 1000
_DIT_CHANNELS = 3


class MinimaxParams(Value, frozen=True):
    """Parameters of Minimax Diffusion; the paper's own for ImageNet's subsets."""

    generator: Annotated[str, Meta(min_length=1, description="[generators.<name>] that is tuned")] = "dit"
    phase_classes: Annotated[Positive | None, Meta(description="classes of a phase; None: 20 of 1,000, else 10")] = None
    epochs: Annotated[int, Meta(ge=1, description="passes over a phase's images")] = 8
    batch: Annotated[int, Meta(ge=1, description="images of a step")] = 8
    lr: Annotated[float, Meta(gt=0.0, description="of AdamW, constant, without decay")] = 1e-3
    representative: Annotated[float, Meta(ge=0.0, description="λ_r, weight of the pull to real images")] = 0.002
    diverse: Annotated[float, Meta(ge=0.0, description="λ_d, weight of the push from earlier predictions")] = 0.008
    memory: Annotated[int, Meta(ge=1, description="latents, and predictions, that a class remembers")] = 64
    ema_decay: Annotated[float, Meta(ge=0.0, lt=1.0, description="of the average that draws; 0: weights")] = 0.9999
    label_dropout: Annotated[float, Meta(ge=0.0, le=1.0, description="share of images without label")] = 0.1
    mirror: Annotated[bool | None, Meta(description="mirror real images; None: as the dataset allows")] = None
    steps: Annotated[int, Meta(ge=2, le=1000, description="steps from noise to image")] = 50
    guidance: Annotated[float, Meta(ge=1.0, description="scale of classifier-free guidance; 1: none")] = 4.0
    sample_batch: Annotated[int, Meta(ge=1, description="images of a phase that share a forward pass")] = 16
    fidelity: Annotated[Literal["paper", "code"], Meta(description="whose rule where the two differ")] = "paper"


class Minimax(Method):
    """Tunes a generator phase by phase, then draws; image k of a class is the same at every ipc."""

    Params = MinimaxParams

    def needs(self, params: Any) -> dict[str, Need]:
        """The generator."""
        return {"generator": Need(stage="generator", source=params.generator)}

    def settled(self, params: Any, info: DatasetInfo, ipc: int) -> Any:
        """Phases of 20 classes for ImageNet-1K, else of 10."""
        del ipc
        phase_classes = params.phase_classes or (20 if info.classes >= _MANY_CLASSES else 10)
        mirror = info.mirror if params.mirror is None else params.mirror
        return msgspec.structs.replace(params, phase_classes=min(phase_classes, info.classes), mirror=mirror)

    def groups(self, spec: CondenseSpec, params: Any) -> list[Group]:
        """A phase is a unit, and a group."""
        classes, size = spec.dataset.classes, params.phase_classes
        phases = [range(first, min(first + size, classes)) for first in range(0, classes, size)]
        return [(_phase(labels, spec.ipc),) for labels in phases]

    def cost(self, spec: CondenseSpec, params: Any, sources: Sources) -> Effort | None:
        """All training images for all epochs, each in its phase, encoded once as they are and mirrored; the drawing."""
        made = sources.generators["generator"]
        seen = sources.images * params.epochs
        tuned = Passes(made.network, made.side, seen, seen / params.batch, TRAINED)
        drawn = made.drawing(spec.ipc * spec.dataset.classes, params.steps, params.guidance, params.sample_batch)
        encoded = made.encoding(sources.images * (2 if params.mirror else 1), params.batch)
        return Effort((tuned, *encoded, drawn), sources.images, made.encoded_px or spec.resolution)

    def condense(self, work: Work, group: Group) -> NDArray[np.uint8]:
        """Tune, then draw. Raises StageError where a term of the loss, or an image, is not finite."""
        from condhpc import minimax_tuning

        return minimax_tuning.images(work, group[0], _DIT_CHANNELS if work.params.fidelity == "code" else 0)


def _phase(labels: range, ipc: int) -> Unit:
    """All images of some classes; its name, after which its streams are named, does not depend on ipc."""
    name = f"classes {labels[0]}-{labels[-1]}"
    return Unit(name, tuple(label for label in labels for _ in range(ipc)), tuple(range(ipc)) * len(labels))


PLUGIN = Minimax()
