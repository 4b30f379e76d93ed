"""Job ids as Slurm writes them: plain jobs, array elements and sets, truncated sets, federated ids."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence

import msgspec

from condhpc.errors import SchedulerError

_INDEX_CEILING = 4_000_001  # Slurm's own maximum of MaxArraySize
_ID = re.compile(
    r"(?P<parent>\d+)(?:\+(?P<het>\d+)|_(?P<index>\d+)|_\[(?P<set>[^\]]*)(?P<closed>\])?)?"
    r"(?:\.[^;\s]+)?(?:;(?P<cluster>\S+))?$"
)
_RANGE = re.compile(r"(\d+)(?:-(\d+)(?::(\d+))?)?$")


class JobIds(msgspec.Struct, frozen=True):
    """A job, an array element or a set of elements, as one id text names it."""

    parent: str
    """Job id, of the array where there is one."""
    indices: tuple[int, ...] | None = None
    """Sorted array indices; None for a job that is no array."""
    throttle: int | None = None
    """The `%n` of a pending array."""
    unknown_tail: bool = False
    """Slurm cut the text off: there are more elements than `indices` names."""
    het_offset: int | None = None
    """Component of a heterogeneous job."""
    cluster: str | None = None

    def elements(self) -> tuple[str, ...]:
        """The ids one by one: `123_4`, or `123` for a plain job."""
        if self.indices is None:
            return (self.parent,)
        return tuple(f"{self.parent}_{index}" for index in self.indices)


def parse_job_ids(text: str) -> JobIds:
    """Any id that squeue, sacct or sbatch prints; a step is dropped.

    A text that goes on in an unknown way after the number has an unknown tail; one without a number is
    refused with SchedulerError.
    """
    match = _ID.match(text.strip())
    if match is None:
        number = re.match(r"\s*(\d+)", text)
        if number is None:
            raise SchedulerError(
                f"job id from Slurm: found {text[:80]!r}, expected a number first (123, 123_4, 123_[0-9%2]). "
                "Look at the command's output by hand; a wrapper around the Slurm commands may add text."
            )
        return JobIds(number[1], indices=(), unknown_tail=True)
    parent, cluster = match["parent"], match["cluster"]
    if match["set"] is not None:
        indices, throttle, cut = _parse_index_set(match["set"], closed=match["closed"] is not None)
        return JobIds(parent, indices, throttle, cut, cluster=cluster)
    index = None if match["index"] is None else (int(match["index"]),)
    het_offset = None if match["het"] is None else int(match["het"])
    return JobIds(parent, index, het_offset=het_offset, cluster=cluster)


def _parse_index_set(body: str, *, closed: bool) -> tuple[tuple[int, ...], int | None, bool]:
    """Indices, throttle and whether the set was cut; a number next to the cut may be half a number."""
    body, _, throttle_text = body.partition("%")
    whole, dots, _ = body.partition("...")
    cut = bool(dots) or not closed
    tokens = whole.split(",")[: -1 if cut else None]
    indices: set[int] = set()
    for token in tokens:
        match = _RANGE.match(token.strip())
        if match is None:
            cut = True
            break
        low, high, step = int(match[1]), int(match[2] or match[1]), int(match[3] or 1)
        if not (low <= high <= _INDEX_CEILING and step >= 1):
            cut = True
            break
        indices.update(range(low, high + 1, step))
    throttle = int(throttle_text) if closed and throttle_text.isdigit() else None
    return tuple(sorted(indices)), throttle, cut


def compress_ids(ids: Iterable[str], ranges_per_text: int = 500) -> list[str]:
    """Element ids as few texts: `20_4 20_5 20_6 21` becomes `20_[4-6] 21`; every index named exactly."""
    indices_of: dict[str, set[int]] = {}
    texts: dict[str, None] = {}
    for text in ids:
        job = parse_job_ids(text)
        if job.indices is None:
            texts[job.parent] = None
        else:
            indices_of.setdefault(job.parent, set()).update(job.indices)
    for parent, indices in indices_of.items():
        if parent in texts:
            continue
        ranges = list(_ranges(sorted(indices)))
        for start in range(0, len(ranges), ranges_per_text):
            texts[f"{parent}_[{','.join(ranges[start : start + ranges_per_text])}]"] = None
    return list(texts)


def _ranges(indices: Sequence[int]) -> Iterator[str]:
    start = 0
    for position, index in enumerate(indices):
        if position + 1 == len(indices) or indices[position + 1] != index + 1:
            first = indices[start]
            yield str(first) if first == index else f"{first}-{index}"
            start = position + 1


def parse_sbatch_reply(text: str) -> JobIds:
    """Job id (and cluster) from `123`, `123;cluster` or `Submitted batch job 123 [on cluster c]`.

    The last line that fits counts, because sites print notices before it; none is SchedulerError.
    """
    for line in reversed(text.splitlines()):
        match = re.fullmatch(r"\s*(\d+)(?:;(\S+))?\s*", line) or re.fullmatch(
            r"\s*Submitted batch job (\d+)(?: on cluster (\S+))?\s*", line
        )
        if match is not None:
            return JobIds(match[1], cluster=match[2])
    raise SchedulerError(
        f"reply of sbatch: found {text[-200:]!r}, expected a job id such as 123 or 123;cluster. "
        "The array may have been accepted all the same: look for its job name before submitting again."
    )
