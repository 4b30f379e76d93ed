"""The paper's files of a run: tables as CSV, Markdown and LaTeX, figures and the verdict, in the folder `paper`."""

from __future__ import annotations

import importlib.util
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

import condhpc
from condhpc import files, keys
from condhpc.paper import accuracy, blocks, costs, metric_pages, pages, plots, verdict
from condhpc.paper.blocks import Block
from condhpc.paper.costs import SetCosts
from condhpc.paper.judgement import judge
from condhpc.paper.metric_pages import Sets
from condhpc.sets_table import Kinds
from condhpc.study import Study
from condhpc.tables import Table, write_csv

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
    before = len(study.problems)
    paths = list(_files(study, folder))
    made = _Made(digest, [str(path.relative_to(folder)) for path in paths], study.problems[before:])
    _put(folder / _MADE_FROM, keys.encode(made) + b"\n")
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
    content = [condhpc.__version__, code, draws, study.plan, records, states, sorted(study.declared.items())]
    return keys.digest(msgspec.json.encode(content))


def _files(study: Study, folder: Path) -> Iterator[Path]:
    said = len(study.problems)
    kinds = Kinds(study)
    del study.problems[said:]  # the plain tables have said it
    found = blocks.blocks(study, kinds)
    judged = [judge(block) for block in found]
    spent = costs.of_study(study, kinds)
    sets = metric_pages.of_study(study, kinds)
    for table, page in (
        (accuracy.table(study, judged), accuracy.page(study, judged)),
        (costs.table(spent), costs.page(spent)),
        (metric_pages.table(sets), metric_pages.page(sets)),
    ):
        yield from _pages(folder, table, page)
    yield _put(folder / "verdict.md", verdict.text(judged, spent, sets).encode())
    yield from _figures(study, folder, found, spent, sets)


def _pages(folder: Path, table: Table, page: pages.Page) -> Iterator[Path]:
    yield write_csv(folder / f"{table.name}.csv", table.header, table.rows)
    yield _put(folder / f"{table.name}.md", pages.markdown(page).encode())
    yield _put(folder / f"{table.name}.tex", pages.latex(page).encode())


def _figures(
    study: Study, folder: Path, found: Sequence[Block], spent: Sequence[SetCosts], sets: Sequence[Sets]
) -> Iterator[Path]:
    made = plots.plots(found, spent, sets)
    if not made:
        return
    try:
        from condhpc.paper import figures
    except ImportError as error:
        study.problems.append(f"paper: no figures, because matplotlib cannot be imported ({error}); install it")
        return
    names = list(dict.fromkeys(name for block in found for name in block.cells))
    for plot in made:
        drawn = figures.draw(plot, names)
        yield _put(folder / f"{plot.name}.png", drawn.png)
        yield _put(folder / f"{plot.name}.svg", drawn.svg)


def _put(path: Path, data: bytes) -> Path:
    """Write a file whose content is another than these bytes; returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    if not path.is_file() or path.read_bytes() != data:
        files.replace(path, data)
    return path
