"""The user's own keys and colours for `condhpc watch`: `watch.toml` beside the profile."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

import msgspec
from textual.binding import Binding
from textual.keys import KEY_ALIASES, Keys

from condhpc.errors import InputError, nearest

_SINGLE = re.compile(r"(ctrl\+|shift\+|alt\+)*[a-zA-Z0-9_]+|\S")
_NAMES = frozenset({key.value for key in Keys} | KEY_ALIASES.keys())


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may stand in it."""

    theme: str = ""
    """One of Textual's; the command palette lists them."""
    keys: dict[str, str] = {}
    """`"app.quit" = "q,ctrl+x"`: names of actions, and the keys for them."""


def path(environ: Mapping[str, str]) -> Path:
    """Where it lies."""
    base = environ.get("XDG_CONFIG_HOME") or Path(environ.get("HOME", "~"), ".config")
    return Path(base).expanduser() / "condhpc" / "watch.toml"


def load(file: Path, actions: Iterable[str], themes: Iterable[str]) -> Config:
    """The user's file, if there is one; raises InputError for what it cannot mean."""
    if not file.is_file():
        return Config()
    try:
        found = msgspec.toml.decode(file.read_bytes(), type=Config)
    except (msgspec.DecodeError, UnicodeDecodeError, OSError) as error:
        raise InputError(f"{file}: {error}; expected `theme = \"…\"` and a table `[keys]` of names to keys") from error
    problems = [*_of_keys(found.keys, sorted(actions)), *_of_theme(found.theme, sorted(themes))]
    if problems:
        raise InputError("\n".join(f"{file}: {problem}" for problem in problems))
    return found
