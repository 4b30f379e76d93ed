"""What a person types to filter by: a text, a regular expression, or the inverse of either; pure."""

from __future__ import annotations

import re
from collections.abc import Callable

Matcher = Callable[[str], bool]
"""Takes a case-folded text."""
_REGEX = re.compile(r"[\\^$.|?*+()\[\]{}]")
_CHARS = 256
"""Of a text that a regular expression looks at: its time grows with their third power at worst."""
_ATOM = re.compile(r"\\.|\[\^?\]?(?:\\.|[^\]\\])*\]", re.DOTALL)
"""An escaped character or a set of characters: nothing in it repeats or groups."""
_LEADING = re.compile(r"(?:\.\*\??)+(?![*+?{])")
"""Says nothing where a text is searched, and multiplies the time."""
_REPEAT = re.compile(r"(?:[*+?]|\{\d*,?\d*\})[+?]?")
_REPEATED_GROUP = re.compile(r"\)(?:[*+]|\{)")
_SPECIAL_GROUP = re.compile(r"\(\?[^:=!<P]")
"""A comment, flags, a condition: comments may hold brackets that are none, and nobody needs them in a filter."""
_MOST_REPEATS = 2
_MOST_GROUPS = 2
COSTLY = (
    f"a filter repeats at most {_MOST_REPEATS} times, has at most {_MOST_GROUPS} groups and repeats none: taken as text"
)


def matcher(needle: str) -> Matcher | None:
    """A filter; None keeps everything.

    `!` in front inverts. What holds a character of regular expressions and is one is taken as one, and also
    literally: `[/x]` and `1.5` are found as they stand. What is no regular expression, or one that `is_costly`, is a
    text. Case is ignored.
    """
    inverse, wanted = _parted(needle)
    if not wanted:
        return None
    is_text = _REGEX.search(wanted) is None or is_costly(needle)
    found = _plain(wanted.casefold()) if is_text else _regex(wanted)
    return _inverse(found) if inverse else found


def is_costly(needle: str) -> bool:
    """Whether a regular expression may take for ever on some text: `re` tries all ways in which repeats can share it.

    Stricter than need be, and simple: repeats within repeats double the ways with each character, and each repeat
    more multiplies them by the length of the text.
    """
    wanted = _parted(needle)[1]
    bare = _ATOM.sub("x", wanted).replace("(?", "(")
    is_odd = _SPECIAL_GROUP.search(wanted) is not None or _REPEATED_GROUP.search(bare) is not None
    return is_odd or len(_REPEAT.findall(bare)) > _MOST_REPEATS or bare.count("(") > _MOST_GROUPS


def _parted(needle: str) -> tuple[bool, str]:
    """Whether it is inverted, and what is wanted."""
    text = needle.strip()
    inverse = text.startswith("!")
    return inverse, text[inverse:].strip()


def _plain(folded: str) -> Matcher:
    return lambda hay: folded in hay


def _regex(wanted: str) -> Matcher:
    folded, leading = wanted.casefold(), _LEADING.match(wanted)
    try:
        pattern = re.compile(wanted[leading.end() if leading else 0 :], re.IGNORECASE)
    except (re.error, OverflowError, RecursionError):
        return _plain(folded)
    return lambda hay: folded in hay or pattern.search(hay, 0, _CHARS) is not None


def _inverse(found: Matcher) -> Matcher:
    return lambda hay: not found(hay)
