"""What all values are made of: the frozen base, and numbers with bounds."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

Precision = Literal["fp32", "bf16"]
"""Arithmetic of forward and backward passes; bf16 runs on CUDA only."""

Positive = Annotated[int, Meta(ge=1)]
Fraction = Annotated[float, Meta(ge=0.0, le=1.0)]


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of all values: frozen, compared by content, strict about unknown fields."""
