"""From a TOML file to frozen typed values, collecting every problem instead of stopping at the first."""

from __future__ import annotations

import math
import re
import types
from collections.abc import Callable, Collection, Iterable
from pathlib import Path
from typing import Annotated, Any, Final, Literal, TypeVar, Union, get_args, get_origin

import msgspec
from msgspec import Meta

from condhpc.errors import ProblemsError, nearest

_NAME_TEXT = "of letters, digits, '_', '.' and '-', the last two not first"
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9_][A-Za-z0-9._-]*\Z", max_length=100)]
"""A name that becomes part of a file name or a key of the manifest."""

T = TypeVar("T", bound=msgspec.Struct)
BAD: Final = object()
"""Stands for a value that did not decode; its problem is already noted."""
_MAX_INT = 2**63 - 1
_SHOWN_CHARS = 60


def read(path: Path) -> tuple[str, dict[str, Any]]:
    """Text and parsed tables of a file; raises ProblemsError if unreadable, not UTF-8 or not TOML."""
    import tomli

    try:
        text = path.read_bytes().decode("utf-8")
        return text, tomli.loads(text)
    except OSError as error:
        message = f"{path}: cannot be read ({error.strerror or error}), expected a TOML file"
    except UnicodeDecodeError as error:
        line = error.object[: error.start].count(b"\n") + 1
        message = f"{path}: line {line}: byte 0x{error.object[error.start]:02x} is not UTF-8; save it as UTF-8"
    except tomli.TOMLDecodeError as error:
        message = f"{path}: not TOML: {error}"
    except RecursionError:
        message = f"{path}: not TOML that can be read: tables or arrays are nested too deeply"
    raise ProblemsError([message])


def dotted(where: str, key: str) -> str:
    """`where.key`, the key quoted as TOML wants it."""
    shown = key if re.fullmatch(r"[A-Za-z0-9_-]+", key) else f'"{key}"'
    return f"{where}.{shown}" if where else shown


class Reader:
    """Decodes one file; `problems` grows, and what failed becomes its default or a blank of its type."""

    def __init__(self, file: str, hook: Callable[[type, Any], Any] | None = None) -> None:
        """`hook` decodes types that TOML does not know (paths)."""
        self.file = file
        self.problems: list[str] = []
        self._noted: list[str] = []
        self._hook = hook

    def problem(self, where: str, text: str) -> None:
        """Note a problem at a dotted key."""
        self.problems.append(f"{self.file}: {where}{text if text.startswith(' =') else ': ' + text}")
        self._noted.append(where)

    def noted(self, where: str) -> bool:
        """Whether a problem is noted at or below a dotted key, so that another may only be its consequence."""
        return any(n == where or n.startswith((f"{where}.", f"{where}[")) for n in self._noted)

    def wrong(self, where: str, value: Any, expected: str) -> None:
        """Note a value that is not what was expected."""
        self.problem(where, f" = {shown(value)}: {expected}")

    def undefined(self, table: str, name: str, users: Iterable[str], keys: str, known: Collection[str]) -> None:
        """Note that `[table.name]`, which others name, is not there; `keys` are what it would say."""
        where, needed = dotted(table, name), ", ".join(dict.fromkeys(users))
        text = f"missing, needed by {needed}; expected a [{where}] block with {keys}"
        self.problem(where, text + (nearest(name, known) if known else ""))

    def require_blocks(self, table: str, named: Iterable[tuple[str, str]], keys: str, known: Collection[str]) -> None:
        """As `undefined`, every block of a table that is not known; `named` are names and who asks for each."""
        users: dict[str, list[str]] = {}
        for name, user in named:
            users.setdefault(name, []).append(user)
        for name in [name for name in users if name not in known]:
            self.undefined(table, name, users[name], keys, known)

    def finish(self) -> None:
        """Raise ProblemsError with everything noted, if anything was."""
        if self.problems:
            raise ProblemsError(self.problems)

    def struct(self, table: Any, wanted: type[T], where: str, also: Iterable[str] = ()) -> T:
        """A struct from a table, field by field; `also` are keys that others read, for nearest names."""
        if not isinstance(table, dict):
            self.wrong(where, table, "expected a table")
            table, complain = {}, False
        else:
            complain = True
        fields = {f.encode_name: f for f in msgspec.structs.fields(wanted)}
        for key in table.keys() - fields.keys():
            known = nearest(key, {*fields, *also}) or "; there are none to set here"
            self.problem(dotted(where, key), f"unknown key{known}")
        values: dict[str, Any] = {}
        for key, field in fields.items():
            found = self.value(table[key], field.type, dotted(where, key)) if key in table else BAD
            if key not in table and field.required and complain:
                self.problem(dotted(where, key), f"missing, expected {expected_of(field.type)}")
            if found is not BAD:
                values[field.name] = found
            elif field.required:
                values[field.name] = _blank(field.type)
        return wanted(**values)

    def value(self, value: Any, wanted: Any, where: str) -> Any:
        """A value of an annotated type, or BAD."""
        bare = _bare(wanted)
        if isinstance(bare, type) and issubclass(bare, msgspec.Struct):
            return self.struct(value, bare, where)
        if get_origin(bare) is dict and isinstance(value, dict):
            return self._table(value, get_args(bare), where)
        if _is_row(bare) and isinstance(value, list):
            return self._row(value, wanted, where)
        return self._leaf(value, wanted, where)

    def _table(self, table: dict[str, Any], types: tuple[Any, ...], where: str) -> dict[str, Any]:
        key_type, value_type = types
        found: dict[str, Any] = {}
        for key, value in table.items():
            if self._leaf(key, key_type, dotted(where, key)) is BAD:
                continue
            decoded = self.value(value, value_type, dotted(where, key))
            if decoded is not BAD:
                found[key] = decoded
        return found

    def _row(self, row: list[Any], wanted: Any, where: str) -> tuple[Any, ...]:
        item = get_args(_bare(wanted))[0]
        if not (isinstance(item, type) and issubclass(item, msgspec.Struct)) and _unusable_number(row) is None:
            try:
                return tuple(msgspec.convert(row, wanted, dec_hook=self._hook))
            except msgspec.ValidationError:
                if not row:
                    self._leaf(row, wanted, where)
                    return ()
        found = (self.value(v, item, f"{where}[{i}]") for i, v in enumerate(row))
        return tuple(v for v in found if v is not BAD)

    def _leaf(self, value: Any, wanted: Any, where: str) -> Any:
        if (number := _unusable_number(value)) is not None:
            self.wrong(where, number, "expected a finite number of at most 64 bits")
            return BAD
        try:
            return msgspec.convert(value, wanted, dec_hook=self._hook)
        except msgspec.ValidationError as error:
            inner = re.search(r" - at `\$(.*)`$", str(error))
            path = inner[1] if inner else ""
            self.wrong(where + path, _at(value, path), _explain(str(error), value, wanted))
            return BAD


def shown(value: Any) -> str:
    """A value as TOML would show it, shortened."""
    text = str(value).lower() if isinstance(value, bool) else repr(value)
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"


def expected_of(wanted: Any) -> str:
    """What a type wants, in the words of its first failure."""
    if choices := _choices(wanted):
        return f"one of {', '.join(map(repr, choices))}"
    try:
        msgspec.convert(object(), wanted, dec_hook=_refuse)
    except msgspec.ValidationError as error:
        return _clean(str(error)).removeprefix("expected ").partition(", got")[0]
    return "a value"


def _at(value: Any, path: str) -> Any:
    """The part of a value at msgspec's path, `[2].name`."""
    for position, key in re.findall(r"\[(\d+)\]|\.([^.\[]+)", path):
        value = value[int(position)] if position else value.get(key, value)
    return value


def _refuse(wanted: type, value: Any) -> Any:
    raise ValueError(f"expected a {wanted.__name__.lower()}, got {type(value).__name__}")


def _explain(message: str, value: Any, wanted: Any) -> str:
    choices = _choices(wanted)
    if choices and isinstance(value, str):
        return f"expected {expected_of(wanted)}{nearest(value, map(str, choices))}"
    if value in ([], ""):
        return "empty, expected at least one value" if value == [] else "empty, expected a text"
    if "matching regex" in message and (words := _in_words(wanted)):
        return f"expected {words}"
    return _clean(message)


def _in_words(wanted: Any) -> str:
    """What a text with a pattern is, where its type says so."""
    metas = get_args(wanted)[1:] if get_origin(wanted) is Annotated else ()
    return next((m.description for m in metas if isinstance(m, Meta) and m.pattern and m.description), "")


def _clean(message: str) -> str:
    text = message.partition(" - at `")[0].replace("`", "").replace(" | null", "")
    text = text.replace(r"matching regex '^[A-Za-z0-9_][A-Za-z0-9._-]*\\Z'", _NAME_TEXT)
    text = text.replace(
        "matching regex '^[0-9a-f]{64}$'", "of 64 digits from 0-9 and a-f, as `condhpc data digest` prints"
    )
    return text[:1].lower() + text[1:]


def _choices(wanted: Any) -> tuple[Any, ...]:
    bare = _bare(wanted)
    if get_origin(bare) is Literal:
        return get_args(bare)
    if get_origin(bare) in {Union, types.UnionType}:
        return tuple(c for part in get_args(bare) for c in _choices(part))
    return ()


def _bare(wanted: Any) -> Any:
    while get_origin(wanted) is Annotated:
        wanted = get_args(wanted)[0]
    return wanted


def _is_row(bare: Any) -> bool:
    return get_origin(bare) is tuple and get_args(bare)[-1] is Ellipsis


def _blank(wanted: Any) -> Any:
    """Something harmless in place of a required value that failed (a problem is noted, nothing is used)."""
    bare = _bare(wanted)
    origin = get_origin(bare) or bare
    return {tuple: (), dict: {}, str: ""}.get(origin)


def _unusable_number(value: Any) -> Any:
    """The first number in a value that has no canonical JSON: not finite, or beyond 64 bits."""
    if isinstance(value, float):
        return None if math.isfinite(value) else value
    if isinstance(value, int):
        return None if -_MAX_INT <= value <= _MAX_INT else value
    if isinstance(value, list | dict):
        parts = value.values() if isinstance(value, dict) else value
        return next((n for n in map(_unusable_number, parts) if n is not None), None)
    return None
