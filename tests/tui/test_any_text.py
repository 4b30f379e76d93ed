"""Arbitrary text in every place of a snapshot, on the screen of the whole app."""

from __future__ import annotations

import asyncio
import unicodedata

import msgspec
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_shots import EVIL, NOW_S, screen, shot, until, watching

from condhpc.findings import Row, Snapshot
from condhpc.outlook import CellResult, CostLine, Costs, FailureGroup, Outlook, SeedResult
from condhpc.planned import Label
from condhpc.task_state import STATES
from condhpc.tui.views import VIEWS

any_text = st.one_of(
    st.text(max_size=30), st.sampled_from(EVIL), st.binary(max_size=30).map(lambda b: b.decode("latin1"))
)
names = st.one_of(st.none(), any_text)
labels = st.builds(
    Label, dataset=names, condenser=names, ipc=st.one_of(st.none(), st.integers()), protocol=names, student=names,
    metric=names, role=names, shard=names,
)  # fmt: skip
rows = st.builds(
    Row, key=any_text, stage=st.sampled_from(["condense", "evaluate"]), label=labels, state=st.sampled_from(STATES),
    detail=any_text, values=st.dictionaries(any_text, st.floats(), max_size=2), element=any_text, host=any_text,
    step=st.integers(0, 9), total=st.integers(0, 9), since_s=st.one_of(st.none(), st.floats(0, 2e9)),
)  # fmt: skip


@st.composite
def snapshots(draw: st.DrawFn) -> Snapshot:
    """A run with such words everywhere."""
    tasks = draw(st.lists(rows, max_size=6, unique_by=lambda row: row.key))
    keys = [row.key for row in tasks]
    words = draw(st.lists(any_text, min_size=16, max_size=16))
    seeds = [SeedResult(set_seed=0, student_seed=0, key=key, state="failed") for key in keys]
    outlook = Outlook(
        costs=Costs(
            source=words[0], gpu_h={words[1]: 1.0}, planned_gpu_h={words[2]: (1.0, 2.0)}, waste_gpu_h={words[3]: 1.0},
            lines=[CostLine(stage="condense", condenser=words[4], gpu_type=words[5], tasks=1, gpu_h=1.0, cpu_h=1.0)],
            grade=words[6], kwh=1.0,
        ),
        failures=[
            FailureGroup(signature=words[7], example=words[8], state="failed", stages=["condense"], nodes=[words[9]],
                         slurm_state=words[10], keys=keys)
        ],
        cells=[
            CellResult(dataset=words[11], condenser=words[12], ipc=1, protocol=words[13], student=words[14], planned=2,
                       n=1, pending=1, failed=0, mean_pct=50.0, measures={words[15]: 1.0}, seeds=seeds)
        ],
        notes=words[:2],
    )  # fmt: skip
    shown = shot(*tasks, problems=tuple(words[3:6]), taken_s=NOW_S, outlook=outlook)
    return msgspec.structs.replace(shown, run=words[0], raised=words[6:8], queue_error=words[9])


@settings(max_examples=4, deadline=None, suppress_health_check=list(HealthCheck))
@given(snapshots())
def test_any_text_anywhere_is_only_text(seen: Snapshot) -> None:
    """No view crashes, obeys or passes on what a terminal would obey, whatever stands in a snapshot."""
    asyncio.run(shown(seen))


async def shown(seen: Snapshot) -> None:
    """Every view of it, with keys that walk about."""
    app, source = watching(seen, clock=lambda: NOW_S)
    async with app.run_test(size=(100, 30)) as pilot:
        await until(pilot, lambda: source.looks > 0 and app._shot is not None)
        for number in range(len(VIEWS)):
            await pilot.press(str(number + 1), "x", "j", "j", "space", "F", "escape")
            await pilot.pause()
            assert app.is_running
            for line in screen(app):
                assert not [
                    char for char in line if unicodedata.category(char) in {"Cc", "Cs"} or char in "\u202e\u2066"
                ]
