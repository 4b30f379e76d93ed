"""What a clean interpreter has imported after a command: the login node never pays for the compute node."""

from __future__ import annotations

import subprocess
import sys

import pytest

HEAVY = ("torch", "numpy", "submitit", "textual", "h5py", "scipy", "sklearn", "torchvision", "matplotlib")


def imported_after(code: str) -> set[str]:
    """Top-level packages of a fresh interpreter in which this ran."""
    program = f"{code}\nimport sys\nprint('IMPORTED', *sorted({{name.partition('.')[0] for name in sys.modules}}))"
    done = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True, timeout=120)
    answer = next(line for line in done.stdout.splitlines() if line.startswith("IMPORTED "))
    return set(answer.split()[1:])


def command(*arguments: str) -> str:
    """Code that runs a command as the console script does, whatever its exit code."""
    return (
        "from condhpc.cli import main\n"
        "try:\n"
        f"    main({list(arguments)!r}, prog_name='condhpc')\n"
        "except SystemExit:\n"
        "    pass"
    )


@pytest.mark.parametrize(
    "arguments",
    [("--help",), ("--version",), ("submit", "--help"), ("status",), ("status", "--json"), ("logs",), ("collect",)],
)
def test_the_everyday_commands_import_nothing_heavy(
    arguments: tuple[str, ...], tmp_path_factory: pytest.TempPathFactory
) -> None:
    """Help, and looking at a run, in an empty store: no numbers, no scheduler library, no user interface."""
    root = str(tmp_path_factory.mktemp("root"))
    found = imported_after(command("--root", root, "--profile", "local", *arguments))
    assert "click" in found
    assert not found & set(HEAVY)


def test_looking_at_a_run_imports_nothing_heavy() -> None:
    """The modules behind status, watch and collect, whole."""
    modules = "observe, collect, findings, live, progress, status_text, log_view, tables, ledger, listing"
    assert not imported_after(f"from condhpc import {modules}") & set(HEAVY)


def test_ls_describes_plugins_without_torch() -> None:
    """A plug-in's parameters are documented on a login node."""
    found = imported_after("\n".join(command("ls", kind) for kind in ("methods", "coresets", "metrics", "datasets")))
    assert not found & {"torch", "torchvision", "submitit", "textual"}


def test_the_worker_knows_nothing_of_the_login_node() -> None:
    """Jobs never need submitit or Textual, and torch comes with the first stage, not with the worker."""
    found = imported_after("import condhpc.worker")
    assert not found & {"submitit", "textual", "click", "torch"}


def import_all(package: str) -> str:
    """Code that imports every module below a package."""
    return (
        f"import importlib, pkgutil, {package}\n"
        f"for module in pkgutil.walk_packages({package}.__path__, '{package}.'):\n"
        "    if not module.name.endswith('.__main__'):\n"
        "        importlib.import_module(module.name)\n"
    )


@pytest.mark.parametrize("kind", ["datasets", "methods", "coresets", "protocols", "metrics"])
def test_every_plugin_module_imports_without_torch(kind: str) -> None:
    """Also those that compute with it: a login node checks their parameters."""
    assert not imported_after(import_all(f"condhpc.{kind}")) & {"torch", "torchvision", "submitit", "textual"}


def test_importing_any_module_prints_nothing() -> None:
    """No work at import, in the whole package."""
    program = import_all("condhpc")
    done = subprocess.run([sys.executable, "-c", program], check=False, capture_output=True, text=True, timeout=120)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
