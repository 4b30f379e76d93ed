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
"""Digest of what the files were made from, their names, and what was odd: equal records cost nothing again."""


class _Made(msgspec.Struct, frozen=True):
    digest: str
    names: list[str]
    problems: list[str]


def write(study: Study, out_dir: Path) -> list[Path]:
    """Write them below `out_dir`, unless they are there already and made from the same records."""
    folder = out_dir / FOLDER
    digest = _digest(study)
    held = _held(folder)
    if held is not None and held.digest == digest and all((folder / name).is_file() for name in held.names):
        study.problems.extend(held.problems)
        return [folder / name for name in held.names]
    from condhpc.paper import making  # numpy: not where nothing changed

    before = len(study.problems)
    paths = list(making.files(study, folder))
    made = _Made(digest, [str(path.relative_to(folder)) for path in paths], study.problems[before:])
    for name in set(held.names if held is not None else ()) - set(made.names):
        (folder / name).unlink(missing_ok=True)  # a figure of what is no more
    put(folder / _MADE_FROM, keys.encode(made) + b"\n")
    return paths


def _held(folder: Path) -> _Made | None:
    try:
        return msgspec.json.decode((folder / _MADE_FROM).read_bytes(), type=_Made)
    except (OSError, msgspec.MsgspecError):
        return None


def _digest(study: Study) -> str:
    """Of the plan, the identity of every record, what is declared, this code, and whether it can draw."""
    records = sorted((key, entry.attempt, entry.ended) for key, entry in study.entries.items())
    states = sorted((row.key, row.state) for row in study.states.values() if row.key not in study.entries)
    code = [keys.digest(path.read_bytes()) for path in sorted(Path(__file__).parent.glob("*.py"))]
    draws = importlib.util.find_spec("matplotlib") is not None
    plan = keys.digest(study.run.plan.read_bytes())
    content = [condhpc.__version__, code, draws, plan, records, states, sorted(study.declared.items())]
    return keys.digest(msgspec.json.encode(content))
