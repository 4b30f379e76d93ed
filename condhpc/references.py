"""Reference lines: what a student reaches on all training data. They stand on the condensers axis and have no set."""

from __future__ import annotations

from typing import Literal

from condhpc.registry import Plugin


class Reference(Plugin):
    """All training data in the place of a condensed set, under the protocol of the cell."""

    seeded = False

    def __init__(self, length: Literal["same_steps", "schedule"]) -> None:
        self.length = length


REFERENCES = {
    "full_same_steps": Reference("same_steps"),
    "full_schedule": Reference("schedule"),
}
"""`full_same_steps`: as many steps as a set of the cell's ipc gets, what more images alone are worth.
`full_schedule`: a whole training, the ceiling; the same whatever the ipc, so it is computed once."""
