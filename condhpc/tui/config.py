"""The user's own keys and colours for `condhpc watch`: `watch.toml` beside the profile."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

import msgspec
from textual.binding import Binding
from textual.dom import DOMNode
from textual.keys import REPLACED_KEYS, Keys, key_to_character

from condhpc.errors import InputError, nearest
from condhpc.profile import user_folder

_MODIFIERS = ("ctrl+", "shift+", "alt+")
_NAMES = frozenset({key.value for key in Keys} | REPLACED_KEYS.keys())


class Config(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What may stand in it."""

    theme: str = ""
    """One of Textual's; the command palette lists them."""
    keys: dict[str, str] = {}
    """`"app.quit" = "q,ctrl+x"`: names of actions, and the keys that they get instead of their own."""


def load(environ: Mapping[str, str], actions: Iterable[str], themes: Iterable[str]) -> Config:
    """The user's file, if there is one; raises InputError for all that it cannot mean."""
    file = user_folder(environ) / "watch.toml"
    if not file.is_file():
        return Config()
    try:
        found = msgspec.toml.decode(file.read_bytes(), type=Config)
    except (msgspec.MsgspecError, UnicodeDecodeError, OSError) as error:
        raise InputError(f'{file}: {error}; expected `theme = "…"` and a table `[keys]` of actions to keys') from error
    problems = [*_of_keys(found.keys, set(actions)), *_of_theme(found.theme, set(themes))]
    if problems:
        raise InputError("\n".join(f"{file}: {problem}" for problem in problems))
    return found


def actions_of(classes: Iterable[type[DOMNode]]) -> list[str]:
    """Names that bindings of these classes, and of what they are made from, have."""
    bases = {base for cls in classes for base in cls.__mro__ if issubclass(base, DOMNode)}
    bindings = [binding for base in bases for binding in vars(base).get("BINDINGS", ())]
    return sorted({binding.id for binding in bindings if isinstance(binding, Binding) and binding.id})


def _of_keys(keys: Mapping[str, str], actions: set[str]) -> Iterator[str]:
    for action, shown in keys.items():
        if action not in actions:
            yield f"keys.{action}: there is no such action{nearest(action, actions)}"
        for key in shown.split(","):
            if not _is_key(key.strip()):
                yield f'keys.{action}: found "{key}", expected keys such as "x", "f5", "ctrl+x" with commas between'


def _of_theme(theme: str, themes: set[str]) -> Iterator[str]:
    if theme and theme not in themes:
        yield f"theme: there is no '{theme}'{nearest(theme, themes)}"


def _is_key(key: str) -> bool:
    if len(key) == 1 or key in _NAMES:
        return True
    for modifier in _MODIFIERS:
        key = key.removeprefix(modifier)
    return len(key) == 1 or key in _NAMES or (len(key) > 1 and key_to_character(key) is not None)
