"""The paper's files of a run: tables as CSV, Markdown and LaTeX, figures and the verdict, in the folder `paper`."""

from __future__ import annotations

import importlib.util
from pathlib import Path

import msgspec

import condhpc
from condhpc import keys
from condhpc.paper.outputs import put
from condhpc.study import Study

FOLDER = "paper"
_MADE_FROM = "made-from.json"
"""Digest of what the files were made from, their own, and what was odd: equal records cost nothing again."""


class _Made(msgspec.Struct, frozen=True):
    digest: str
    files: dict[str, str]
    """Name to digest of the content: one that was edited or torn since is made anew."""
    problems: list[str]


def write(study: Study, out_dir: Path) -> list[Path]:
    """Write them below `out_dir`, unless they are there already and made from the same records."""
    folder = out_dir / FOLDER
    digest = _digest(study)
    held = _held(folder)
    if held is not None and held.digest == digest and _are_there(folder, held):
        study.problems.extend(held.problems)
        return [folder / name for name in held.files]
    from condhpc.paper import making  # numpy: not where nothing changed

    before = len(study.problems)
    paths = list(making.files(study, folder))
    contents = {str(path.relative_to(folder)): keys.digest(path.read_bytes()) for path in paths}
    made = _Made(digest, contents, study.problems[before:])
    for name in set(held.files if held is not None else ()) - set(made.files):
        (folder / name).unlink(missing_ok=True)  # a figure of what is no more
    put(folder / _MADE_FROM, keys.encode(made) + b"\n")
    return paths


def _held(folder: Path) -> _Made | None:
    try:
        return msgspec.json.decode((folder / _MADE_FROM).read_bytes(), type=_Made)
    except (OSError, msgspec.MsgspecError):
        return None


def _are_there(folder: Path, made: _Made) -> bool:
    try:
        return all(keys.digest((folder / name).read_bytes()) == said for name, said in made.files.items())
    except OSError:
        return False


def _digest(study: Study) -> str:
    """Of the plan, every record's look on disk, what is declared, all code that counts, and whether it can draw."""
    records = keys.digest(study.looks.tobytes())
    states = sorted((row.key, row.state) for row in study.states.values() if row.key not in study.entries)
    home = Path(condhpc.__file__).parent
    code = [keys.digest(path.read_bytes()) for folder in (home, home / "paper") for path in sorted(folder.glob("*.py"))]
    draws = importlib.util.find_spec("matplotlib") is not None
    plan = keys.digest(study.run.plan.read_bytes())
    content = [condhpc.__version__, code, draws, plan, records, states, sorted(study.declared.items())]
    return keys.digest(msgspec.json.encode(content))
