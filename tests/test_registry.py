"""Plug-ins are found by file name, loaded one at a time, and named without clashes."""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
import types
from collections.abc import Iterator
from pathlib import Path

import pytest

from condhpc import registry
from condhpc.errors import InputError, UnknownNameError
from condhpc.registry import KINDS, Kind, Plugin


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The package of coresets, widened by a folder for the test's own modules."""
    from condhpc import coresets

    monkeypatch.setattr(coresets, "__path__", [*coresets.__path__, str(tmp_path)])
    _forget()
    yield tmp_path
    for name in [n for n in sys.modules if n.startswith("condhpc.coresets.made_up")]:
        del sys.modules[name]
    _forget()


def _forget() -> None:
    for cached in (registry.names, registry.load, registry.code_digest, registry._entry_points):
        cached.cache_clear()


def test_one_file_adds_a_plugin(package: Path) -> None:
    """A module with PLUGIN is a plug-in under its file name; bases and private modules are none."""
    (package / "made_up.py").write_text("PLUGIN = 'here'\n")
    (package / "_made_up.py").write_text("")
    assert registry.load("coresets", "made_up") == "here"
    assert "_made_up" not in registry.names("coresets")
    assert "base" not in registry.names("coresets")
    assert registry.condenser_kind("made_up") == "coresets"


def test_listing_names_imports_nothing(package: Path) -> None:
    """`ls` and nearest names must not pay for a plug-in that is broken or heavy."""
    (package / "made_up_broken.py").write_text("raise RuntimeError('imported')\n")
    assert "made_up_broken" in registry.names("coresets")
    with pytest.raises(RuntimeError, match="imported"):
        registry.load("coresets", "made_up_broken")


def test_module_without_plugin_says_so(package: Path) -> None:
    """The most likely slip of an author of a plug-in."""
    (package / "made_up_empty.py").write_text("")
    with pytest.raises(InputError, match=r"coreset 'made_up_empty'.*has no constant PLUGIN"):
        registry.load("coresets", "made_up_empty")


def test_unknown_names_come_with_the_nearest(package: Path) -> None:
    """A typing error is answered with what was probably meant."""
    (package / "made_up.py").write_text("PLUGIN = 1\n")
    with pytest.raises(UnknownNameError, match="no coreset 'madeup'; did you mean 'made_up'"):
        registry.load("coresets", "madeup")
    with pytest.raises(UnknownNameError, match="no condenser 'madeup'; did you mean 'made_up'"):
        registry.condenser_kind("madeup")


def test_code_digest_follows_the_file(package: Path) -> None:
    """A changed plug-in file is noticed even where its version was not bumped."""
    path = package / "made_up.py"
    path.write_text("PLUGIN = 1\n")
    before = registry.code_digest("coresets", "made_up")
    path.write_text("PLUGIN = 1  # changed\n")
    _forget()
    assert registry.code_digest("coresets", "made_up") != before


def test_entry_points_add_plugins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another package's plug-in is found by its entry point, whether that names a constant or a module."""
    module = types.ModuleType("made_up_package")
    module.PLUGIN = "inside"  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "made_up_package", module)
    points = [
        importlib.metadata.EntryPoint("third", "made_up_package", "condhpc.coresets"),
        importlib.metadata.EntryPoint("fourth", "made_up_package:PLUGIN", "condhpc.coresets"),
    ]
    monkeypatch.setattr(importlib.metadata, "entry_points", lambda group: points if group.endswith("coresets") else [])
    _forget()
    try:
        assert registry.load("coresets", "third") == "inside"
        assert registry.load("coresets", "fourth") == "inside"
        assert {"third", "fourth"} <= set(registry.names("coresets"))
    finally:
        _forget()


def test_names_of_plugins_with_params_are_distinct_over_kinds() -> None:
    """`[params.<name>]` must mean one plug-in."""
    named = [name for kind in ("coresets", "methods", "metrics") for name in registry.names(kind)]
    assert len(named) > 4
    assert len(set(named)) == len(named)


def test_plugin_needs_nothing_by_default() -> None:
    """A method that asks for nothing gets nothing."""
    assert Plugin().needs(Plugin.Params()) == {}


@pytest.mark.parametrize("kind", KINDS)
def test_plugins_import_without_torch_and_numpy(kind: Kind) -> None:
    """A login node checks manifests without paying seconds for torch."""
    code = (
        f"import sys; from condhpc import registry\n"
        f"found = [registry.load({kind!r}, n) for n in registry.names({kind!r})]\n"
        f"assert found, 'no plug-in of this kind'\n"
        f"print(sorted({{'torch', 'numpy', 'h5py', 'submitit', 'textual'}} & sys.modules.keys()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[]"
