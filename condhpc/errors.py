"""Errors that say where, what was found, what was expected and what to do; one exit code per family."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence


class CondhpcError(Exception):
    """Base of every error that a user can cause or mend; shown without a traceback."""

    exit_code = 1


class InputError(CondhpcError):
    """A manifest, profile or command line that cannot be understood."""

    exit_code = 2


class ProblemsError(InputError):
    """All problems of one input at once."""

    def __init__(self, problems: Sequence[str]) -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = "1 problem" if count == 1 else f"{count} problems"
        super().__init__("\n".join([f"{head}:", *(f"  - {p}" for p in self.problems)]))


class UnknownNameError(InputError):
    """A plug-in, parameter or role that does not exist."""


class StoreError(CondhpcError):
    """The store on disk is not what it should be."""

    exit_code = 3


class CorruptArtefactError(StoreError):
    """An artefact that is truncated, altered or of another kind than its record says."""


class InputMissingError(StoreError):
    """An input of a task has no usable record (yet): the task is blocked."""


class SchedulerError(CondhpcError):
    """Slurm refused, failed or did not answer in time."""

    exit_code = 4


class StageError(CondhpcError):
    """A stage cannot go on, for a reason that a user can mend (data, device, divergence)."""

    exit_code = 5


class Stopped(CondhpcError):  # noqa: N818 - not a failure: the task left a checkpoint and will go on later
    """The task was asked to stop, has written its checkpoint and ends without a record."""

    exit_code = 75  # EX_TEMPFAIL


class LeaseLostError(CondhpcError):
    """Another attempt took this task over; what this one computes must not be published."""

    exit_code = 76


class RankLostError(CondhpcError):
    """Another rank of this attempt is gone or silent; why is in its own words, or nowhere."""


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?` or, without a near name, `; known: a, b, c`; empty where nothing is known."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean '{close[0]}'?"
    return f"; known: {', '.join(names)}" if names else ""


def first_few(names: Sequence[str], count: int) -> str:
    """`a, b and 3 more`: at most `count` of the names."""
    more = f" and {len(names) - count} more" if len(names) > count else ""
    return f"{', '.join(names[:count])}{more}"
