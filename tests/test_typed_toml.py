"""The decoder behind manifests and profiles, where their own tests do not reach."""

from __future__ import annotations

from typing import Annotated

import pytest
from msgspec import Meta

from condhpc.errors import ProblemsError
from condhpc.spec import Value
from condhpc.typed_toml import BAD, Reader, dotted, shown


class Inner(Value, frozen=True):
    """A nested table."""

    size: Annotated[int, Meta(ge=1)] = 1


class Outer(Value, frozen=True):
    """A table of tables."""

    name: str
    rows: tuple[Inner, ...] = ()
    named: dict[str, Inner] = {}  # noqa: RUF012 - msgspec copies it
    ratio: float | None = None


@pytest.mark.parametrize(
    ("where", "key", "expected"), [("", "a", "a"), ("a.b", "c-1", "a.b.c-1"), ("a", "b.c", 'a."b.c"'), ("", "ü", '"ü"')]
)
def test_dotted_keys_are_written_as_toml_wants_them(where: str, key: str, expected: str) -> None:
    """So that a reader can search the file for them."""
    assert dotted(where, key) == expected


def test_correct_tables_decode_whole() -> None:
    """Nested rows and tables become structs, whole numbers may stand for floats."""
    reader = Reader("f")
    found = reader.struct({"name": "n", "rows": [{"size": 2}], "named": {"a": {}}, "ratio": 1}, Outer, "")
    reader.finish()
    assert found == Outer(name="n", rows=(Inner(size=2),), named={"a": Inner()}, ratio=1.0)


def test_failures_keep_their_neighbours() -> None:
    """What failed becomes its default, so that the rest can be checked further."""
    reader = Reader("f")
    found = reader.struct({"rows": [{"size": 0}, 3], "named": {"a": {"sice": 2}}, "ratio": "x"}, Outer, "top")
    assert found == Outer(name="", rows=(Inner(), Inner()), named={"a": Inner()})
    assert reader.problems == [
        "f: top.name: missing, expected str",
        "f: top.rows[0].size = 0: expected int >= 1",
        "f: top.rows[1] = 3: expected a table",
        "f: top.named.a.sice: unknown key; did you mean 'size'?",
        "f: top.ratio = 'x': expected float, got str",
    ]
    with pytest.raises(ProblemsError, match="5 problems"):
        reader.finish()


def test_noted_looks_at_and_below_a_key() -> None:
    """`a` is spoilt by `a[1].b`, but not by `ab`."""
    reader = Reader("f")
    reader.problem("a[1].b", "x")
    assert reader.noted("a")
    assert reader.noted("a[1]")
    assert not reader.noted("a[1].b.c")
    reader.problem("xy", "x")
    assert not reader.noted("x")


@pytest.mark.parametrize("number", [float("nan"), float("-inf"), 2**63, -(2**64), [1, [float("inf")]], {"a": 2**70}])
def test_numbers_without_canonical_json_are_refused(number: object) -> None:
    """NaN would be hashed as null; a number beyond 64 bits cannot be hashed at all."""
    reader = Reader("f")
    assert reader.value(number, object, "x") is BAD
    assert "expected a finite number of at most 64 bits" in reader.problems[0]


def test_long_values_are_shortened() -> None:
    """A report is no dump."""
    assert len(shown("x" * 500)) == 60
    assert shown(True) == "true"
