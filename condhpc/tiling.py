"""Mosaics on paper: how many crops make one, and which datasets have enough images for them. Needs no torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from condhpc.errors import StageError

if TYPE_CHECKING:
    from condhpc.spec import DatasetInfo

_SINGLE_UP_TO_PX = 64
"""RDED's code cuts no mosaics of CIFAR and Tiny-ImageNet."""


def factor_of(asked: int, resolution: int) -> int:
    """Crops along each side of a mosaic: as asked for; where that is 0, 1 up to 64 px, else 2."""
    return asked or (1 if resolution <= _SINGLE_UP_TO_PX else 2)


def required_factor(method: str, asked: int, resolution: int) -> int:
    """The same; raises StageError where the resolution is not a multiple of it."""
    factor = factor_of(asked, resolution)
    if resolution % factor:
        raise StageError(_indivisible(method, factor, resolution))
    return factor


def require_enough(method: str, label: int, count: int, factor: int, ipc: int) -> None:
    """Raise StageError unless a class of `count` images has as many as its mosaics have tiles."""
    if factor**2 * ipc > count:
        raise StageError(f"class {label} has {_too_few(method, count, factor, ipc)}")


def objection(method: str, asked: int, info: DatasetInfo, ipc: int) -> str:
    """Why no mosaics can be made of a dataset; empty where they can. Each tile comes from another image."""
    factor, smallest = factor_of(asked, info.resolution), min(info.train_class_sizes)
    if info.resolution % factor:
        return _indivisible(method, factor, info.resolution)
    too_few = factor**2 * ipc > smallest
    return f"the smallest class has {_too_few(method, smallest, factor, ipc)}" if too_few else ""


def _indivisible(method: str, factor: int, resolution: int) -> str:
    return f"params.{method}.factor = {factor} does not divide the resolution {resolution}"


def _too_few(method: str, count: int, factor: int, ipc: int) -> str:
    return (
        f"{count} images; ipc = {ipc} with {factor} × {factor} mosaics needs {factor**2 * ipc}; "
        f"lower ipc or params.{method}.factor"
    )
