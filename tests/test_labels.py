"""Label sources and losses on them."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional

from condhpc import labels, models, registry
from condhpc.augment import Mix
from condhpc.errors import StageError
from condhpc.feed import Batch
from condhpc.label_files import LabelReader, LabelShape, LabelWriter
from condhpc.spec import Protocol, TeacherLabels

LABELS_n = torch.tensor([0, 2, 1, 1])
MIX = Mix(np.array([1, 0, 3, 2]), 0, 0, 1, 1, 0.7)
SIDE_PX = 2


class Constant(nn.Module):
    """A teacher whose logits are its images' first numbers times a factor."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = nn.Parameter(torch.tensor(factor))

    def forward(self, images_nCHW: torch.Tensor) -> torch.Tensor:
        """Logits (n, 3)."""
        return images_nCHW.flatten(1)[:, :3] * self.factor


def batch(mix: Mix | None = None, seed: int = 1, side: int = SIDE_PX) -> Batch:
    """Four images of noise."""
    images_nCHW = torch.randn(4, 3, side, side, generator=torch.Generator().manual_seed(seed))
    positions_n = np.array([3, 0, 2, 1])
    return Batch(
        step=0,
        epoch=0,
        row=0,
        positions_n=positions_n,
        labels_n=LABELS_n,
        images_nCHW=images_nCHW,
        unmixed_nCHW=images_nCHW,
        mix=mix,
        partner_labels_n=LABELS_n if mix is None else LABELS_n[torch.from_numpy(mix.partner_N)],
        whole_positions_N=positions_n,
        whole_labels_N=LABELS_n,
        start=0,
    )


def told(temperature: float = 20.0, **changes: Any) -> TeacherLabels:
    """Mean of softmax."""
    return TeacherLabels(form=changes.pop("form", "softmax"), temperature=temperature, **changes)


def loss_of(teachers: list[nn.Module], recipe: TeacherLabels, **changes: Any) -> labels.Loss:
    """The loss of `single_teacher` with other labels."""
    protocol: Protocol = registry.load("protocols", "single_teacher")
    protocol = msgspec.structs.replace(protocol, teacher=recipe, **changes)
    return labels.teacher_labels(labels.online(teachers, recipe, SIDE_PX), protocol)


def _logits(seed: int = 0) -> torch.Tensor:
    return torch.randn(4, 3, generator=torch.Generator().manual_seed(seed))


def _mixture(labels_nK: torch.Tensor) -> torch.Tensor:
    return MIX.own_share * labels_nK + (1 - MIX.own_share) * labels_nK[MIX.partner_N]


def test_hard_labels_are_cross_entropy() -> None:
    """−log softmax at the label, mean over the batch."""
    logits_nK = _logits()
    expected = -logits_nK.log_softmax(1)[torch.arange(4), LABELS_n].mean()
    assert torch.isclose(labels.hard_labels(0.0)(batch(), logits_nK), expected)


@pytest.mark.parametrize("smoothing", [0.0, 0.1])
def test_mixed_images_are_taught_mixed_labels(smoothing: float) -> None:
    """The loss of a mixed image is cross-entropy with the area-weighted mixture of both labels."""
    logits_nK = _logits()
    soft_nK = _mixture(torch.eye(3)[LABELS_n]) * (1 - smoothing) + smoothing / 3
    expected = -(soft_nK * logits_nK.log_softmax(1)).sum(1).mean()
    assert torch.isclose(labels.hard_labels(smoothing)(batch(MIX), logits_nK), expected)


@pytest.mark.parametrize("mix", [None, MIX])
def test_labels_of_a_set_are_looked_up_by_position(mix: Mix | None) -> None:
    """Cross-entropy with the rows at the batch's positions, mixed like the images."""
    soft_NK = torch.rand(5, 3, generator=torch.Generator().manual_seed(4)).softmax(1)
    own_nK = soft_NK[[3, 0, 2, 1]]
    wanted_nK = own_nK if mix is None else _mixture(own_nK)
    logits_nK = _logits()
    expected = -(wanted_nK * logits_nK.log_softmax(1)).sum(1).mean()
    assert torch.isclose(labels.set_labels(soft_NK)(batch(mix), logits_nK), expected)


def test_teacher_labels_are_kl_without_t_squared() -> None:
    """Σ p_t (log p_t − log p_s) at T, summed over classes, mean over images, no factor before it."""
    logits_nK, temperature = _logits(), 20.0
    teacher, seen = Constant(5.0), batch(MIX)
    soft_nK = (teacher(seen.images_nCHW) / temperature).softmax(1).detach()
    log_student_nK = (logits_nK / temperature).log_softmax(1)
    expected = (soft_nK * (soft_nK.log() - log_student_nK)).sum(1).mean()
    assert torch.isclose(loss_of([teacher], told())(seen, logits_nK), expected, rtol=1e-4, atol=0.0)


def test_a_student_like_its_teacher_has_no_loss() -> None:
    """KL is zero at equality and positive elsewhere."""
    teacher, seen = Constant(2.0), batch()
    loss = loss_of([teacher], told(4.0))
    like_nK = teacher(seen.images_nCHW).detach()
    assert float(loss(seen, like_nK)) == pytest.approx(0.0, abs=1e-6)
    assert float(loss(seen, -like_nK)) > 0.01


def test_several_teachers_speak_with_the_mean_of_their_softmax() -> None:
    """Probabilities at T are averaged, not logits."""
    teachers, seen = [Constant(9.0), Constant(-3.0)], batch()
    soft_nK = torch.stack([(t(seen.images_nCHW) / 2.0).softmax(1) for t in teachers]).mean(0).detach()
    loss = loss_of([*teachers], told(2.0))
    assert float(loss(seen, 2.0 * soft_nK.log())) == pytest.approx(0.0, abs=1e-6)


def test_votes_can_be_weighted() -> None:
    """CV-DD: one weight per teacher, in the order of the committee; a wrong number of them is an error."""
    logits_MnK = torch.randn(3, 4, 5, generator=torch.Generator().manual_seed(2))
    weights = (0.5, 0.3, 0.2)
    expected = sum(w * (z / 7.0).softmax(1) for w, z in zip(weights, logits_MnK, strict=True))
    assert torch.allclose(labels.combined(logits_MnK, told(7.0), weights), torch.as_tensor(expected))
    with pytest.raises(StageError, match="2 weights for 1 teachers, expected one for each"):
        labels.online([Constant(1.0)], told(weights=(0.5, 0.5)), SIDE_PX)


def test_logits_of_equal_norms() -> None:
    """G-VBSM: each member's logits of an image get the members' mean norm before the mean; EDC takes the mean alone."""
    logits_MnK = (
        torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(2)) * torch.tensor([1.0, 30.0])[:, None, None]
    )
    for image in range(4):
        first, second = logits_MnK[:, image].numpy().astype(np.float64)
        norms = np.linalg.norm(first), np.linalg.norm(second)
        expected = (first / norms[0] + second / norms[1]) * np.mean(norms) / 2
        found = labels.combined(logits_MnK, told(form="logits", equal_norms=True), (0.5, 0.5))[image]
        assert np.allclose(found.numpy(), expected, rtol=1e-5)
    plain = labels.combined(logits_MnK, told(form="logits"), (0.5, 0.5))
    assert torch.allclose(plain, logits_MnK.mean(0))


def test_squared_error_with_a_part_of_hard_labels() -> None:
    """EDC and G-VBSM: mean squared error of logits plus a share of cross-entropy that follows the mixing."""
    teacher, seen, logits_nK = Constant(3.0), batch(MIX), _logits()
    soft = ((teacher(seen.images_nCHW) - logits_nK) ** 2).mean().detach()
    hard = -(_mixture(torch.eye(3)[LABELS_n]) * logits_nK.log_softmax(1)).sum(1).mean()
    loss = loss_of([teacher], told(form="logits"), loss="mse", hard_weight=0.025)
    assert torch.isclose(loss(seen, logits_nK), soft + 0.025 * hard)


def test_batch_statistics_are_those_of_the_batch() -> None:
    """CV-DD: a teacher's label of an image depends on its batch, its dropout is off and its statistics stay put."""
    teacher = models.frozen(models.build("convnet3", 3, 8, 0))
    peer = models.build("convnet3", 3, 8, 0)
    seen = batch(side=8)
    ask = labels.online([teacher], told(form="logits", batch_statistics=True), 8)
    with torch.no_grad():
        expected_nK = peer.train()(seen.images_nCHW)
    assert torch.allclose(ask(seen), expected_nK, atol=1e-5)
    assert torch.equal(ask(seen), ask(seen))


def test_teachers_see_their_own_resolution() -> None:
    """A set of another resolution than the teacher's is resized for the teacher alone."""
    seen = batch(side=6)
    ask = labels.online([Constant(1.0)], told(form="logits"), SIDE_PX)
    small = functional.interpolate(seen.images_nCHW, size=(2, 2), mode="bilinear", antialias=True)
    assert torch.equal(ask(seen), small.flatten(1)[:, :3])


def test_no_gradient_reaches_a_teacher() -> None:
    """Labels are given, not learnt."""
    logits_nK = _logits().requires_grad_()
    teacher = Constant(1.0)
    loss_of([teacher], told())(batch(), logits_nK).backward()  # type: ignore[no-untyped-call]
    assert teacher.factor.grad is None
    assert logits_nK.grad is not None


def test_labels_from_nobody_are_refused() -> None:
    """A protocol with teacher labels and no teacher among the inputs is told so."""
    with pytest.raises(StageError, match="no teacher among its inputs"):
        labels.online([], told(), SIDE_PX)


@pytest.mark.parametrize("k", [1, 2, 4])
def test_top_k_keeps_the_largest_and_spreads_the_rest(k: int) -> None:
    """Kept entries are exact, the others share what is left evenly, so that rows still sum to one."""
    soft_nK = torch.rand(6, 5, generator=torch.Generator().manual_seed(3)).softmax(1)
    found_nK = labels.spread(labels.kept(soft_nK, k), 5)
    assert torch.allclose(found_nK.sum(1), torch.ones(6))
    for row, kept in zip(found_nK.numpy(), soft_nK.numpy(), strict=True):
        largest = np.argsort(-kept)[:k]
        others = np.setdiff1d(np.arange(5), largest)
        assert np.array_equal(row[largest], kept[largest])
        assert np.allclose(row[others], kept[others].mean())


def test_all_entries_are_kept_without_k() -> None:
    """None, or as many as there are classes, changes nothing."""
    soft_nK = torch.rand(6, 5).softmax(1)
    for k in (None, 5, 9):
        assert torch.equal(labels.spread(labels.kept(soft_nK, k), 5), soft_nK)


@pytest.mark.parametrize("kept", [3, 2])
def test_cached_labels_are_what_was_written(kept: int, tmp_path: Path) -> None:
    """Rows come back in training order, to half precision, whether all entries were kept or some."""
    soft_RK = torch.rand(9, 3, generator=torch.Generator().manual_seed(5)).softmax(1)
    columns = labels.kept(soft_RK, kept)
    shape = LabelShape(rows=9, classes=3, kept=kept)
    writer = LabelWriter(tmp_path / "labels.h5", shape)
    writer.write(0, labels.stored(columns))
    writer.close({})
    ask = labels.cached(LabelReader(tmp_path / "labels.h5", shape), 3, "cpu")
    seen = dataclasses.replace(batch(), row=4)
    expected = labels.spread(columns, 3)[4:8]
    assert torch.allclose(ask(seen), expected, atol=1e-3)


def test_softmax_of_the_mean_of_logits() -> None:
    """CV-DD: logits are averaged first, then softened."""
    logits_MnK = torch.randn(2, 4, 5, generator=torch.Generator().manual_seed(2))
    found_nK = labels.combined(logits_MnK, told(7.0, form="softmax_of_logits"), (0.25, 0.75))
    assert torch.allclose(found_nK, ((0.25 * logits_MnK[0] + 0.75 * logits_MnK[1]) / 7.0).softmax(1))


def test_teachers_may_see_a_batch_in_parts() -> None:
    """With a group of two, four images are normalised two by two, whatever the other two are."""
    teacher = models.frozen(models.build("convnet3", 3, 8, 0))
    peer = models.build("convnet3", 3, 8, 0).train()
    seen = batch(side=8)
    ask = labels.online([teacher], told(form="logits", batch_statistics=True, group=2), 8)
    with torch.no_grad():
        expected_nK = torch.cat([peer(seen.images_nCHW[:2]), peer(seen.images_nCHW[2:])])
    assert torch.allclose(ask(seen), expected_nK, atol=1e-5)
