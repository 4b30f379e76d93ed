"""What a person types to filter by: a text, a regular expression, or the inverse of either; pure."""

from __future__ import annotations

import re
from collections.abc import Callable

Matcher = Callable[[str], bool]
"""Takes a case-folded text."""
_REGEX = re.compile(r"[\\^$.|?*+()\[\]{}]")


def matcher(needle: str) -> Matcher | None:
    """A filter; None keeps everything.

    `!` in front inverts. What holds a character of regular expressions and is one is taken as one, and also
    literally: `[/x]` and `1.5` are found as they stand. What is no regular expression is a text. Case is ignored.
    """
    text = needle.strip()
    inverse = text.startswith("!")
    folded = text[inverse:].strip().casefold()
    if not folded:
        return None
    found = _plain(folded) if _REGEX.search(folded) is None else _regex(folded)
    return _inverse(found) if inverse else found


def _plain(folded: str) -> Matcher:
    return lambda hay: folded in hay


def _regex(folded: str) -> Matcher:
    try:
        pattern = re.compile(folded)
    except (re.error, OverflowError, RecursionError):
        return _plain(folded)
    return lambda hay: folded in hay or pattern.search(hay) is not None


def _inverse(found: Matcher) -> Matcher:
    return lambda hay: not found(hay)
