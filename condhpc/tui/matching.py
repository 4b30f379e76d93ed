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
    wanted = text[inverse:].strip()
    if not wanted:
        return None
    found = _plain(wanted.casefold()) if _REGEX.search(wanted) is None else _regex(wanted)
    return _inverse(found) if inverse else found


def _plain(folded: str) -> Matcher:
    return lambda hay: folded in hay


def _regex(wanted: str) -> Matcher:
    folded = wanted.casefold()
    try:
        pattern = re.compile(wanted, re.IGNORECASE)
    except (re.error, OverflowError, RecursionError):
        return _plain(folded)
    return lambda hay: folded in hay or pattern.search(hay) is not None


def _inverse(found: Matcher) -> Matcher:
    return lambda hay: not found(hay)
