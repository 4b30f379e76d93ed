"""Columns of costs, against the costs that were put into them."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from condhpc import kept_costs
from condhpc.energy_sums import Used
from condhpc.kept_costs import CostColumns
from condhpc.task_costs import Cost

_seconds = st.floats(0.0, 1e9)
_used = st.builds(
    Used,
    st.none() | _seconds,
    st.sampled_from(["A", "B", "none"]),
    st.frozensets(st.sampled_from(["gpu", "cpu", "dram"])),
)
_costs = st.builds(Cost, _seconds, _seconds, _used, st.frozensets(st.sampled_from(["H100", "A100", "unknown"])))


@given(st.lists(st.none() | _costs), st.data())
def test_every_cost_comes_back_also_after_some_changed(costs: list[Cost | None], data: st.DataObject) -> None:
    """Through what is kept, twice: once as it was, once with others in some places."""
    columns = CostColumns(kept_costs.keep(costs))
    for place in data.draw(st.sets(st.integers(0, len(costs) - 1))) if costs else ():
        costs[place] = data.draw(st.none() | _costs)
        columns.put(place, costs[place])
    there = [i for i, cost in enumerate(costs) if cost is not None]
    assert list(columns.costs(there)) == [cost for cost in costs if cost is not None]
    assert list(CostColumns(columns.kept()).costs(there)) == list(columns.costs(there))
