"""Drives a method over its groups: progress, checkpoints with what is finished and what is open, images in order."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from condhpc.errors import StageError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from condhpc.methods.base import Group, Reporter, Steps

_FORMAT = 1


class _Rate:
    """Steps per second of this attempt, and how long what is left will take."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._first: float | None = None

    def values(self, step: float, total: float, images_per_step: float) -> dict[str, float]:
        """Of progress in steps, whole groups as well as open ones."""
        if self._first is None or step <= self._first:
            self._first, self._began_s = step, time.monotonic()
            return {}
        spent_s = time.monotonic() - self._began_s
        if spent_s <= 0:
            return {}
        rate = (step - self._first) / spent_s
        return {"images_s": rate * images_per_step, "eta_s": (total - step) / rate}


class _GroupSteps:
    """Safe points of the open group, as `methods.base.Steps` asks for."""

    def __init__(self, run: _Run, images: int, resumed: dict[str, Any] | None) -> None:
        self.resumed = resumed
        self._run = run
        self._images = images

    def tick(self, step: int, total: int, state: Callable[[], dict[str, Any]] | None = None, **values: float) -> None:
        """Within the whole: groups before it count as many steps as this one has."""
        self._run.tick(step, total, self._images, state, values)


class _Run:
    """What is finished, and the task's reporter."""

    def __init__(self, report: Reporter, groups: int, signature: str) -> None:
        self.finished: list[torch.Tensor] = []
        self._report = report
        self._groups = groups
        self._signature = signature
        self._rate = _Rate()
        self._steps_per_group = 1

    def end_group(self, images: int) -> None:
        """A safe point between groups: a checkpoint here has no open one."""
        self.tick(0, self._steps_per_group, images, dict, {})

    def tick(
        self, step: int, total: int, images: int, state: Callable[[], dict[str, Any]] | None, values: dict[str, float]
    ) -> None:
        """At `step` of `total` of the open group."""
        self._steps_per_group = total
        done = len(self.finished) * total + step
        told = values | self._rate.values(done, self._groups * total, images)
        save = None if state is None else self._saver(state)
        self._report.tick(done, self._groups * total, save, **told)

    def _saver(self, state: Callable[[], dict[str, Any]]) -> Callable[[Path], None]:
        def save(path: Path) -> None:
            held = {"format": _FORMAT, "signature": self._signature, "finished": self.finished, "state": state()}
            torch.save(held, path)

        return save

    def resume(self) -> dict[str, Any] | None:
        """Take over what an earlier attempt finished; the state of the group that it left open, if any.

        A checkpoint only saves time: one that cannot be read, or is of other work, is as good as none.
        """
        held = read_state(self._report.checkpoint(), self._signature)
        if held is None:
            return None
        self.finished = list(held["finished"])
        return held["state"] or None


def read_state(path: Path | None, signature: str) -> dict[str, Any] | None:
    """A checkpoint of the work with that signature; None where there is none that can be used."""
    if path is None:
        return None
    try:
        held: dict[str, Any] = torch.load(path, map_location="cpu", weights_only=True)
        fits = isinstance(held, dict) and (held["format"], held["signature"]) == (_FORMAT, signature)
    except (OSError, EOFError, RuntimeError, ValueError, KeyError, pickle.UnpicklingError):
        return None
    return held if fits else None


def run(
    condense: Callable[[Steps, Group], NDArray[np.uint8]], groups: Sequence[Group], side: int, report: Reporter
) -> NDArray[np.uint8]:
    """Images (n, side, side, 3) of all groups, one after the other.

    Raises StageError where a group's images are of another number, size or type than its units.
    """
    signature = repr([(len(units), [unit.name for unit in units]) for units in groups])
    held = _Run(report, len(groups), signature)
    state = held.resume()
    for group in groups[len(held.finished) :]:
        count = sum(len(unit.labels) for unit in group)
        images = condense(_GroupSteps(held, count, state), group)
        _require(images, (count, side, side, 3), group)
        state = None
        held.finished.append(torch.from_numpy(np.ascontiguousarray(images)))
        held.end_group(count)
    return np.concatenate([part.numpy() for part in held.finished])


def _require(images: NDArray[np.uint8], shape: tuple[int, ...], group: Group) -> None:
    if images.dtype != np.uint8 or images.shape != shape:
        name = ", ".join(unit.name for unit in group)
        raise StageError(f"{name}: the method gave {images.dtype} {images.shape}, expected uint8 {shape}")


class Alone:
    """Safe points of work in one piece (a preparation), as `methods.base.Steps` asks for."""

    def __init__(self, report: Reporter, signature: str) -> None:
        self._report = report
        self._signature = signature
        self._rate = _Rate()
        held = read_state(report.checkpoint(), signature)
        self.resumed: dict[str, Any] | None = None if held is None else held["state"]

    def tick(self, step: int, total: int, state: Callable[[], dict[str, Any]] | None = None, **values: float) -> None:
        """Report, with a checkpoint where one is due."""

        def save(path: Path) -> None:
            assert state is not None
            torch.save({"format": _FORMAT, "signature": self._signature, "state": state()}, path)

        told = values | self._rate.values(step, total, 1.0)
        self._report.tick(step, total, None if state is None else save, **told)


def in_class_order(images_NHWC: NDArray[np.uint8], groups: Sequence[Group], ipc: int) -> NDArray[np.uint8]:
    """Images of groups, one after the other, as image 0..ipc−1 of class 0, then of class 1, …

    Raises StageError unless the groups name every place of every class once.
    """
    slots = [label * ipc + place for group in groups for unit in group for label, place in zip(*unit[1:], strict=True)]
    if sorted(slots) != list(range(len(images_NHWC))):
        raise StageError(f"the method's groups have {len(slots)} images, not each of {len(images_NHWC)} places once")
    found = np.empty_like(images_NHWC)
    found[slots] = images_NHWC
    return found
