"""One line of `condhpc doctor`."""

from __future__ import annotations

from typing import Literal

import msgspec


class Check(msgspec.Struct, frozen=True):
    """What was looked at, what was found, and what to do about it."""

    name: str
    verdict: Literal["ok", "warn", "fail"]
    found: str
    advice: str = ""
    """What to do; empty only where all is well."""


def ok(name: str, found: str) -> Check:
    """All is well."""
    return Check(name, "ok", found)


def warn(name: str, found: str, advice: str) -> Check:
    """Worth a look; nothing is known to fail."""
    return Check(name, "warn", found, advice)


def fail(name: str, found: str, advice: str) -> Check:
    """Something will not work."""
    return Check(name, "fail", found, advice)
