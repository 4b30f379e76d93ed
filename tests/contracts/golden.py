"""Numbers that may change only with a version: `golden/<kind>.<name>.json` maps a plug-in's version to its output.

`CONDHPC_GOLDEN=add pytest tests/contracts` adds an entry for a version that has none; it never changes one.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from condhpc import registry
from condhpc.registry import Kind

FOLDER = Path(__file__).with_name("golden")


def own_plugins(kind: Kind) -> list[str]:
    """Plug-ins that condhpc ships (those of other packages keep their own golden output)."""
    home = Path(registry.__file__).parent / kind
    return [name for name in registry.names(kind) if (home / f"{name}.py").exists()]


def check(kind: Kind, name: str, version: int, found: dict[str, Any], tolerance: float) -> None:
    """Compare output with what this version has always given."""
    path = FOLDER / f"{kind}.{name}.json"
    held = json.loads(path.read_text()) if path.exists() else {}
    if str(version) not in held and os.environ.get("CONDHPC_GOLDEN") == "add":
        held[str(version)] = found
        path.write_text(json.dumps(held, indent=1) + "\n")
    assert str(version) in held, f"{path.name} has no output of version {version}; run with CONDHPC_GOLDEN=add"
    expected = held[str(version)]
    hint = f"{kind[:-1]} '{name}' gives other numbers at the same version: bump it, or undo the change"
    assert found.keys() == expected.keys(), hint
    for key, value in expected.items():
        same = value if isinstance(value, str) else pytest.approx(value, abs=tolerance)
        assert found[key] == same, f"{hint} ({key})"
