"""Teams of real processes that talk over gloo, against one process that does it all."""

from __future__ import annotations

import os
import signal
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from made_training import SIDE_PX, Reporter, few_digits, run, student, training
from rank_processes import RankContext, on_ranks, statuses_on_ranks
from torch import nn

from condhpc import models, ranks, train
from condhpc.dynamics import Dynamics
from condhpc.errors import RankLostError, StageError, Stopped
from condhpc.spec import Augment, Optimizer, Training

IMAGES = 47
"""With batches of 20 the third of an epoch has 7."""
SGD = Optimizer(name="sgd", lr=0.05, weight_decay=0.001)
MIXED = Augment(crop_scale_min=0.6, flip=True, cutmix_alpha=1.0)


class _Dropping(nn.Module):
    """A ConvNet-3 whose features are dropped at random."""

    def __init__(self) -> None:
        super().__init__()
        net = student()
        self.features, self.drop, self.head = net.features, nn.Dropout(0.3), net.head

    def forward(self, images_NCHW: torch.Tensor) -> torch.Tensor:
        return self.head(self.drop(self.features(images_NCHW).flatten(1)))


def _network(arch: str) -> nn.Module:
    return _Dropping() if arch == "dropping" else student(arch=arch)


def _trained(recipe: Training, arch: str, report: Any = None, team: Any = None, images: int = IMAGES) -> dict[str, Any]:
    """Everything that a training leaves, as arrays."""
    model, dynamics = _network(arch), Dynamics(5, images, "cpu")
    recipe_run = run(recipe, report=report or Reporter())
    if team is not None:
        recipe_run = replace(recipe_run, team=team, report=team.report)
    trained = train.train(model, few_digits(images), recipe_run, dynamics)
    state = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    kept = {f"dynamics/{name}": tensor.numpy() for name, tensor in dynamics.state().items()}
    return state | kept | {"loss": np.float64(trained.loss_last)}


def _on_ranks(count: int, folder: Path, recipe: Training, arch: str, images: int = IMAGES) -> list[dict[str, Any]]:
    def work(context: RankContext) -> dict[str, Any]:
        with ranks.team(context) as team:
            return _trained(recipe, arch, team=team, images=images)

    return on_ranks(count, folder, work)


@cache
def _alone(recipe: Training, arch: str, images: int = IMAGES) -> dict[str, Any]:
    return _trained(recipe, arch, images=images)


@pytest.mark.parametrize(
    ("recipe", "arch"),
    [
        (training(10, 20, optimizer=SGD, augment=MIXED), "convnet3"),
        (training(10, 20, optimizer=SGD), "dropping"),
    ],
    ids=["mixed", "dropout"],
)
def test_two_ranks_train_as_one(recipe: Training, arch: str, tmp_path: Path) -> None:
    """After ten steps weights, statistics, loss and dynamics equal those of one process to 1e-4, on both ranks alike.

    With uneven last batches, with partners of CutMix on the other rank, and with layers that draw.
    """
    first, second = _on_ranks(2, tmp_path, recipe, arch)
    one = _alone(recipe, arch)
    assert first.keys() == one.keys()
    for name, value in one.items():
        assert first[name].tobytes() == second[name].tobytes(), name
        tolerance = 2e-2 if name.startswith("dynamics/") else 1e-4  # kept in half precision
        np.testing.assert_allclose(first[name].astype(float), value.astype(float), atol=tolerance, err_msg=name)


def test_a_rank_may_have_no_image_of_a_short_batch(tmp_path: Path) -> None:
    """Three ranks share a last batch of two images: the one without any takes part, and adds nothing."""
    recipe = training(4, 10, optimizer=SGD)
    found = _on_ranks(3, tmp_path, recipe, "convnet3", images=12)[0]
    for name, value in _alone(recipe, "convnet3", images=12).items():
        tolerance = 2e-2 if name.startswith("dynamics/") else 1e-4
        np.testing.assert_allclose(found[name].astype(float), value.astype(float), atol=tolerance, err_msg=name)


def test_a_stop_is_agreed_and_the_resumed_run_ends_in_the_same_bits(tmp_path: Path) -> None:
    """Rank 0 is asked to stop and saves; a new team goes on from its checkpoint alone, bit for bit as if never asked.

    Rank 1 is not asked, sees no file, and yet ends and resumes at the same step.
    """
    recipe, path = training(6, 20, augment=MIXED), tmp_path / "checkpoint"

    def stopped(context: RankContext) -> int:
        leader = context.place.rank == 0
        step_of_stop = 0

        class Noting(Reporter):
            def tick(self, step: int, total: int, save: Any = None, **values: float) -> None:
                del total, values
                nonlocal step_of_stop
                if step == 2 and leader:
                    context.asked.set()
                if context.stop.is_set():
                    step_of_stop = step
                    if leader:
                        save(path)
                    raise Stopped("agreed")

        context.tick = Noting().tick  # type: ignore[method-assign]
        with pytest.raises(Stopped), ranks.team(context) as team:
            _trained(recipe, "convnet3", team=team)
        return step_of_stop

    def resumed(context: RankContext) -> dict[str, Any]:
        context.checkpoint = lambda: path if context.place.rank == 0 else None  # type: ignore[method-assign]
        with ranks.team(context) as team:
            return _trained(recipe, "convnet3", team=team)

    at = on_ranks(2, tmp_path / "stopped", stopped)
    assert at[0] == at[1] > 1
    assert at[0] <= 3
    whole = _on_ranks(2, tmp_path / "whole", recipe, "convnet3")
    for one, other in zip(on_ranks(2, tmp_path / "resumed", resumed), whole, strict=True):
        assert {n: v.tobytes() for n, v in one.items()} == {n: v.tobytes() for n, v in other.items()}


def test_a_rank_that_dies_is_noticed_at_once(tmp_path: Path) -> None:
    """Its partner gets a RankLostError from the collective it is in, long before the time-out."""

    def work(context: RankContext) -> None:
        with ranks.team(context) as team:
            if context.place.rank == 1:
                os.kill(os.getpid(), signal.SIGKILL)
            with pytest.raises(RankLostError) as caught:
                team.collected(None)
            os._exit(0 if "another rank is gone" in str(caught.value) else 1)  # `close` would find it gone again

    assert statuses_on_ranks(2, tmp_path, work) == [0, -signal.SIGKILL]


def test_what_ranks_collect_arrives_in_their_order(tmp_path: Path) -> None:
    """Objects of any size, on rank 0 alone; and the others' CPU time is told to rank 0."""

    def work(context: RankContext) -> Any:
        with ranks.team(context) as team:
            found = team.collected(np.arange(1000 * context.place.rank))
        return [len(part) for part in found], context.ranks_cpu_s

    (first, cpu_s), (second, nothing) = on_ranks(2, tmp_path, work)
    assert (first, second, nothing) == ([0, 1000], [], 0)
    assert cpu_s > 0


def test_a_number_of_rank_0_is_told_to_all(tmp_path: Path) -> None:
    """What the others have there does not count."""

    def work(context: RankContext) -> int:
        with ranks.team(context) as team:
            return team.told(7_000_000_000 * (1 - context.place.rank))

    assert on_ranks(2, tmp_path, work) == [7_000_000_000] * 2


def test_accumulation_is_refused_with_several_ranks(tmp_path: Path) -> None:
    """Gradients of single batches are not kept apart, so a checkpoint in between could not be exact."""

    def work(context: RankContext) -> str:
        with ranks.team(context) as team:
            with pytest.raises(StageError) as caught:
                _trained(training(4, 20, accumulate=2), "convnet3", team=team)
            return str(caught.value)

    assert all("accumulate 2 with 2 ranks" in text for text in on_ranks(2, tmp_path, work))


def test_one_rank_needs_no_rendezvous(tmp_path: Path) -> None:
    """A team of one exchanges nothing, and leaves a network as it is."""
    from condhpc.joining import Place

    with ranks.team(RankContext(tmp_path, Place())) as team:
        model = models.build("convnet3", 10, SIDE_PX, 0)
        kinds = [type(m) for m in model.modules()]
        team.prepare(model)
        assert [type(m) for m in model.modules()] == kinds
        assert team.collected(3) == [3]
    assert not list(tmp_path.iterdir())
