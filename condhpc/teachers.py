"""Teacher roles: what a `[teachers.<role>]` block says, and the role that needs none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Literal

import msgspec
from msgspec import Meta

from condhpc.spec import Value, WeightsSpec
from condhpc.typed_toml import Name

if TYPE_CHECKING:
    from collections.abc import Mapping

Seed = Annotated[int, Meta(ge=0, le=2**32 - 1)]
Epochs = Annotated[int, Meta(ge=1, le=1_000_000)]
Batch = Annotated[int, Meta(ge=2)]
"""Batch norm has no statistics of a single image."""
_Rate = Annotated[float, Meta(gt=0.0)]

SINGLE = "single"
"""Role whose training a role without a block takes over."""
EDC_BACKBONES = "edc_backbones"
_EDC_ARCHS = ("resnet18", "mobilenet_v2", "efficientnet_b0", "shufflenet_v2_x0_5", "alexnet")
"""What EDC recovers from (arXiv 2404.13733)."""
_ALEXNET_FROM_PX = 64
_ALEXNET_SGD_LR = 0.01
"""Torchvision's recipe: without batch norm it diverges at ten times as much, which is right for the others."""


class Teacher(Value, frozen=True):
    """A role: one classifier, or a committee of several, of each dataset that needs it."""

    # NOTE: plain `str`, because msgspec 0.22 crashes on a union of an array and a string with a pattern.
    arch: Annotated[tuple[str, ...], Meta(min_length=1)] | str
    """One architecture, or a list: a committee."""
    epochs: Epochs | None = None
    """Passes over the training split. Required unless `weights` are given."""
    batch: Batch = 128
    optimizer: Literal["sgd", "adamw"] = "sgd"
    lr: _Rate | Annotated[tuple[_Rate, ...], Meta(min_length=1)] = 0.1
    """Peak learning rate; cosine to zero. One for all members, or one per member."""
    weight_decay: Annotated[float, Meta(ge=0.0)] = 5e-4
    seed: Seed | Annotated[tuple[Seed, ...], Meta(min_length=1)] = 0
    """One for all members, or one per member."""
    split: Name = "train"
    weights: WeightsSpec | tuple[WeightsSpec, ...] | None = None
    """Trained elsewhere: name (the profile maps it to a file) and SHA-256; a list has one per member."""

    @property
    def members(self) -> tuple[tuple[str, int, WeightsSpec | None], ...]:
        """(arch, seed, weights) of each member."""
        archs = self.arch if isinstance(self.arch, tuple) else (self.arch,)
        seeds = (self.seed,) * len(archs) if isinstance(self.seed, int) else self.seed
        given = self.weights if isinstance(self.weights, tuple) else (self.weights,) * len(archs)
        return tuple(zip(archs, seeds, given, strict=False))

    @property
    def rates(self) -> tuple[float, ...]:
        """Learning rate of each member."""
        return self.lr if isinstance(self.lr, tuple) else (self.lr,) * len(self.members)

    @property
    def committee(self) -> bool:
        """Whether `arch` is a list; a list of one is a committee of one."""
        return isinstance(self.arch, tuple)

    def on(self, side: int) -> Teacher:
        """The role on images of that side, pixels."""
        del side
        return self


class _EdcBackbones(Teacher, frozen=True):
    """EDC's five; AlexNet, the last, only where images are large enough for it."""

    def on(self, side: int) -> Teacher:
        if side >= _ALEXNET_FROM_PX:
            return self
        return msgspec.structs.replace(self, arch=self.arch[:-1], lr=self.rates[:-1])


def with_built_in(teachers: Mapping[str, Teacher]) -> dict[str, Teacher]:
    """The blocks, and `edc_backbones` trained as `single` is, unless it has a block or `single` is not trained here."""
    single = teachers.get(SINGLE)
    if EDC_BACKBONES in teachers or single is None or single.epochs is None:
        return dict(teachers)
    lr = single.rates[0]
    low = min(lr, _ALEXNET_SGD_LR) if single.optimizer == "sgd" else lr
    backbones = _EdcBackbones(
        arch=_EDC_ARCHS,
        epochs=single.epochs,
        batch=single.batch,
        optimizer=single.optimizer,
        lr=(*(lr for _ in _EDC_ARCHS[:-1]), low),
        weight_decay=single.weight_decay,
        seed=single.members[0][1],
        split=single.split,
    )
    return {**teachers, EDC_BACKBONES: backbones}
