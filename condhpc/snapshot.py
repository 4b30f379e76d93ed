"""A read-only copy of condhpc's own code under the root, so that editing a checkout changes no waiting job.

Copies are shared: `code/<digest>/` holds one state of the two packages, however many runs use it.
"""

from __future__ import annotations

import compileall
import importlib.util
import os
import shutil
from pathlib import Path

import condhpc
from condhpc import keys
from condhpc.errors import StoreError
from condhpc.files import temporary

_PACKAGES = ("condhpc", "condhpc_jobs")
_LEFT_OUT = shutil.ignore_patterns("__pycache__", "*.pyc", ".*")


def take(root: Path) -> Path:
    """Folder with the packages as they are now; made on first use. Goes on PYTHONPATH."""
    sources = {name: _source(name) for name in _PACKAGES}
    folder = root / "code" / _digest(sources)
    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    temp = temporary(folder)
    try:
        for name, source in sources.items():
            shutil.copytree(source, temp / name, ignore=_LEFT_OUT)
        compileall.compile_dir(temp, quiet=2)
        _make_read_only(temp)
        temp.rename(folder)
    except OSError as error:
        if not folder.is_dir():  # another submit was faster where it is
            raise StoreError(f"{folder}: the code could not be copied ({error})") from error
    finally:
        if temp.is_dir():
            _remove(temp)
    return folder


def _source(name: str) -> Path:
    if name == "condhpc":
        return Path(condhpc.__file__).parent
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise StoreError(f"package {name} is not installed; run `pip install -e .` in the checkout")
    return Path(spec.origin).parent


def _digest(sources: dict[str, Path]) -> str:
    """Over names and bytes of all files that travel."""
    lines = [
        f"{name}/{path.relative_to(source).as_posix()} {keys.digest(path.read_bytes())}"
        for name, source in sources.items()
        for path in sorted(source.rglob("*"))
        if path.is_file() and _travels(path.relative_to(source))
    ]
    return keys.digest("\n".join(lines).encode())


def _travels(relative: Path) -> bool:
    return (
        not any(part == "__pycache__" or part.startswith(".") for part in relative.parts) and relative.suffix != ".pyc"
    )


def _make_read_only(folder: Path) -> None:
    for path in folder.rglob("*"):
        if path.is_file():
            path.chmod(0o444)


def _remove(folder: Path) -> None:
    shutil.rmtree(folder, ignore_errors=not os.access(folder, os.W_OK))
