"""Files that are left alone while their content stays the same."""

from __future__ import annotations

from pathlib import Path

from condhpc import files


def put(path: Path, data: bytes) -> Path:
    """Write a file whose content is another than these bytes; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != data:
        files.replace(path, data)
    return path
