"""Every plug-in of every kind can be named and checked on a login node."""

import json
import subprocess
import sys

import pytest

from condhpc import registry
from condhpc.registry import KINDS

HEAVY = ("torch", "torchvision", "numpy", "PIL", "h5py", "submitit", "textual", "sklearn", "diffusers")
ALL = [(kind, name) for kind in KINDS for name in registry.names(kind)]
LOAD_EACH = """
import json, os, sys, tempfile
from condhpc import registry

plugins, heavy = map(json.loads, sys.argv[1:])
for kind, _ in plugins:
    registry.names(kind)  # which reads the metadata of all packages, once
found = []
for kind, name in plugins:
    with tempfile.TemporaryFile("w+") as said:
        if (pid := os.fork()) == 0:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            loaded = registry.load(kind, name) is not None
            print("loaded:", loaded, [name for name in heavy if name in sys.modules])
            sys.exit()
        code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
        said.seek(0)
        found.append((code, said.read()))
print(json.dumps(found))
"""
"""In a child each, as clean as the interpreter that knows the registry alone."""


CLEAN = (0, "loaded: True []\n")
Loads = dict[tuple[str, str], tuple[int, str]]


def load_each(plugins: list[tuple[str, str]]) -> Loads:
    """Exit status and output of each plug-in's loading, by kind and name."""
    words = [sys.executable, "-c", LOAD_EACH, json.dumps(plugins), json.dumps(HEAVY)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return {plugin: (code, said) for plugin, (code, said) in zip(plugins, json.loads(done.stdout), strict=True)}


@pytest.fixture(scope="module")
def loads() -> Loads:
    """Of all plug-ins."""
    return load_each(ALL)


@pytest.mark.parametrize(("kind", "name"), ALL)
def test_imports_without_heavy_packages(loads: Loads, kind: str, name: str) -> None:
    """In a clean interpreter a plug-in loads, prints nothing and brings no heavy package with it."""
    assert loads[kind, name] == CLEAN


@pytest.mark.parametrize(("kind", "name"), [(k, n) for k, n in ALL if k in {"coresets", "methods", "metrics"}])
def test_parameters_have_defaults_and_descriptions(kind: registry.Kind, name: str) -> None:
    """`ls` can document each parameter, and a manifest need not give any."""
    import msgspec

    params = registry.load(kind, name).Params
    msgspec.convert({}, params)
    described = msgspec.json.schema(params)["$defs"][params.__name__]["properties"]
    assert [field for field, facts in described.items() if not facts.get("description")] == []
