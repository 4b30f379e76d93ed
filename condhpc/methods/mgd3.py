"""MGD³: mode-guided diffusion without training (Chan-Santiago et al., ICML 2025, arXiv 2505.18963, §3).

Modes of a class: centres of k-means (k = ipc) over the latents of its real images. Image k starts from noise; while
step i > `stop` of `steps` (counted down to 1) its mean is moved by λ σ_i (m_k − x̂0), afterwards it is free (stop
guidance). With DDIM x̂0 itself is moved, by λ (m_k − x̂0).

Left to the text by the paper, and how it is here: latents are the autoencoder's modes, not samples; x̂0 is that of
classifier-free guidance; k-means is scikit-learn's, k-means++, one start, seed 0, so the set seed changes noise alone.
`fidelity = "code"` guides the first three latent channels alone, as the sampler of DiT does that the authors build on.
Images are of the generator's size, and resized where the dataset's is another. On pixels the latents are pixels. Real
images are squared as the dataset squares them, from 64 px up with its margin of 256/224 (published: without).
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any, Literal

from msgspec import Meta

from condhpc.cost_model import Effort
from condhpc.errors import StageError
from condhpc.methods.base import ClassByClass, Preparation, Preparing, Work
from condhpc.spec import DatasetInfo, Need, Value

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from condhpc.cost_model import Sources
    from condhpc.spec import CondenseSpec, PrepareSpec

MODES = "modes"
_LATENT_BYTES, _KMEANS_ITERATIONS = 4 * 4 * 32 * 32, 30
"""Of 256 px, for predictions."""
_DIT_CHANNELS = 3


class ModesParams(Value, frozen=True):
    """Parameters of the discovery of modes."""

    latents: Annotated[str, Meta(pattern="^generator:.+$", description="whose latents: `generator:<name>`")] = (
        "generator:dit"
    )
    components: Annotated[int, Meta(ge=0, description="principal components that are clustered; 0: latents")] = 0
    mode: Annotated[Literal["centre", "nearest"], Meta(description="centres, or real latents nearest to them")] = (
        "centre"
    )


class Modes(Preparation):
    """As many modes of each class as a set has images of it: `modes` (K, ipc, D) float32."""

    Params = ModesParams

    def needs(self, params: Any) -> dict[str, Need]:
        """Latents of the training split."""
        return {"latents": Need(stage="embed", source=params.latents)}

    def cost(self, spec: PrepareSpec, params: Any, sources: Sources) -> Effort | None:
        """All latents, read once for each iteration of k-means."""
        del spec, params
        return Effort(read_bytes=sources.images * _LATENT_BYTES * _KMEANS_ITERATIONS)

    def prepare(self, work: Preparing) -> dict[str, NDArray[Any]]:
        """Class by class; raises StageError for a class with fewer images than modes."""
        import numpy as np
        import torch

        classes, ipc = work.spec.dataset.classes, work.spec.ipc or 1
        resumed = work.steps.resumed
        found = [] if resumed is None else list(resumed["modes"].numpy())
        for label in range(len(found), classes):
            positions_n = work.train.of_class(label)
            if len(positions_n) < ipc:
                raise StageError(f"class {label} has {len(positions_n)} images for {ipc} modes; lower ipc")
            vectors_nD = work.embeddings["latents"].rows(positions_n).astype(np.float32)
            found.append(modes_of(vectors_nD, ipc, work.params.components, work.params.mode))
            work.steps.tick(label + 1, classes, lambda: {"modes": torch.from_numpy(np.stack(found))})
        return {"modes": np.stack(found)}


def modes_of(
    vectors_nD: NDArray[np.float32], count: int, components: int, mode: Literal["centre", "nearest"]
) -> NDArray[np.float32]:
    """(count, D): means of k-means' clusters, or the vectors nearest to these, each vector once."""
    import numpy as np

    try:
        from sklearn.cluster import KMeans
        from sklearn.decomposition import PCA
    except ImportError as error:
        raise StageError("mgd3 needs scikit-learn: pip install 'condhpc[diffusion]'") from error
    seen_nD = vectors_nD
    if components > min(vectors_nD.shape):
        most = _no_more_components(min(vectors_nD.shape), "images of a class, or of numbers of a latent")
        raise StageError(f"components = {components}: {most}")
    if components:
        seen_nD = PCA(components, random_state=0).fit_transform(vectors_nD)
    cluster_n = KMeans(count, n_init=1, random_state=0).fit_predict(seen_nD)
    centres_kD = [vectors_nD[cluster_n == k].mean(axis=0) for k in range(count) if (cluster_n == k).any()]
    if len(centres_kD) < count:
        text = f"{len(centres_kD)} clusters where {count} modes are wanted: too many images are equal; lower ipc"
        raise StageError(text)
    if mode == "centre":
        return np.stack(centres_kD)
    members = (np.flatnonzero(cluster_n == k) for k in range(count))
    pairs = zip(members, centres_kD, strict=True)
    return np.stack([vectors_nD[m][((vectors_nD[m] - centre) ** 2).sum(axis=1).argmin()] for m, centre in pairs])


def _no_more_components(most: int, things: str) -> str:
    return f"there are no more principal components than {things}, here {most}; give fewer, or 0 for whole latents"


class Mgd3Params(Value, frozen=True):
    """Parameters of MGD³; the paper has one setting for all datasets."""

    generator: Annotated[str, Meta(min_length=1, description="[generators.<name>] that draws the images")] = "dit"
    strength: Annotated[float, Meta(ge=0.0, description="λ, pull to the mode")] = 0.1
    steps: Annotated[int, Meta(ge=2, le=1000, description="steps from noise to image")] = 50
    stop: Annotated[int, Meta(ge=0, description="steps at the end without guidance to a mode")] = 25
    guidance: Annotated[float, Meta(ge=1.0, description="scale of classifier-free guidance; 1: none")] = 4.0
    sampler: Annotated[Literal["ddpm", "ddim"], Meta(description="steps back with noise, or without")] = "ddpm"
    components: Annotated[int, Meta(ge=0, description="principal components that are clustered; 0: latents")] = 0
    mode: Annotated[Literal["centre", "nearest"], Meta(description="centres, or real latents nearest to them")] = (
        "centre"
    )
    sample_batch: Annotated[int, Meta(ge=1, description="images of a class that share a forward pass")] = 16
    fidelity: Annotated[Literal["paper", "code"], Meta(description="whose rule where the two differ")] = "paper"


class Mgd3(ClassByClass):
    """Diverse images of a pretrained generator, each drawn to a mode of the real ones."""

    Params = Mgd3Params
    preparations = {MODES: Modes()}  # noqa: RUF012 - a ClassVar of the base

    def needs(self, params: Any) -> dict[str, Need]:
        """The generator, and modes of its latents."""
        wanted = {
            "latents": f"generator:{params.generator}",
            "components": params.components,
            "mode": params.mode,
        }
        return {
            "generator": Need(stage="generator", source=params.generator),
            MODES: Need(stage="prepare", source=MODES, params=wanted, per_ipc=True),
        }

    def objection(self, params: Any, info: DatasetInfo, ipc: int) -> str:
        """A mode for each image, so at least as many real images."""
        smallest = min(info.train_class_sizes)
        if params.stop > params.steps:
            return f"params.mgd3.stop = {params.stop} is more than steps = {params.steps}"
        if params.components > smallest:
            return f"params.mgd3.components = {params.components}: {_no_more_components(smallest, 'images of a class')}"
        return f"the smallest class has {smallest} images for {ipc} modes; lower ipc" if ipc > smallest else ""

    def cost(self, spec: CondenseSpec, params: Any, sources: Sources) -> Effort | None:
        """The drawing, class by class; guidance to a mode is little beside it."""
        classes, made = spec.dataset.classes, sources.generators["generator"]
        batch = min(params.sample_batch, spec.ipc)
        return Effort((made.drawing(spec.ipc * classes, params.steps, params.guidance, batch),))

    def class_images(self, work: Work, label: int) -> NDArray[np.uint8]:
        """Image k from its own noise, drawn to mode k. Raises StageError for an image that is not finite."""
        from condhpc import sampling

        params, modes_KkD = work.params, work.prepared[MODES]["modes"]
        making = sampling.Making(
            generator=work.generators["generator"],
            sampler=sampling.Sampler(
                steps=params.steps,
                guidance=params.guidance,
                kind=params.sampler,
                guided_channels=_DIT_CHANNELS if params.fidelity == "code" else 0,
                batch=params.sample_batch,
            ),
            side=work.spec.resolution,
            stream=work.stream,
            report=work.steps.tick,
            pull=sampling.Pull(lambda image: modes_KkD[image.label, image.place], params.strength, params.stop),
        )
        wanted = [sampling.Wanted(label, place) for place in range(work.spec.ipc)]
        return sampling.images(making, wanted, work.steps.resumed)


PLUGIN = Mgd3()
