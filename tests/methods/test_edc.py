"""EDC: its statistics, its starts, its recovery."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image
from tiny_data import MEAN, STD, MemorySplit, Recorder, TinyObserver, made, make_spec, make_work

from condhpc import images, mosaic_start, rng
from condhpc.cost_model import FORWARD, Sources
from condhpc.errors import StageError, Stopped
from condhpc.images import resized_crop
from condhpc.methods.base import Preparing, Work
from condhpc.methods.base_matching import networks_of
from condhpc.methods.edc import PLUGIN, STATISTICS, Statistics, StatisticsParams
from condhpc.spec import DatasetInfo, PrepareSpec

RESOLUTION = 16
SMALL = {"iterations": 3, "batch": 4, "crops": 2, "mipc": 10, "factor": 2}


@pytest.fixture
def train() -> MemorySplit:
    """Three classes of twelve images."""
    return MemorySplit(3, 12, RESOLUTION)


class Deep(TinyObserver):
    """Another opinion, behind a convolution and without batch norm, as AlexNet."""

    def __init__(self, classes: int) -> None:
        super().__init__(classes)
        self.norm = torch.nn.Identity()
        draw = rng.stream(5, "deep")
        self.first = torch.nn.Conv2d(3, 3, 3, padding=1, bias=False)
        with torch.no_grad():
            self.first.weight.copy_(torch.from_numpy(draw.normal(size=(3, 3, 3, 3))))
        self.eval().requires_grad_(requires_grad=False)

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes)."""
        return super().forward(self.first(images_NCHW).relu())


class Stopping:
    """Safe points that stop at one of them and keep what the state was."""

    def __init__(self, stop_at: int | None = None, resumed: dict[str, Any] | None = None) -> None:
        self.resumed = resumed
        self.state: dict[str, Any] = {}
        self.ticks: list[tuple[int, int]] = []
        self._stop_at = stop_at

    def tick(self, step: int, total: int, state: Callable[[], dict[str, Any]] | None = None, **values: float) -> None:
        """Note the step."""
        del values
        self.ticks.append((step, total))
        if step == self._stop_at:
            assert state is not None
            self.state = state()
            raise Stopped("asked to")


def preparing(train: MemorySplit, steps: Stopping, batch: int = 5) -> Preparing:
    """Statistics of two networks."""
    params = StatisticsParams(batch=batch)
    spec = PrepareSpec(
        dataset=make_spec(PLUGIN, train, None, 1, 0).dataset, method="edc", preparation=STATISTICS, params={},
        ipc=None, resolution=RESOLUTION, precision="fp32",
    )  # fmt: skip
    teachers = {"backbones.0": TinyObserver(3), "backbones.1": Deep(3)}
    return Preparing(
        spec=spec, params=params, train=train, device="cpu", steps=steps, teachers=teachers, embeddings={}, prepared={},
        generators={},
    )  # fmt: skip


def with_two(work: Work, train: MemorySplit) -> Work:
    """The same work with a committee of two."""
    before = preparing(train, Stopping())
    return dataclasses.replace(work, teachers=before.teachers, prepared={STATISTICS: Statistics().prepare(before)})


def losses_of(networks: list[Any], pictures: np.ndarray, label: int) -> np.ndarray:
    """Cross-entropy of mean logits, by definition."""
    pixels = torch.from_numpy(((pictures / 255 - MEAN) / STD).transpose(0, 3, 1, 2).astype(np.float32))
    logits = np.mean([network(pixels).numpy() for network in networks], axis=0).astype(float)
    return np.log(np.exp(logits).sum(axis=1)) - logits[:, label]


def test_statistics_hold_every_image_and_class(train: MemorySplit) -> None:
    """A loss for each training image at its position, and a row for each class at each site of each network."""
    work = preparing(train, Stopping())
    found = Statistics().prepare(work)
    for label in range(3):
        positions = train.of_class(label)
        expected = losses_of(networks_of(work), train.read(positions), label)
        np.testing.assert_allclose(found["losses"][positions], expected, rtol=1e-4, atol=1e-6)
        channels = ((train.read(positions) / 255 - MEAN) / STD).reshape(-1, 3)
        np.testing.assert_allclose(found["0 norm norm mean"][label], channels.mean(axis=0), rtol=1e-4, atol=1e-5)
        np.testing.assert_allclose(
            found["0 norm norm within"][label] + found["0 norm norm between"][label], channels.var(axis=0), rtol=1e-4
        )
    names = {name for name in found if name.endswith(" mean")}
    assert {"0 norm norm mean", "0 place conv mean", "1 conv first mean", "1 place conv all mean"} <= names
    assert not any(name.startswith("1 norm") for name in names)


@pytest.mark.parametrize("stop_at", [1, 2, 3])
def test_statistics_resume_to_the_same_bits(train: MemorySplit, stop_at: int) -> None:
    """Stopped after any class, a second attempt goes on with the next one, and ends with the same file."""
    whole = Statistics().prepare(preparing(train, Stopping()))
    stopped = Stopping(stop_at)
    with pytest.raises(Stopped):
        Statistics().prepare(preparing(train, stopped))
    again = Stopping(resumed=stopped.state)
    found = Statistics().prepare(preparing(train, again))
    assert again.ticks == [(label + 1, 3) for label in range(stop_at, 3)]
    assert found.keys() == whole.keys()
    for name, array in whole.items():
        np.testing.assert_array_equal(found[name], array)


def test_batches_of_a_pass_change_only_rounding(train: MemorySplit) -> None:
    """One image at a time and a class at once find the same."""
    one, all_ = (Statistics().prepare(preparing(train, Stopping(), batch)) for batch in (1, 12))
    for name, array in all_.items():
        np.testing.assert_allclose(one[name], array, rtol=1e-4, atol=1e-5)


def test_threads_change_nothing(train: MemorySplit, monkeypatch: pytest.MonkeyPatch) -> None:
    """Images that are decoded on several threads give the same statistics and the same start."""

    def found() -> list[np.ndarray]:
        arrays = Statistics().prepare(preparing(train, Stopping()))
        work = make_work(PLUGIN, train, params=SMALL)
        return [*arrays.values(), mosaic_start.ranked(work, 0, arrays["losses"], networks_of(work))]

    alone = found()
    monkeypatch.setattr(torch, "get_num_threads", lambda: 3)
    for one, other in zip(alone, found(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_start_against_the_rule(train: MemorySplit) -> None:
    """Mosaics of the best crops of the images that the networks know best, crop by crop."""
    work = with_two(make_work(PLUGIN, train, params=SMALL), train)
    networks, losses_N = networks_of(work), work.prepared[STATISTICS]["losses"]
    for label in range(3):
        best_first = sorted(train.of_class(label).tolist(), key=lambda position: losses_N[position])[:10]
        candidates = []
        for rank, position in enumerate(best_first):
            picture, draws = (
                train.images[position],
                images.draw_crops(2, 0.08, work.stream("edc-crop", label, position)),
            )
            boxes = [images.crop_box(draws, row, *picture.shape[:2]) for row in range(2)]
            tiles = np.stack([resized_crop(picture, box, RESOLUTION) for box in boxes])
            losses = losses_of(networks, tiles, label)
            candidates.append((losses.min(), rank, tiles[losses.argmin()]))
        ranked = [tile for _, _, tile in sorted(candidates, key=lambda c: c[:2])]
        found = mosaic_start.ranked(work, label, losses_N, networks)
        assert found.shape == (2, RESOLUTION, RESOLUTION, 3)
        for image in range(2):
            for cell in range(4):
                top, left = cell // 2 * 8, cell % 2 * 8
                half = np.asarray(Image.fromarray(ranked[cell * 2 + image]).resize((8, 8), Image.Resampling.BILINEAR))
                tile = found[image, top : top + 8, left : left + 8]
                np.testing.assert_allclose(tile.astype(int), half, atol=1)


def test_each_image_starts_from_its_own_mosaic(train: MemorySplit) -> None:
    """Every mosaic of a class starts one image, up to mirroring and the places of its tiles, in another order."""
    work = make_work(PLUGIN, train, params=SMALL | {"batch": 3}, ipc=3)
    networks, losses_N = networks_of(work), work.prepared[STATISTICS]["losses"]
    units = [unit for (unit,) in PLUGIN.groups(work.spec, work.params) if 1 in unit.labels]
    started = torch.cat([mosaic_start.start(work, unit, losses_N, networks) for unit in units])
    pool = mosaic_start.ranked(work, 1, losses_N, networks)
    values = started.permute(0, 2, 3, 1).numpy() * np.array(STD) + np.array(MEAN)
    assert sorted(np.sort((255 * image).round().ravel()).tolist() for image in values) == sorted(
        np.sort(image.ravel()).astype(float).tolist() for image in pool
    )


def info(resolution: int, classes: int) -> DatasetInfo:
    """A dataset of that size."""
    return DatasetInfo(
        classes=classes, train_class_sizes=(500,), resolution=resolution, mean=MEAN, std=STD, mirror=False,
        crop_scale_min=0.5,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("resolution", "classes", "expected"),
    [
        (224, 10, (50, 100, 0.01, 0.0)),
        (224, 100, (1000, 80, 0.1, 0.8)),
        (224, 1000, (1000, 80, 0.1, 0.8)),
        (64, 200, (2000, 80, 0.1, 0.8)),
        (32, 10, (2000, 80, 0.1, 0.8)),
    ],
)
def test_published_values(resolution: int, classes: int, expected: tuple[float, ...]) -> None:
    """ImageNet-10's script for few classes, ImageNet-1K's else, more steps for small images; what is given stays."""
    found = PLUGIN.settled(PLUGIN.Params(), info(resolution, classes), 10)
    assert (found.iterations, found.batch, found.r_loss, found.alpha) == expected
    assert found.flip is False
    assert PLUGIN.settled(PLUGIN.Params(alpha=0.5), info(resolution, classes), 10).alpha == 0.5
    assert PLUGIN.settled(found, info(resolution, classes), 10) == found


@pytest.mark.parametrize(("ipc", "sizes"), [(1, [3]), (3, [3, 3, 3]), (2, [4, 2]), (5, [2, 3] * 3), (9, [3, 3, 3] * 3)])
def test_units(train: MemorySplit, ipc: int, sizes: list[int]) -> None:
    """Batches of four: whole classes, or equal parts of one; every image once."""
    spec = make_spec(PLUGIN, train, SMALL | {"init": "noise"}, ipc, 0)
    groups = PLUGIN.groups(spec, PLUGIN.Params(**spec.params))
    assert [len(unit.labels) for (unit,) in groups] == sizes
    pairs = [pair for (unit,) in groups for pair in zip(unit.labels, unit.places, strict=True)]
    assert pairs == [(label, place) for label in range(3) for place in range(ipc)]


def test_objections() -> None:
    """Too few images are an objection where images are started from."""
    few = info(128, 10)
    assert PLUGIN.objection(PLUGIN.Params(), few, 125) == ""
    assert "params.edc.factor" in PLUGIN.objection(PLUGIN.Params(), few, 126)
    assert PLUGIN.objection(PLUGIN.Params(init="real"), few, 500) == ""
    assert "501" in PLUGIN.objection(PLUGIN.Params(init="real"), few, 501)
    assert PLUGIN.objection(PLUGIN.Params(init="noise"), few, 501) == ""


@pytest.mark.parametrize("init", ["mosaics", "real", "noise"])
def test_networks_take_turns_and_the_term_falls(train: MemorySplit, init: str) -> None:
    """With two networks, one of them without batch norm, the statistics come nearer to the real ones."""
    params = SMALL | {"init": init, "iterations": 60, "r_loss": 1.0, "lr": 0.1, "crop_scale_min": 1.0}
    seen: list[float] = []

    class Noting(Stopping):
        def tick(self, step: int, *_: Any, **values: float) -> None:
            if step:
                seen.append(values["statistics"])

    work = with_two(make_work(PLUGIN, train, params=params), train)
    work = dataclasses.replace(work, steps=Noting())
    found = PLUGIN.condense(work, PLUGIN.groups(work.spec, work.params)[0])
    assert found.shape == (4, RESOLUTION, RESOLUTION, 3)
    for member in range(2):
        assert seen[member::2][-1] < 0.6 * seen[member::2][0]
    assert not any(m._forward_pre_hooks for net in networks_of(work) for m in net.modules())


def test_fidelity_changes_the_set(train: MemorySplit) -> None:
    """The code's variances, averages and truncation give another set than the paper's."""
    sets = [made(PLUGIN, train, params=SMALL | {"fidelity": f, "alpha": 0.8}) for f in ("paper", "code")]
    assert not np.array_equal(*sets)


def test_batches_in_one_pass_differ_by_rounding_alone(train: MemorySplit) -> None:
    """Two batches of one forward pass are, to a grey level in few values, those of two passes."""
    alone, together = (made(PLUGIN, train, params=SMALL | {"units_per_pass": n, "alpha": 0.8}) for n in (1, 2))
    assert np.abs(alone.astype(int) - together).max() <= 1
    assert np.mean(alone != together) < 0.01


def test_a_diverged_network(train: MemorySplit) -> None:
    """A loss that is not a number stops the start, by name."""
    work = make_work(PLUGIN, train, params=SMALL)
    networks_of(work)[0].weights[1] = torch.nan
    with pytest.raises(StageError, match="class 0: the loss of 'edc_backbones' on a crop is not finite"):
        PLUGIN.condense(work, PLUGIN.groups(work.spec, work.params)[0])


def test_classes_are_safe_points_of_the_start(train: MemorySplit, tmp_path: Path) -> None:
    """Crops of eighty classes take minutes: a stop is heard after each, and the group begins anew to the same bits."""
    whole = made(PLUGIN, train, params=SMALL)
    report = Recorder(tmp_path, stop_at=3)
    with pytest.raises(Stopped):
        made(PLUGIN, train, params=SMALL, report=report)
    assert report.ticks == [(0, 6), (0, 6), (1, 6), (2, 6), (3, 6)]
    early = Recorder(tmp_path, stop_at=0)
    (tmp_path / "checkpoint.pt").unlink()
    with pytest.raises(Stopped):
        made(PLUGIN, train, params=SMALL, report=early)
    np.testing.assert_array_equal(made(PLUGIN, train, params=SMALL, report=Recorder(tmp_path)), whole)


def test_cost_counts_the_crops_that_are_judged(train: MemorySplit) -> None:
    """Every crop of every image through every backbone; none where mosaics are not the start."""
    sources = Sources({"backbones": ("resnet18", "alexnet")}, 36)
    with_mosaics, without = (
        PLUGIN.cost(spec, PLUGIN.Params(**spec.params), sources)
        for spec in (make_spec(PLUGIN, train, SMALL | {"init": init}, 2, 0) for init in ("mosaics", "noise"))
    )
    assert with_mosaics is not None
    assert without is not None
    assert (without.decoded, with_mosaics.decoded) == (0, 30)
    assert with_mosaics.passes[:2] == without.passes
    assert [(part.images, part.each) for part in with_mosaics.passes[2:]] == [(60, FORWARD)] * 2
