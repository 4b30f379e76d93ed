"""Lines of a large table in one piece, in which a few are exchanged without a look at the others. Pure."""

from __future__ import annotations

from array import array
from collections.abc import Iterable, Iterator, Mapping
from itertools import accumulate

import msgspec


class KeptLines(msgspec.Struct, frozen=True, array_like=True):
    """Of each task one, in order; an empty one where it has none."""

    data: memoryview
    sizes: bytes
    """Of each line, bytes."""

    def exchanged(self, lines: Mapping[int, bytes]) -> KeptLines:
        """With others in these places."""
        if not lines:
            return self
        sizes = array("i")
        sizes.frombytes(self.sizes)
        parts = list(self._around(sizes, lines))
        for place, line in lines.items():
            sizes[place] = len(line)
        return KeptLines(memoryview(b"".join(parts)), sizes.tobytes())

    def _around(self, sizes: array[int], lines: Mapping[int, bytes]) -> Iterator[bytes | memoryview]:
        starts = list(accumulate(sizes, initial=0))
        done = 0
        for place in sorted(lines):
            yield self.data[done : starts[place]]
            yield lines[place]
            done = starts[place + 1]
        yield self.data[done:]


def keep(lines: Iterable[bytes]) -> KeptLines:
    """All of them."""
    held = list(lines)
    return KeptLines(memoryview(b"".join(held)), array("i", map(len, held)).tobytes())
