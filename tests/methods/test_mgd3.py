"""MGD³: modes of latents, and images that are drawn to them."""

from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from tiny_data import MemorySplit, Still, embedded, made, make_work

from condhpc import registry
from condhpc.errors import StageError
from condhpc.methods.base import Preparing
from condhpc.methods.mgd3 import modes_of
from condhpc.spec import PrepareSpec

MGD3 = registry.load("methods", "mgd3")
INFO = registry.load("datasets", "digits").INFO


def clouds() -> NDArray[np.float32]:
    """Three heaps of twenty points, far from each other in the first two of six dimensions."""
    draw = np.random.default_rng(1)
    centres = np.array([[9, 0], [-9, 0], [0, 9]]).repeat(20, axis=0)
    return np.hstack([centres + draw.normal(size=(60, 2)), 0.1 * draw.normal(size=(60, 4))]).astype(np.float32)


@pytest.mark.parametrize("components", [0, 2])
def test_modes_are_the_means_of_clusters(components: int) -> None:
    """Of latents, also where their principal components are clustered."""
    found = modes_of(clouds(), 3, components, "centre")
    expected = clouds().reshape(3, 20, 6).mean(axis=1)
    order = [int(np.abs(found - mean).sum(axis=1).argmin()) for mean in expected]
    assert sorted(order) == [0, 1, 2]
    np.testing.assert_allclose(found[order], expected, atol=1e-5)


def test_modes_may_be_real_latents() -> None:
    """Each the member of its cluster that is nearest to the mean."""
    points = clouds()
    found = modes_of(points, 3, 0, "nearest")
    expected = {
        int(np.linalg.norm(points[i : i + 20] - points[i : i + 20].mean(axis=0), axis=1).argmin()) + i
        for i in (0, 20, 40)
    }
    assert {int(np.abs(points - row).sum(axis=1).argmin()) for row in found} == expected
    assert all((points == row).all(axis=1).any() for row in found)


@pytest.mark.filterwarnings("ignore:Number of distinct clusters")
def test_equal_images_have_too_few_modes() -> None:
    """A class of two different images cannot have three modes."""
    with pytest.raises(StageError, match="2 clusters where 3 modes are wanted"):
        modes_of(np.repeat(np.eye(2, dtype=np.float32), 4, axis=0), 3, 0, "centre")


def test_every_class_has_modes_of_its_own_latents() -> None:
    """The preparation sees the class's images alone; going on from a state gives the same."""
    train = MemorySplit(3, 8, 8)
    work = make_work(MGD3, train, ipc=8)
    modes = work.prepared["modes"]["modes"]
    assert (modes.shape, modes.dtype) == ((3, 8, 192), np.float32)
    latents = (train.read(train.of_class(1)).transpose(0, 3, 1, 2) / 127.5 - 1).reshape(8, -1)
    found = modes[1][np.lexsort(modes[1].T)]
    np.testing.assert_allclose(found, latents[np.lexsort(latents.T)], atol=1e-5)


def test_the_mode_of_each_image_is_its_own() -> None:
    """With all of the pull and no stop, DDIM ends at the mode, image by image."""
    train = MemorySplit(2, 8, 8)
    params: dict[str, Any] = {"strength": 1.0, "stop": 0, "steps": 3, "sampler": "ddim"}
    found = made(MGD3, train, params=params, ipc=3)
    modes = make_work(MGD3, train, params=params, ipc=3).prepared["modes"]["modes"]
    expected = ((modes.reshape(6, 3, 8, 8) + 1) * 127.5).round().transpose(0, 2, 3, 1)
    assert np.abs(found - expected).max() <= 1


@pytest.mark.parametrize(
    "changes",
    [{"strength": 0.0}, {"stop": 0}, {"guidance": 1.0}, {"sampler": "ddim"}, {"mode": "nearest"}, {"components": 1}],
)
def test_parameters_change_the_set(changes: dict[str, Any]) -> None:
    """Each of them reaches the numbers."""
    train, base = MemorySplit(2, 12, 8), {"steps": 4, "stop": 2, "strength": 0.5}
    assert not np.array_equal(made(MGD3, train, params=base), made(MGD3, train, params=base | changes))


def test_objections() -> None:
    """Said before anything is computed."""
    assert "the smallest class has 140 images for 141 modes" in MGD3.objection(MGD3.Params(), INFO, 141)
    assert "params.mgd3.stop = 60 is more than steps = 50" in MGD3.objection(MGD3.Params(stop=60), INFO, 1)
    assert MGD3.objection(MGD3.Params(components=140), INFO, 140) == ""
    text = "components = 141: there are no more principal components than images of a class, here 140"
    assert text in MGD3.objection(MGD3.Params(components=141), INFO, 1)


def test_components_are_no_more_than_numbers_of_a_latent() -> None:
    """Only the latents tell how many they are: sixty points of six numbers."""
    with pytest.raises(StageError, match=r"components = 7: there are no more principal components than .*, here 6"):
        modes_of(clouds(), 3, 7, "centre")


def test_a_preparation_goes_on() -> None:
    """From the classes that an earlier attempt finished; these are not looked at again."""
    train, plugin = MemorySplit(3, 8, 8), MGD3.preparations["modes"]
    given = make_work(MGD3, train, ipc=2)
    held = given.prepared["modes"]["modes"]
    marked = torch.from_numpy(held[:1] + 7)
    spec = PrepareSpec(
        dataset=given.spec.dataset,
        method="mgd3",
        preparation="modes",
        params={},
        ipc=2,
        resolution=8,
        precision="fp32",
    )
    work = Preparing(
        spec=spec,
        params=plugin.Params(),
        train=train,
        device="cpu",
        teachers={},
        embeddings={"latents": embedded(train, plugin.needs(plugin.Params())["latents"])},
        prepared={},
        generators={},
        steps=Still({"modes": marked}),
    )
    found = plugin.prepare(work)["modes"]
    np.testing.assert_array_equal(found, np.concatenate([marked.numpy(), held[1:]]))
