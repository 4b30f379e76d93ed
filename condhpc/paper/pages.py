"""Tables for people as Markdown and LaTeX (booktabs): marks, footnotes, holes; the same bytes for the same tables."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import NamedTuple

from condhpc.tables import printable


class Value(NamedTuple):
    """One cell of a table."""

    text: str
    best: bool = False
    tied: bool = False
    """Not told apart from the best."""
    notes: tuple[str, ...] = ()
    """Footnotes in words."""


class Grid(NamedTuple):
    """One table with its footnotes."""

    title: str
    header: tuple[str, ...]
    rows: list[list[Value]]
    text_columns: int = 1
    """Columns from the left that hold words."""


class Page(NamedTuple):
    """What one file holds."""

    title: str
    legend: tuple[str, ...]
    """How to read it, a paragraph each."""
    grids: list[Grid]


class _Letters:
    """Footnotes of one table in the order in which they come up."""

    def __init__(self) -> None:
        self.texts: list[str] = []

    def of(self, value: Value) -> list[str]:
        """Marks of a cell."""
        for text in value.notes:
            if text not in self.texts:
                self.texts.append(text)
        return [mark(self.texts.index(text)) for text in value.notes]


def mark(number: int) -> str:
    """a, b, … z, aa, ab, …"""
    first = mark(number // 26 - 1) if number >= 26 else ""
    return first + chr(ord("a") + number % 26)


def markdown(page: Page) -> str:
    """The page as Markdown: best bold, ties italic, footnotes below their table."""
    lines = [f"# {_md(page.title)}", ""]
    for paragraph in page.legend:
        lines += [_md(paragraph), ""]
    for grid in page.grids:
        letters = _Letters()
        rows = [[_md_value(value, letters) for value in row] for row in grid.rows]
        lines += [f"## {_md(grid.title)}", "", _row(map(_md, grid.header)), _row(_rule(grid))]
        lines += [_row(row) for row in rows]
        lines += ["", *_below(f"- ({mark(i)}) {_md(text)}" for i, text in enumerate(letters.texts))]
    return "\n".join(lines).rstrip("\n") + "\n"


def _rule(grid: Grid) -> list[str]:
    return ["---" if i < grid.text_columns else "---:" for i in range(len(grid.header))]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _below(lines: Iterable[str]) -> list[str]:
    found = list(lines)
    return [*found, ""] if found else []


def _md(text: str) -> str:
    """Without what Markdown would take for markup or for the end of a cell."""
    return "".join(f"\\{c}" if c in "\\|*_`<>[]#" else c for c in printable(text))


def _md_value(value: Value, letters: _Letters) -> str:
    text = _md(value.text)
    text = f"**{text}**" if value.best else f"*{text}*" if value.tied else text
    marks = letters.of(value)
    return f"{text} ({', '.join(marks)})" if marks else text


_TEX = {
    "\\": r"\textbackslash{}", "&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}",
    "~": r"\textasciitilde{}", "^": r"\textasciicircum{}", "<": r"\textless{}", ">": r"\textgreater{}",
    "±": r"$\pm$", "−": r"$-$", "×": r"$\times$", "÷": r"$\div$", "Δ": r"$\Delta$", "≥": r"$\geq$",
}  # fmt: skip


def tex(text: str) -> str:
    """Escaped for LaTeX; letters that it may not know become `?`."""
    return "".join(_TEX.get(c, c if c.isascii() or c.isalpha() else "?") for c in printable(text))


def latex(page: Page) -> str:
    r"""The page as LaTeX tables for `\input`: needs `booktabs`; best bold, ties underlined."""
    lines = [f"% {printable(page.title)}", "% needs \\usepackage{booktabs}"]
    for grid in page.grids:
        letters = _Letters()
        rows = [[_tex_value(value, letters) for value in row] for row in grid.rows]
        columns = "l" * grid.text_columns + "r" * (len(grid.header) - grid.text_columns)
        lines += ["", "\\begin{table}", "\\centering", f"\\caption{{{tex(grid.title)}}}"]
        lines += [f"\\begin{{tabular}}{{{columns}}}", "\\toprule", _tex_row(map(tex, grid.header)), "\\midrule"]
        lines += [_tex_row(row) for row in rows]
        lines += ["\\bottomrule", "\\end{tabular}"]
        notes = [f"$^{{{mark(i)}}}$ {tex(text)}." for i, text in enumerate(letters.texts)]
        lines += [f"\\par\\footnotesize {' '.join([*notes, *map(tex, page.legend)])}", "\\end{table}"]
    return "\n".join(lines) + "\n"


def _tex_row(cells: Iterable[str]) -> str:
    return f"{' & '.join(cells)} \\\\"


def _tex_value(value: Value, letters: _Letters) -> str:
    text = tex(value.text)
    text = f"\\textbf{{{text}}}" if value.best else f"\\underline{{{text}}}" if value.tied else text
    marks = letters.of(value)
    return f"{text}$^{{{','.join(marks)}}}$" if marks else text


def mean_sd(mean: float, sd: float | None, n: int, decimals: int = 1) -> str:
    """`61.4 ± 0.5 (9)`; without a deviation where there is one value."""
    spread = "" if sd is None else f" ± {sd:.{decimals}f}"
    return f"{mean:.{decimals}f}{spread} ({n})"


def signed(value: float, decimals: int = 1) -> str:
    """`+3.2`, `−0.4`; a value that rounds to 0 has no sign."""
    text = f"{abs(value):.{decimals}f}"
    return text if float(text) == 0.0 else f"{'+' if value > 0 else '−'}{text}"


def significant(value: float) -> str:
    """Three significant digits; all before the point of a large number, no exponent where that is readable."""
    if value == 0.0:
        return "0"
    if 1000 <= abs(value) < 1e9:
        return f"{value:.0f}"
    return f"{value:.3g}" if 1e-4 <= abs(value) < 1000 else f"{value:.2e}"


def words(names: Sequence[str]) -> str:
    """`a, b and c`."""
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
