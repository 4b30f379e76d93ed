"""Lists of real images: a text file with one image a line, by position or by path: made, read, and what is wrong."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

_SHOWN_LINES = 20
_SHOWN_CHARS = 80
_POSITION = re.compile(r"-?[0-9]{1,18}")

Paths = Mapping[str, Sequence[str]]
"""Of each split, the paths in the dataset's folder; the place of a path is the image's position."""


def positions(path: Path, paths: Paths, own: str, problems: list[str]) -> list[int]:
    """Positions in the split `own` of the images that a file lists, in its order, each once.

    Blank lines and what follows a `#` do not count. What is wrong goes to `problems`, with its line.
    """
    find = _finder(paths, own)
    line_of: dict[int, int] = {}
    wrong: list[str] = []
    for number, line in enumerate(_lines(path, problems), 1):
        entry = _entry(line)
        if not entry:
            continue
        found = find(entry)
        if isinstance(found, int) and found not in line_of:
            line_of[found] = number
            continue
        why = found if isinstance(found, str) else f"the same image as in line {line_of[found]}"
        wrong.append(f"line {number}: {entry if len(entry) <= _SHOWN_CHARS else f'{entry[:_SHOWN_CHARS]}…'!r}: {why}")
    problems += wrong[:_SHOWN_LINES]
    if len(wrong) > _SHOWN_LINES:
        problems.append(f"and {len(wrong) - _SHOWN_LINES} more lines")
    return list(line_of)


def line_for(position: int, path: str, digest: str) -> str:
    """An image's line: its path, then what it is known by as a comment.

    Its position stands in the path's place where `digest` is not of a file, or the path cannot be read back.
    """
    if not digest.startswith("sha256:"):
        return f"{position}  # {digest}"
    if _entry(path) == path and path.splitlines() == [path] and not _POSITION.fullmatch(path):
        return f"{path}  # {digest}"
    return f"{position}  # {digest} {path!r}"


def _entry(line: str) -> str:
    return re.sub(r"(^|\s)#.*", "", line).strip()


def _lines(path: Path, problems: list[str]) -> list[str]:
    try:
        return path.read_bytes().decode("utf-8-sig").splitlines()
    except OSError as error:
        problems.append(f"{path.name} cannot be read ({error.strerror}), expected a text file with an image a line")
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        problems.append(f"{path.name}: line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8")
    return []


def _finder(paths: Paths, own: str) -> Callable[[str], int | str]:
    """From an entry to a position in the split `own`, or to what is wrong with it.

    A path may lack its first folder, the split's, where it then still stands for one image of the dataset.
    """
    whole = {path: i for i, path in enumerate(paths[own])}
    short: dict[str, list[int]] = {}
    for path, i in whole.items():
        short.setdefault(path.partition("/")[2], []).append(i)
    elsewhere = {path: name for name, held in paths.items() if name != own for path in held}
    elsewhere |= {path.partition("/")[2]: name for path, name in elsewhere.items() if "/" in path}

    def find(entry: str) -> int | str:
        if _POSITION.fullmatch(entry):
            position = int(entry)
            return position if 0 <= position < len(whole) else f"expected a position in 0..{len(whole) - 1}"
        if entry in whole:
            return whole[entry]
        found, other = short.get(entry, []), elsewhere.get(entry)
        if len(found) + (other is not None) > 1:
            return "stands for several images of the dataset; write the path as it is in the dataset's folder"
        if other is not None:
            return f"an image of the split '{other}', expected one of '{own}'"
        return found[0] if found else "no such image in the dataset"

    return find
