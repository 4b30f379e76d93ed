"""What a student is taught: label sources, and losses on them.

Shapes: n images of a batch, K classes, M teachers, k entries kept of a label.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from condhpc import models
from condhpc.device import to_device
from condhpc.errors import StageError
from condhpc.feed import Batch

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor

    from condhpc.augment import Mix
    from condhpc.label_files import LabelReader
    from condhpc.spec import Protocol, TeacherLabels

Loss = Callable[[Batch, "Tensor"], "Tensor"]
"""(batch, the student's logits_nK float32) to a scalar."""
Source = Callable[[Batch], "Tensor"]
"""Teachers' labels (n, K) float32 of a batch: probabilities or logits, as `TeacherLabels.form` says."""


def hard_labels(smoothing: float) -> Loss:
    """Cross-entropy with the images' own labels; of mixed images, both labels weighted by share."""

    def loss(batch: Batch, logits_nK: Tensor) -> Tensor:
        return _hard(logits_nK, batch, smoothing)

    return loss


def set_labels(soft_NK: Tensor) -> Loss:
    """Cross-entropy with the soft labels (N, K) that came with a set; of mixed images, both weighted by share."""

    def loss(batch: Batch, logits_nK: Tensor) -> Tensor:
        own_nK = soft_NK[to_device(batch.positions_n, soft_NK.device)]
        return functional.cross_entropy(logits_nK, _mixed(own_nK, batch.mix))

    return loss


def teacher_labels(source: Source, protocol: Protocol) -> Loss:
    """KL from the labels to the student's softmax at the labels' T, or mean squared error of logits.

    KL is a mean over the batch without the factor T²: the form of SRe2L, RDED and all that follow them (gradients
    are T² smaller than in textbook distillation, which Adam does not notice). `hard_weight` adds cross-entropy.
    """
    if protocol.teacher is None:
        raise StageError(f"protocol '{protocol.name}' takes labels from teachers, but does not say how")
    temperature = protocol.teacher.temperature

    def loss(batch: Batch, logits_nK: Tensor) -> Tensor:
        target_nK = source(batch)
        if protocol.loss == "mse":
            soft = functional.mse_loss(logits_nK, target_nK)
        else:
            soft = functional.kl_div(
                functional.log_softmax(logits_nK / temperature, dim=1), target_nK, reduction="batchmean"
            )
        if not protocol.hard_weight:
            return soft
        return soft + protocol.hard_weight * _hard(logits_nK, batch, protocol.label_smoothing)

    return loss


def online(teachers: Sequence[nn.Module], recipe: TeacherLabels, side: int, compile_mode: str = "") -> Source:
    """Frozen teachers see the very images that the student sees, resized to their `side` where that differs."""
    if not teachers:
        raise StageError("labels come from teachers, but the task has no teacher among its inputs")
    for teacher in teachers:
        teacher.eval()
        if recipe.batch_statistics:
            _use_batch_statistics(teacher)
    weights_M = _weights(recipe, len(teachers))
    asked = [models.compiled(teacher, compile_mode) for teacher in teachers]

    def source(batch: Batch) -> Tensor:
        with torch.no_grad():
            images_nCHW = _resized(batch.images_nCHW, side)
            cuts = images_nCHW.tensor_split(_parts(recipe, len(images_nCHW)))
            logits_MnK = torch.stack([torch.cat([ask(part_nCHW).float() for part_nCHW in cuts]) for ask in asked])
            return combined(logits_MnK, recipe, weights_M)

    return source


def cached(reader: LabelReader, classes: int, device: str) -> Source:
    """Labels that a relabel task wrote for exactly these batches."""

    def source(batch: Batch) -> Tensor:
        columns = reader.read(batch.row, len(batch.positions_n))
        # Few operations on a GPU take unsigned 16-bit integers, the type of classes in the file.
        plain = (column.astype(np.int32) if column.dtype == np.uint16 else column for column in columns)
        return spread([to_device(column, device) for column in plain], classes)

    return source


def combined(logits_MnK: Tensor, recipe: TeacherLabels, weights_M: Sequence[float]) -> Tensor:
    """One label (n, K) of several teachers' logits, by the recipe's form, with a weight for each teacher."""
    if recipe.form == "softmax":
        votes_MnK = functional.softmax(logits_MnK / recipe.temperature, dim=2)
    elif recipe.equal_norms:
        norms_Mn1 = logits_MnK.norm(dim=2, keepdim=True).clamp_min(1e-12)
        votes_MnK = logits_MnK * (norms_Mn1.mean(dim=0) / norms_Mn1)
    else:
        votes_MnK = logits_MnK
    weights_M11 = torch.tensor(weights_M, device=logits_MnK.device)[:, None, None]
    mean_nK = (weights_M11 * votes_MnK).sum(dim=0)
    return functional.softmax(mean_nK / recipe.temperature, dim=1) if recipe.form == "softmax_of_logits" else mean_nK


def kept(labels_nK: Tensor, k: int | None) -> tuple[Tensor, ...]:
    """What is kept of labels: all (n, K), or the k largest entries (n, k), their classes, and the mean of the others.

    The mean (n,) keeps each row's sum.
    """
    classes = labels_nK.shape[1]
    if k is None or k >= classes:
        return (labels_nK,)
    values_nk, classes_nk = labels_nK.topk(k, dim=1)
    rest_n = (labels_nK.sum(dim=1) - values_nk.sum(dim=1)) / (classes - k)
    return values_nk, classes_nk, rest_n


def spread(columns: Sequence[Tensor], classes: int) -> Tensor:
    """Labels (n, K) float32 from what `kept` left of them."""
    if len(columns) == 1:
        return columns[0].float()
    values_nk, classes_nk, rest_n = columns
    return rest_n[:, None].expand(-1, classes).scatter(1, classes_nk.long(), values_nk.float())


def stored(columns: Sequence[Tensor]) -> list[NDArray[Any]]:
    """The same as arrays in the types of a file of labels: float16, and uint16 and float32 beside it."""
    types = (np.float16, np.uint16, np.float32)
    return [column.cpu().numpy().astype(dtype) for column, dtype in zip(columns, types, strict=False)]


def _hard(logits_nK: Tensor, batch: Batch, smoothing: float) -> Tensor:
    own = functional.cross_entropy(logits_nK, batch.labels_n, label_smoothing=smoothing)
    if batch.mix is None:
        return own
    other = functional.cross_entropy(logits_nK, batch.partner_labels_n, label_smoothing=smoothing)
    return batch.mix.own_share * own + (1.0 - batch.mix.own_share) * other


def _mixed(own_nK: Tensor, mix: Mix | None) -> Tensor:
    if mix is None:
        return own_nK
    partner_nK = own_nK[to_device(mix.partner_N, own_nK.device)]
    return mix.own_share * own_nK + (1.0 - mix.own_share) * partner_nK


def _weights(recipe: TeacherLabels, count: int) -> tuple[float, ...]:
    if recipe.weights and len(recipe.weights) != count:
        raise StageError(f"{len(recipe.weights)} weights for {count} teachers, expected one for each")
    return recipe.weights or (1.0 / count,) * count


def _parts(recipe: TeacherLabels, count: int) -> int:
    return 1 if recipe.group is None else min(-(-count // recipe.group), max(count // 2, 1))


def _use_batch_statistics(teacher: nn.Module) -> None:
    """Batch norm without running statistics normalises by the batch, in eval mode too; dropout stays off."""
    for module in teacher.modules():
        if isinstance(module, nn.BatchNorm1d | nn.BatchNorm2d):
            module.running_mean = module.running_var = None


def _resized(images_nCHW: Tensor, side: int) -> Tensor:
    if images_nCHW.shape[-1] == side:
        return images_nCHW
    return functional.interpolate(images_nCHW, size=(side, side), mode="bilinear", antialias=True)
