"""What a plan is going to cost, as lines for a terminal of 100 columns."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from math import floor, log10
from typing import TYPE_CHECKING

from condhpc.calibration import MODEL_FACTOR
from condhpc.tables import printable

if TYPE_CHECKING:
    from condhpc.carbon import Carbon
    from condhpc.predictions import CostRow

_GB = 1e9
_DIGITS = 2
_PLAIN_ABOVE = 1e-3
"""Smaller numbers say no more to people than that they are smaller."""


def cost_lines(costs: Sequence[CostRow], carbon: Carbon | None) -> Iterator[str]:
    """What is to be computed, in hours, kWh and GB, and what these rest on."""
    if not costs:
        return
    if all(row.device == "cpu" and row.expected_h is None for row in costs):
        yield "hours: on a CPU only records tell, and there are none of such tasks yet"
        return
    yield ""
    gpus = {row.gpu for row in costs if row.device == "gpu"}
    yield from _table(costs, several=len(gpus) > 1)
    yield from _notes(costs, gpus)
    yield from _off(costs)
    if carbon is not None:
        yield _carbon(carbon)


def range_text(low: float | None, high: float | None) -> str:
    """`1.2–3.4` with two digits each, one number where both are equal to these; empty for None."""
    if low is None or high is None:
        return ""
    first, last = number(low), number(high)
    return first if first == last else f"{first}–{last}"


def number(value: float) -> str:
    """Two digits: `0.012`, `3.4`, `120`, `5,600`; `<0.001` for less, `0` for nothing at all."""
    if value < _PLAIN_ABOVE:
        return f"<{_PLAIN_ABOVE:g}" if value > 0.0 else "0"
    rounded = round(value, _DIGITS - 1 - floor(log10(value)))
    return f"{rounded:,.{max(0, _DIGITS - 1 - floor(log10(rounded)))}f}"


def _table(costs: Sequence[CostRow], *, several: bool) -> list[str]:
    """One line per row and their sum; columns that say nothing are left out."""
    rows = [
        (
            f"{row.stage} {row.condenser}".rstrip(),
            row.dataset,
            str(row.tasks),
            range_text(row.low_h, row.high_h) if row.device == "gpu" else "",
            range_text(row.low_h, row.high_h) if row.device == "cpu" else "",
            range_text(row.low_kwh, row.high_kwh),
            number(row.kept_bytes / _GB) if row.kept_bytes else "",
            _basis(row, several=several),
        )
        for row in costs
    ]
    totals = [_total(costs)]
    if several:  # hours of two types are no sum
        of_type = {gpu: [row for row in costs if row.gpu == gpu] for gpu in dict.fromkeys(row.gpu for row in costs)}
        totals = [(*_total(held)[:-1], f"on {printable(gpu)}") for gpu, held in of_type.items() if gpu]
        totals.append((*_total(costs)[:3], "", *_total(costs)[4:]))
    header = ("to compute", "dataset", "tasks", "GPU-h", "CPU-h", "kWh", "GB kept", "rests on")
    shown = [at for at in range(len(header)) if at in {0, 2, 7} or any(row[at] for row in rows)]
    lines = [tuple(row[at] for at in shown) for row in (header, *rows, *totals)]
    widths = [max(len(line[at]) for line in lines) for at in range(len(shown))]
    right = [2 <= at <= 6 for at in shown]
    return [_line(line, widths, right) for line in lines]


def _total(costs: Sequence[CostRow]) -> tuple[str, ...]:
    """The line of a sum."""
    kept = sum(row.kept_bytes for row in costs)
    return (
        "all",
        "",
        str(sum(row.tasks for row in costs)),
        _sum((row.low_h, row.high_h) for row in costs if row.device == "gpu"),
        _sum((row.low_h, row.high_h) for row in costs if row.device == "cpu"),
        _sum((row.low_kwh, row.high_kwh) for row in costs),
        number(kept / _GB) if kept else "",
        "",
    )


def _line(cells: Sequence[str], widths: Sequence[int], right: Sequence[bool]) -> str:
    padded = [c.rjust(w) if r else c.ljust(w) for c, w, r in zip(map(printable, cells), widths, right, strict=True)]
    return "  ".join(padded).rstrip()


def _sum(ranges: Iterable[tuple[float | None, float | None]]) -> str:
    """All at their least to all at their most."""
    known = [(low, high) for low, high in ranges if low is not None and high is not None]
    return range_text(sum(low for low, _ in known), sum(high for _, high in known)) if known else ""


def _basis(row: CostRow, *, several: bool) -> str:
    """`12 records, ×1.17`, or that it is the model alone; with the GPU where a plan has several."""
    where = f"{printable(row.gpu)}: " if several and row.device == "gpu" else ""
    missing = f"; not known for {row.unknown}" if 0 < row.unknown < row.tasks else ""
    if row.expected_h is None:
        return f"{where}not known: no records" if row.device == "cpu" else f"{where}not known"
    if not row.records:
        return f"{where}the model alone{missing}"
    records = f"{row.records} records" if row.records > 1 else "1 record"
    ratio = f", ×{row.recorded_h / row.recorded_predicted_h:.2f}" if row.recorded_predicted_h else ""
    return f"{where}{records}{'*' if _borrowed(row) else ''}{ratio}{missing}"


def _borrowed(row: CostRow) -> bool:
    """Whether records of other datasets speak for it, too."""
    return bool(row.records and row.expected_h is not None and row.dataset and not row.of_dataset)


def _notes(costs: Sequence[CostRow], gpus: set[str]) -> Iterator[str]:
    """What hours are of, how wide ranges are, what kWh rest on, which files have no size yet."""
    if unknown_tasks := sum(row.unknown for row in costs):
        yield f"Tasks that are in no sum, as nobody knows what they take: {unknown_tasks:,}"
    if len(gpus) == 1:
        yield f"GPU-hours are of: {printable(next(iter(gpus)))}"
    if any(map(_borrowed, costs)):
        yield "* records of all datasets"
    if any(row.basis == "model" and row.expected_h is not None for row in costs):
        text = (
            f"The model alone holds within a factor of {MODEL_FACTOR:.0f}, up or down; records of real runs narrow it."
        )
        yield text
    sources = dict.fromkeys(row.power_source for row in costs if row.power_source)
    if sources:
        yield f"kWh: {printable('; '.join(sources))}; without cooling (PUE)"
    unknown = dict.fromkeys(f"{row.stage} {row.condenser}".rstrip() for row in costs if row.kept_unknown)
    if unknown:
        yield f"GB kept is without files whose size is not known before: {printable(', '.join(unknown))}"


def _off(costs: Sequence[CostRow]) -> Iterator[str]:
    """Which predictions were wrong by more than a factor of two."""
    for row in costs:
        if row.off is not None:
            kind = f"{row.stage} {row.condenser}".rstrip()
            where = f" on {row.dataset}" if row.of_dataset and row.dataset else ""
            yield printable(
                f"predictions of {kind}{where} were off: {row.records} tasks took {row.off:.2g} times what the model "
                f"says of {row.gpu}; the hours above are corrected by that"
            )


def _carbon(found: Carbon) -> str:
    grid = f"{found.carbon_g_per_kwh:g} g/kWh ({found.carbon_source})"
    return printable(
        f"CO2e: {range_text(found.low_kg, found.high_kg)} kg; {grid} × PUE {found.pue:g} ({found.pue_source})"
    )
