"""Values: strict about types, unknown fields and change."""

from __future__ import annotations

from types import ModuleType
from typing import Any

import msgspec
import pytest
from test_keys import DATASET, TASKS, TRAINING

from condhpc import keys, plugin_values, spec, training_spec, values
from condhpc.spec import SPEC_TYPES, STAGES, Stage, Task


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_has_a_spec_and_an_engine_version(stage: Stage) -> None:
    """A stage without either could not be planned."""
    assert isinstance(TASKS[stage].spec, SPEC_TYPES[stage])
    assert spec.ENGINE_VERSION[stage] >= 1


def test_values_are_frozen() -> None:
    """A task whose fields changed would no longer match its key."""
    for value in (DATASET, TRAINING, *TASKS.values()):
        with pytest.raises(AttributeError):
            setattr(value, value.__struct_fields__[0], "other")


def test_every_value_is_declared_frozen() -> None:
    """Also those of which no test holds an instance."""
    classes = [c for c in vars(spec).values() if isinstance(c, type) and issubclass(c, spec.Value)]
    assert len(classes) > 10
    assert all(c.__struct_config__.frozen and c.__struct_config__.forbid_unknown_fields for c in classes)


@pytest.mark.parametrize("part", [training_spec, plugin_values, values])
def test_values_are_imported_from_one_place(part: ModuleType) -> None:
    """A plug-in need not know in which part of it a value stands."""
    found = {name for name, value in vars(part).items() if getattr(value, "__module__", "") == part.__name__}
    assert found
    assert found <= set(spec.__all__)


@pytest.mark.parametrize("stage", STAGES)
def test_unknown_fields_are_refused(stage: Stage) -> None:
    """A misspelt field must not be dropped from what is hashed."""
    tables = {**msgspec.to_builtins(TASKS[stage].spec), "colour": 1}
    with pytest.raises(msgspec.ValidationError, match="colour"):
        msgspec.convert(tables, SPEC_TYPES[stage])


@pytest.mark.parametrize(
    ("field", "value"),
    [("ipc", 0), ("ipc", 1.0), ("ipc", "1"), ("ipc", True), ("resolution", -1), ("precision", "fp16"), ("kind", "x")],
)
def test_values_out_of_range_are_refused(field: str, value: object) -> None:
    """Types are exact and sizes positive."""
    tables: dict[str, Any] = {**msgspec.to_builtins(TASKS["condense"].spec), field: value}
    with pytest.raises(msgspec.ValidationError, match=field):
        msgspec.convert(tables, SPEC_TYPES["condense"])


def test_weights_need_a_whole_digest() -> None:
    """A shortened SHA-256 identifies nothing."""
    with pytest.raises(msgspec.ValidationError, match="sha256"):
        msgspec.convert({"name": "w", "sha256": "abc"}, spec.WeightsSpec)


def test_params_survive_the_round_trip_as_written() -> None:
    """Plug-in parameters are free-form JSON: whole numbers stay whole, floats stay floats."""
    params = {"a": 1, "b": 1.0, "c": [True, None, "x"], "d": {"e": 0.1}}
    task = msgspec.structs.replace(TASKS["analyze"], spec=msgspec.structs.replace(TASKS["analyze"].spec, params=params))
    found: Task = keys.parse_preimage(keys.preimage(task))
    assert isinstance(found.spec, spec.AnalyzeSpec)
    assert found.spec.params == params
    assert isinstance(found.spec.params["b"], float)
    assert isinstance(found.spec.params["a"], int)
