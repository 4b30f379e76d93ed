"""Every plug-in of every kind can be named and checked on a login node."""

import subprocess
import sys

import pytest

from condhpc import registry
from condhpc.registry import KINDS

HEAVY = ("torch", "torchvision", "numpy", "PIL", "h5py", "submitit", "textual", "sklearn", "diffusers")
ALL = [(kind, name) for kind in KINDS for name in registry.names(kind)]


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_imports_without_heavy_packages(kind: str, name: str) -> None:
    """In a clean interpreter a plug-in loads, prints nothing and brings no heavy package with it."""
    code = (
        "import sys; from condhpc import registry;"
        f"assert registry.load({kind!r}, {name!r}) is not None;"
        f"sys.exit(','.join(m for m in {HEAVY!r} if m in sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "\n")


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, n in ALL if k in {"coresets", "methods", "metrics"}])
def test_parameters_have_defaults_and_descriptions(kind: registry.Kind, name: str) -> None:
    """`ls` can document each parameter, and a manifest need not give any."""
    import msgspec

    params = registry.load(kind, name).Params
    msgspec.convert({}, params)
    described = msgspec.json.schema(params)["$defs"][params.__name__]["properties"]
    assert [field for field, facts in described.items() if not facts.get("description")] == []
