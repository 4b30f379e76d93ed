"""What sre2l, cda and delt share: units, published values, backbones, and that they recover anything."""

import dataclasses
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.datasets import load_digits
from tiny_data import MemorySplit, Recorder, Still, made, make_spec, make_work
from torch import nn

from condhpc import models, pixels, registry
from condhpc.errors import StageError, Stopped
from condhpc.methods.base import Method
from condhpc.methods.base_matching import networks_of
from condhpc.spec import DatasetInfo

NAMES = ("cda", "delt", "sre2l")
TINY: dict[str, Any] = {"iterations": 6}


def plugin(name: str) -> Method:
    """By name."""
    found: Method = registry.load("methods", name)
    return found


def info(resolution: int, **changes: Any) -> DatasetInfo:
    """A dataset of that resolution."""
    values: dict[str, Any] = {
        "classes": 10, "train_class_sizes": (500,), "resolution": resolution, "mean": (0.5,) * 3, "std": (0.2,) * 3,
        "mirror": True, "crop_scale_min": 0.5,
    }  # fmt: skip
    return DatasetInfo(**(values | changes))


@pytest.mark.parametrize("name", ["cda", "sre2l"])
def test_units_are_ipc_indices_by_chunks(name: str) -> None:
    """Seven classes in chunks of three at ipc 2: the last chunk has one class; two units share passes."""
    method, train = plugin(name), MemorySplit(7, 4, 8)
    spec = make_spec(method, train, {"chunk": 3, "units_per_pass": 2}, 2, 0)
    groups = method.groups(spec, method.Params(**spec.params))
    assert [[unit.name for unit in group] for group in groups] == [
        ["ipc 0, classes 0-2", "ipc 0, classes 3-5"],
        ["ipc 0, classes 6-6", "ipc 1, classes 0-2"],
        ["ipc 1, classes 3-5", "ipc 1, classes 6-6"],
    ]
    assert groups[1][0].labels == (6,)
    assert groups[1][1].places == (1, 1, 1)


@pytest.mark.parametrize(
    ("name", "resolution", "expected"),
    [
        ("sre2l", 224, (0.25, 4000, 0.01, 32)),
        ("sre2l", 64, (0.1, 4000, 1.0, 9)),
        ("sre2l", 32, (0.25, 1000, 0.01, 5)),
        ("cda", 224, (0.25, 4000, 0.01, 32)),
        ("delt", 224, (0.25, 4000, 0.01, 0)),
    ],
)
def test_published_values_by_family(name: str, resolution: int, expected: tuple[float, ...]) -> None:
    """Step size, iterations, weight of the term and roll of ImageNet, Tiny-ImageNet and CIFAR."""
    settled: Any = plugin(name).settled(plugin(name).Params(), info(resolution), 10)
    assert (settled.lr, settled.iterations, settled.r_bn, settled.roll_px) == expected


@pytest.mark.parametrize("name", NAMES)
def test_what_is_given_stays(name: str) -> None:
    """Published values fill gaps alone; digits are not mirrored."""
    method = plugin(name)
    settled: Any = method.settled(method.Params(lr=0.5, roll_px=1), info(224, mirror=False), 10)
    assert (settled.lr, settled.roll_px, settled.flip) == (0.5, 1, False)
    assert method.settled(settled, info(32), 1) == settled


@pytest.mark.parametrize(("name", "init"), [("sre2l", "real"), ("cda", "real"), ("delt", "real"), ("delt", "median")])
def test_real_starts_need_images(name: str, init: str) -> None:
    """Said before anything is computed; noise needs none."""
    method = plugin(name)
    small = info(32, train_class_sizes=(500, 9))
    assert "9 images to start from, ipc = 10" in method.objection(method.Params(init=init), small, 10)
    assert not method.objection(method.Params(init=init), small, 9)
    assert not method.objection(method.Params(init="noise"), small, 10)


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("init", ["noise", "real"])
def test_resumes_to_the_same_bits(name: str, init: str, tmp_path: Any) -> None:
    """Stopped within the second group, through the driver."""
    params = TINY | {"init": init} | ({"batch": 4, "rounds": 2} if name == "delt" else {"chunk": 2})
    train = MemorySplit(3, 12, 8)
    whole = made(plugin(name), train, params=params)
    with pytest.raises(Stopped):
        made(plugin(name), train, params=params, report=Recorder(tmp_path, stop_at=9))
    resumed = made(plugin(name), train, params=params, report=Recorder(tmp_path))
    np.testing.assert_array_equal(resumed, whole)


@pytest.mark.parametrize("name", ["cda", "sre2l"])
def test_images_do_not_depend_on_ipc(name: str) -> None:
    """Image i of a class is the same in a smaller set."""
    train = MemorySplit(3, 12, 8)
    small, large = (made(plugin(name), train, params=TINY, ipc=ipc).reshape(3, ipc, 8, 8, 3) for ipc in (1, 3))
    np.testing.assert_array_equal(large[:, :1], small)


@pytest.mark.parametrize("name", NAMES)
def test_sharing_passes_changes_rounding_alone(name: str) -> None:
    """One step of two units at a time is one step of each, but for a level here and there."""
    train, extra = MemorySplit(4, 12, 8), {"batch": 4} if name == "delt" else {"chunk": 2}
    alone, together = (
        made(plugin(name), train, params={"iterations": 1, "units_per_pass": count} | extra) for count in (1, 2)
    )
    different = alone != together
    assert different.mean() < 0.01
    assert np.abs(alone.astype(int) - together)[different].max(initial=0) <= 1


def test_members_of_a_committee_come_in_order() -> None:
    """Also beyond ten, where names no longer sort as numbers."""
    work = make_work(plugin("sre2l"), MemorySplit(3, 4, 8), params=TINY)
    teachers = {f"backbones.{i}": torch.nn.Flatten(i) for i in (10, 2, 0, 1, 3, 4, 5, 6, 7, 8, 9)}
    found = networks_of(dataclasses.replace(work, teachers=teachers))
    assert [network.start_dim for network in found] == list(range(11))


def test_scales_must_fit_the_committee() -> None:
    """Two scales of one network are refused in words."""
    method = plugin("sre2l")
    work = make_work(method, MemorySplit(3, 4, 8), params=TINY | {"r_bn_scales": (1.0, 0.01)})
    with pytest.raises(StageError, match="2 numbers, the role 'single' has 1 networks"):
        method.condense(work, method.groups(work.spec, work.params)[0])


class Digits(MemorySplit):
    """The 1,797 digits of scikit-learn, 8 × 8."""

    def __init__(self) -> None:
        super().__init__(10, 1, 8)
        data = load_digits()
        self.labels_N = data.target.astype(np.int64)
        self.images = list((data.images[..., None].repeat(3, axis=3) * 15.9).astype(np.uint8))


@pytest.fixture(scope="module")
def digits() -> tuple[Digits, nn.Module]:
    """Digits, and a ConvNet-3 that saw them for sixty steps."""
    train = Digits()
    network = models.build("convnet3", 10, 8, 0).train()
    optimizer = torch.optim.AdamW(network.parameters(), 2e-3)
    dataset = make_spec(plugin("sre2l"), train, None, 1, 0).dataset
    for step in range(60):
        chosen = np.random.default_rng(step).integers(0, len(train), 64)
        images = pixels.normalised(train.read(chosen), dataset)
        loss = nn.functional.cross_entropy(network(images), torch.from_numpy(train.labels_N[chosen]))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return train, models.placed(models.frozen(network), "cpu")


@pytest.mark.parametrize("name", NAMES)
def test_digits_are_recovered(name: str, digits: tuple[Digits, nn.Module]) -> None:
    """Within sixty steps from noise the batch-norm term falls by half at least, and the network sees every class."""
    train, network = digits
    steps = Still()
    extra = {"rounds": 1} if name == "delt" else {}
    given = {"iterations": 60, "init": "noise", "crop_scale_min": 0.5, "flip": False}
    work = make_work(plugin(name), train, params=given | extra, ipc=1)
    work = dataclasses.replace(work, teachers={"backbones": network}, steps=steps)
    images = plugin(name).condense(work, plugin(name).groups(work.spec, work.params)[0])
    losses = [values["statistics"] for _, _, values in steps.ticks]
    assert np.mean(losses[-5:]) < 0.5 * losses[0]
    assert network(pixels.normalised(images, work.spec.dataset)).argmax(dim=1).tolist() == list(range(10))
