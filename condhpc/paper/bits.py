"""Which test images each student got right: read from its record when a comparison asks, for tables carry no bits."""

from __future__ import annotations

import base64
import binascii
from typing import TYPE_CHECKING

import msgspec
import numpy as np

from condhpc.layout import Layout

if TYPE_CHECKING:
    from numpy.typing import NDArray

_ROUNDING_PCT = 1e-6


class _Values(msgspec.Struct, frozen=True):
    top1_pct: float
    test_count: int
    correct_bits: str = ""


class _Record(msgspec.Struct, frozen=True):
    values: _Values


_decoder = msgspec.json.Decoder(_Record)


class BitsError(ValueError):
    """An evaluation's bits cannot be read or are not those of its accuracy."""


def read(layout: Layout, key: str) -> NDArray[np.uint8] | None:
    """0 or 1 per test image (N,), in the order of the test split; None where a record has none; raises BitsError."""
    path = layout.task("evaluate", key).record
    try:
        values = _decoder.decode(path.read_bytes()).values
        if not values.correct_bits:
            return None
        packed = np.frombuffer(base64.b64decode(values.correct_bits, validate=True), dtype=np.uint8)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError, binascii.Error) as error:
        raise BitsError(f"{path}: no readable `correct_bits` ({error})") from error
    if len(packed) != -(-values.test_count // 8) or not len(packed):
        raise BitsError(
            f"{path}: {len(packed)} bytes of `correct_bits`, expected one bit for {values.test_count} images"
        )
    found = np.unpackbits(packed)[: values.test_count]
    if abs(100.0 * float(found.mean()) - values.top1_pct) > _ROUNDING_PCT:
        raise BitsError(
            f"{path}: `correct_bits` say {100.0 * float(found.mean()):g} %, `top1_pct` {values.top1_pct:g} %"
        )
    return found
