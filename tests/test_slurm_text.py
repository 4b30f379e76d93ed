"""Texts of squeue and sacct, most of them recorded on Slurm 22.05.8 (`~` stands for the separator)."""

from __future__ import annotations

import pytest

from condhpc.errors import SchedulerError
from condhpc.slurm_text import (
    ACCT_FORMAT,
    QUEUE_FORMAT,
    SEP,
    STATE_CLASS,
    StateClass,
    classify,
    parse_duration_s,
    parse_epoch_s,
    parse_sacct,
    parse_squeue,
)

SQUEUE = """\
55469205~55469205~55469205~N/A~CANCELLED~DependencyNeverSatisfied~kdep~main~normal~1795469333~N/A~1795469334~0:00\
~10:00~1~~N/A~afterok:55469203(failed)~4294901750
55469198~55469198~55469198~N/A~COMPLETED~None~we|ird,"na me~main~normal~1795469333~1795469333~1795469335~0:02\
~9:58~1~n1~N/A~(null)~4294901757
55469199~55469199~55469199~N/A~COMPLETED~None~line
break~main~normal~1795469333~1795469333~1795469335~0:02~9:58~1~n1~N/A~(null)~4294901756
55469200~55469200~55469200~N/A~COMPLETED~None~sep~name~main~normal~1795469333~1795469333~1795469335~0:02~9:58~1~n1\
~N/A~(null)~4294901755
55469203~55469203~55469203~N/A~FAILED~NonZeroExitCode~failing~main~normal~1795469333~1795469333~1795469333~0:00\
~10:00~1~n2~N/A~(null)~4294901752
55469213_[2-198:2%1]~55469213~55469213~2-198:2%1~PENDING~JobArrayTaskLimit~stepform~main~normal~1795469379~N/A~N/A\
~0:00~10:00~1~~N/A~(null)~4294901743
55469201_[2,4,8,16,198%1]~55469201~55469201~2,4,8,16,198%1~PENDING~JobArrayTaskLimit~thr~main~normal~1795469333~N/A\
~N/A~0:00~10:00~1~~gres:gpu:h100:1~(null)~4294901754
55469202~55469202~55469202~N/A~PENDING~BeginTime~rq~main~normal~1795469340~1795469461~1795470061~0:00~10:00~1~~N/A\
~(null)~4294901753
55469204~55469204~55469204~N/A~PENDING~Dependency~dep~main~normal~1795469333~N/A~N/A~0:00~10:00~1~~N/A\
~afterok:55469201_*(unfulfilled)~4294901751
55469206~55469206~55469206~N/A~PENDING~DependencyNeverSatisfied~never~main~normal~1795469333~N/A~N/A~0:00~10:00~1~\
~N/A~afterok:55469203(failed)~4294901749
55469207~55469207~55469207~N/A~PENDING~JobHeldUser~heldjob~main~normal~1795469333~N/A~N/A~0:00~10:00~1~~N/A~(null)~0
55469201_0~55469212~55469201~0~RUNNING~None~thr~main~normal~1795469333~1795469333~1795469933~0:10~9:50~1~n1\
~gres:gpu:h100:1~(null)~4294901754
55469208+1~55469209~55469209~N/A~RUNNING~None~het~main~normal~1795469333~1795469334~1795469934~0:09~9:51~1~n3~N/A\
~(null)~4294901747
""".replace("~", SEP)

SACCT = """\
55469199~55469199~dev23920~line
break~root~root~main~normal~COMPLETED~0:0~0:0~1795469333~1795469333~1795469333~1795469335~2~00:00:00~10~1~1\
~billing=1,cpu=1,mem=500M,node=1~billing=1,cpu=1,mem=500M,node=1~n1~~SchedMain,StartRecieved
55469202~55469202~dev23920~rq~root~root~main~normal~REQUEUED~0:0~0:0~1795469333~1795469333~1795469333~1795469340~7\
~00:00:06~10~1~1~billing=1,cpu=1,mem=500M,node=1~billing=1,cpu=1,mem=500M,node=1~n1~~SchedMain,StartRecieved
55469202~55469202~dev23920~rq~root~root~main~normal~PENDING~0:0~0:0~1795469340~1795469461~Unknown~Unknown~0\
~00:00:00~10~1~1~billing=1,cpu=1,mem=500M,node=1~~None assigned~~StartRecieved
55469203~55469203~dev23920~failing~root~root~main~normal~FAILED~3:0~0:0~1795469333~1795469333~1795469333\
~1795469333~0~00:00:00~10~1~1~billing=1,cpu=1,mem=500M,node=1~billing=1,cpu=1,mem=500M,node=1~n2~~SchedMain
55469205~55469205~dev23920~kdep~root~root~main~normal~CANCELLED~0:0~0:0~1795469333~Unknown~None~1795469334~0\
~00:00:00~10~1~1~billing=1,cpu=1,mem=500M,node=1~~None assigned~~StartRecieved
55469201_0~55469212~dev23920~thr~root~root~main~normal~RUNNING~0:0~0:0~1795469333~1795469333~1795469333~Unknown~10\
~00:00:00~10~1~1~billing=1,cpu=1,gres/gpu:h100=1,gres/gpu=1,mem=500M,node=1\
~billing=1,cpu=1,gres/gpu:h100=1,gres/gpu=1,mem=500M,node=1~n1~~SchedMain,StartRecieved
55469213_[2-198:2%1]~55469213~dev23920~stepform~root~root~main~normal~PENDING~0:0~0:0~1795469379~1795469379~Unknown\
~Unknown~0~00:00:00~10~1~1~billing=1,cpu=1,mem=500M,node=1~~None assigned~~StartRecieved
""".replace("~", SEP)


def test_squeue_rows_are_all_read() -> None:
    """Odd names, line breaks and separators in names do not shift or lose a row."""
    rows = parse_squeue(SQUEUE)
    assert [row.job_id for row in rows] == [
        *("55469205", "55469198", "55469199", "55469200", "55469203", "55469213", "55469201", "55469202"),
        *("55469204", "55469206", "55469207", "55469212", "55469209"),
    ]
    assert [row.name for row in rows][1:4] == ['we|ird,"na me', "line\nbreak", f"sep{SEP}name"]
    assert {row.partition for row in rows} == {"main"}


def test_squeue_rows_know_their_class() -> None:
    """State and reason together: killed and unsatisfiable dependants, requeued and held jobs."""
    rows = {row.name: row for row in parse_squeue(SQUEUE)}
    classes = {name: rows[name].state_class for name in ("kdep", "rq", "dep", "never", "heldjob", "het", "failing")}
    assert classes == {
        "kdep": StateClass.USER,
        "rq": StateClass.WAITING,
        "dep": StateClass.WAITING,
        "never": StateClass.BLOCKED,
        "heldjob": StateClass.HELD,
        "het": StateClass.ACTIVE,
        "failing": StateClass.CODE,
    }


def test_squeue_fields_of_a_running_and_a_waiting_element() -> None:
    """Times are epoch seconds or None, (null) and N/A are empty, the waiting rest has its indices."""
    rows = {row.job_id: row for row in parse_squeue(SQUEUE)}
    running, waiting = rows["55469212"], rows["55469201"]
    assert running.ids.elements() == ("55469201_0",)
    assert (running.start_s, running.end_s, running.elapsed_s, running.left_s) == (1795469333, 1795469933, 10, 590)
    assert (running.node_list, running.gres, running.dependency) == ("n1", "gres:gpu:h100:1", "")
    assert (waiting.ids.indices, waiting.ids.throttle) == ((2, 4, 8, 16, 198), 1)
    assert (waiting.submit_s, waiting.start_s, waiting.end_s) == (1795469333, None, None)
    assert rows["55469204"].dependency == "afterok:55469201_*(unfulfilled)"
    assert len(rows["55469213"].ids.elements()) == 99
    assert rows["55469209"].ids.het_offset == 1


def test_rows_of_several_clusters_know_theirs() -> None:
    """With -M squeue announces each cluster on a line of its own."""
    one = SQUEUE.splitlines(keepends=True)[0]
    rows = parse_squeue(f"CLUSTER: east\n{one}\nCLUSTER: west\n{one}")
    assert [row.cluster for row in rows] == ["east", "west"]
    assert parse_squeue(one)[0].cluster is None


@pytest.mark.parametrize("text", ["", "\n"])
def test_an_empty_queue_has_no_rows(text: str) -> None:
    """Nothing printed means nothing queued."""
    assert parse_squeue(text) == []
    assert parse_sacct(text) == []


def test_cut_output_is_an_error() -> None:
    """Half a row is never taken for a row, nor dropped in silence."""
    with pytest.raises(SchedulerError, match="expected 19 fields"):
        parse_squeue(SQUEUE[:-40])


def test_sacct_rows_are_all_read() -> None:
    """Both attempts of a requeued job, a killed dependant and the waiting rest of an array are there."""
    rows = parse_sacct(SACCT)
    assert [(row.ids.elements()[0], row.state, row.state_class) for row in rows] == [
        ("55469199", "COMPLETED", StateClass.SUCCESS),
        ("55469202", "REQUEUED", StateClass.WAITING),
        ("55469202", "PENDING", StateClass.WAITING),
        ("55469203", "FAILED", StateClass.CODE),
        ("55469205", "CANCELLED", StateClass.USER),
        ("55469201_0", "RUNNING", StateClass.ACTIVE),
        ("55469213_2", "PENDING", StateClass.WAITING),
    ]
    assert rows[0].name == "line\nbreak"


def test_sacct_fields_of_attempts() -> None:
    """Exit codes, times, suspension, limit and TRES of an attempt; None where Slurm has nothing."""
    _, requeued, again, failed, killed, running, _ = parse_sacct(SACCT)
    assert (requeued.start_s, requeued.end_s, requeued.elapsed_s) == (1795469333, 1795469340, 7)
    assert (requeued.suspended_s, requeued.limit_min, requeued.nodes, requeued.cpus) == (6, 10, 1, 1)
    assert (again.submit_s, again.eligible_s, again.start_s, again.end_s) == (1795469340, 1795469461, None, None)
    assert (failed.exit_code, failed.exit_signal, failed.derived_exit_code) == (3, 0, 0)
    assert (killed.start_s, killed.end_s, killed.alloc_tres, killed.node_list) == (None, 1795469334, "", "")
    assert (running.job_id_raw, running.end_s) == ("55469212", None)
    assert "gres/gpu=1" in running.alloc_tres
    assert (running.cluster, running.user, running.account, running.qos) == ("dev23920", "root", "root", "normal")


@pytest.mark.parametrize(
    ("text", "expected"), [("", None), ("0", None), ("101630", 101630), ("18446744073709551614", None)]
)
def test_energy_that_was_not_measured_is_none(text: str, expected: int | None) -> None:
    """Blank, 0 and NO_VAL64 all mean that nobody measured."""
    row = SEP.join([*SACCT.splitlines()[-1].split(SEP)[:-2], text, "SchedMain"])
    assert parse_sacct(row)[0].energy_joules == expected


CLASSES = {
    StateClass.WAITING: ["PENDING", "REQUEUED", "REQUEUE_FED", "RESV_DEL_HOLD", "EXPEDITING"],
    StateClass.HELD: ["REQUEUE_HOLD", "SPECIAL_EXIT"],
    StateClass.ACTIVE: [
        *("RUNNING", "CONFIGURING", "COMPLETING", "RESIZING", "SIGNALING", "STAGE_OUT", "STOPPED", "SUSPENDED"),
        *("POWER_UP_NODE", "UPDATE_DB"),
    ],
    StateClass.SUCCESS: ["COMPLETED"],
    StateClass.INFRA: ["NODE_FAIL", "BOOT_FAIL", "PREEMPTED", "LAUNCH_FAILED", "RECONFIG_FAIL"],
    StateClass.LIMIT: ["TIMEOUT", "OUT_OF_MEMORY", "DEADLINE"],
    StateClass.CODE: ["FAILED"],
    StateClass.USER: ["CANCELLED", "CANCELLED by 1000", "CANCELLED+"],
    StateClass.OTHER: ["REVOKED", "BRAND_NEW_STATE", ""],
}


@pytest.mark.parametrize(("expected", "state"), [(cls, state) for cls, states in CLASSES.items() for state in states])
def test_every_state_has_its_class(expected: StateClass, state: str) -> None:
    """The table of states, the uid suffix of CANCELLED, and unknown text."""
    assert classify(state) is expected


def test_the_state_table_is_complete() -> None:
    """The table names the 12 base states and the 17 flags that replace them, and no other."""
    named = {state for states in CLASSES.values() for state in states}
    assert set(STATE_CLASS) == named - {"CANCELLED by 1000", "CANCELLED+", "BRAND_NEW_STATE", ""}
    assert len(STATE_CLASS) == 29


@pytest.mark.parametrize(
    ("reason", "expected"),
    [
        ("None", StateClass.WAITING),
        ("Resources", StateClass.WAITING),
        ("JobHeldUser", StateClass.HELD),
        ("(JobHeldAdmin)", StateClass.HELD),
        ("launch failed requeued held", StateClass.HELD),
        ("job_requeued_in_held_state", StateClass.HELD),
        ("DependencyNeverSatisfied", StateClass.BLOCKED),
    ],
)
def test_the_reason_tells_held_and_blocked_apart(reason: str, expected: StateClass) -> None:
    """A pending job may wait for resources, for a person, or for what never comes."""
    assert classify("PENDING", reason) is expected


def test_the_reason_of_a_finished_job_counts_for_nothing() -> None:
    """Slurm keeps the last pending reason on finished jobs."""
    assert classify("COMPLETED", "DependencyNeverSatisfied") is StateClass.SUCCESS


def test_an_unknown_state_counts_as_in_the_queue() -> None:
    """What we cannot read may still run, so nothing is submitted over it."""
    assert classify("BRAND_NEW_STATE").in_queue
    assert StateClass.BLOCKED.in_queue
    assert not classify("TIMEOUT").in_queue


@pytest.mark.parametrize(
    ("text", "expected"),
    [("1795469333", 1795469333), ("Unknown", None), ("N/A", None), ("None", None), ("", None), ("0", None)],
)
def test_times_are_epoch_seconds_or_none(text: str, expected: int | None) -> None:
    """Every word that Slurm has for no time."""
    assert parse_epoch_s(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("0:00", 0),
        ("9:58", 598),
        ("01:02:03", 3723),
        ("2-00:00:10", 172_810),
        ("00:01:02.500", 62),
        ("UNLIMITED", None),
        ("infinite", None),
        ("NOT_SET", None),
        ("", None),
    ],
)
def test_durations_are_seconds_or_none(text: str, expected: int | None) -> None:
    """Days, hours, minutes and the words for no limit."""
    assert parse_duration_s(text) == expected


def test_the_formats_ask_for_what_the_parsers_read() -> None:
    """19 squeue fields and 25 sacct fields, the name where the parsers expect it."""
    assert QUEUE_FORMAT.split(SEP)[6] == "%j"
    assert len(QUEUE_FORMAT.split(SEP)) == 19
    assert ACCT_FORMAT.split(",")[3] == "JobName"
    assert len(ACCT_FORMAT.split(",")) == 25
