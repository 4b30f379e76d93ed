"""Making the paper's files: everything is compared once, then written and drawn."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from condhpc.paper import accuracy, blocks, costs, metric_pages, pages, plots, verdict
from condhpc.paper.blocks import Block
from condhpc.paper.costs import SetCosts
from condhpc.paper.judgement import Judged, judge
from condhpc.paper.metric_pages import Sets
from condhpc.paper.outputs import put
from condhpc.sets_table import Kinds
from condhpc.study import Study
from condhpc.tables import Table, write_csv


def files(study: Study, folder: Path) -> Iterator[Path]:
    """Write all of them; what is odd goes to `study.problems`."""
    said = len(study.problems)
    kinds = Kinds(study)
    del study.problems[said:]  # the plain tables have said it
    judged = [_judged(block) for block in blocks.blocks(study, kinds)]
    spent = costs.of_study(study, kinds)
    sets = metric_pages.of_study(study, kinds)
    for table, page in (
        (accuracy.table(study, judged), accuracy.page(study, judged)),
        (costs.table(spent), costs.page(spent)),
        (metric_pages.table(sets), metric_pages.page(sets)),
    ):
        yield from _pages(folder, table, page)
    yield put(folder / "verdict.md", verdict.text(judged, spent, sets).encode())
    yield from _figures(study, folder, [one.block for one in judged], spent, sets)


def _judged(block: Block) -> Judged:
    return judge(block)._replace(block=blocks.without_bits(block))


def _pages(folder: Path, table: Table, page: pages.Page) -> Iterator[Path]:
    yield write_csv(folder / f"{table.name}.csv", table.header, table.rows)
    yield put(folder / f"{table.name}.md", pages.markdown(page).encode())
    yield put(folder / f"{table.name}.tex", pages.latex(page).encode())


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
        yield put(folder / f"{plot.name}.png", drawn.png)
        yield put(folder / f"{plot.name}.svg", drawn.svg)
