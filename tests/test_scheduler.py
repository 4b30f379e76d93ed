"""Slurm's commands behind shims on PATH that print recorded text, fail or hang."""

from __future__ import annotations

import stat
import time
from itertools import chain
from pathlib import Path

import pytest

from condhpc.errors import SchedulerError
from condhpc.scheduler import PARENTS_PER_SACCT, ControllerUnreachable, Slurm
from condhpc.slurm_text import ACCT_FORMAT, QUEUE_FORMAT, SEP

PLAIN = (
    "55469202~55469202~55469202~N/A~PENDING~BeginTime~rq~main~normal~1795469340~1795469461~1795470061~0:00~10:00~1~"
    "~N/A~(null)~4294901753\n"
).replace("~", SEP)
ARRAY = (
    "55469201_[2,4-5,198%1]~55469201~55469201~2,4-5,198%1~PENDING~JobArrayTaskLimit~thr~main~normal~1795469333~N/A~N/A"
    "~0:00~10:00~1~~gres:gpu:h100:1~(null)~4294901754\n"
    "55469201_0~55469212~55469201~0~RUNNING~None~thr~main~normal~1795469333~1795469333~1795469933~0:10~9:50~1~n1"
    "~gres:gpu:h100:1~(null)~4294901754\n"
    "55469201_1~55469213~55469201~1~COMPLETED~None~thr~main~normal~1795469333~1795469333~1795469933~0:10~9:50~1~n1"
    "~gres:gpu:h100:1~(null)~4294901754\n"
).replace("~", SEP)
ATTEMPT = (
    "55469203~55469203~dev23920~failing~root~root~main~normal~FAILED~3:0~0:0~1795469333~1795469333~1795469333"
    "~1795469333~0~00:00:00~10~1~1~cpu=1~cpu=1~n2~~SchedMain\n"
).replace("~", SEP)
CONFIG = "ClusterName = c\nMaxArraySize = 1001\nMaxJobCount = 10000\nMinJobAge = 300 sec\nSLURM_VERSION = 22.05.8\n"
WITH_DBD = f"{CONFIG}AccountingStorageType = accounting_storage/slurmdbd\nSchedulerParameters = max_array_tasks=500\n"
NO_CONTROLLER = "slurm_load_jobs error: Unable to contact slurm controller (connect failure)\n"
NO_DBD = "sacct: error: Problem talking to the database: Connection refused\n"


class Shims:
    """A folder of pretended Slurm commands that log how they were called."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.env = {"PATH": f"{folder}:/usr/bin:/bin"}

    def add(self, name: str, stdout: str = "", stderr: str = "", code: int = 0, body: str = "") -> None:
        """A command that logs its arguments, runs `body`, prints and ends with `code`."""
        (self.folder / f"{name}.out").write_text(stdout)
        (self.folder / f"{name}.err").write_text(stderr)
        script = self.folder / name
        script.write_text(
            f"""#!/bin/sh
cd '{self.folder}'
printf '%s\\036' "$@" >> {name}.log; printf '\\035' >> {name}.log
env > {name}.env
{body}
cat {name}.out; cat {name}.err >&2
exit {code}
"""
        )
        script.chmod(script.stat().st_mode | stat.S_IXUSR)

    def calls(self, name: str) -> list[list[str]]:
        """Arguments of each call so far."""
        log = self.folder / f"{name}.log"
        text = log.read_text() if log.exists() else ""
        return [call.split("\x1e")[:-1] for call in text.split("\x1d")[:-1]]

    def seen_env(self, name: str) -> dict[str, str]:
        """Environment of the latest call."""
        pairs = (line.partition("=") for line in (self.folder / f"{name}.env").read_text().splitlines())
        return {key: value for key, _, value in pairs}


@pytest.fixture
def shims(tmp_path: Path) -> Shims:
    """An empty folder of pretended commands."""
    folder = tmp_path / "bin"
    folder.mkdir()
    return Shims(folder)


def test_the_queue_is_one_batched_call(shims: Shims) -> None:
    """One squeue for all ids, by array parent, with the exact format."""
    shims.add("squeue", ARRAY + PLAIN)
    rows = Slurm(env=shims.env).queue(jobs=["55469201_4", "55469201_5", "55469202"])
    assert [row.job_id for row in rows] == ["55469201", "55469212", "55469213", "55469202"]
    assert shims.calls("squeue") == [["--me", "-h", "-t", "all", "-o", QUEUE_FORMAT, "-j", "55469201,55469202"]]


def test_queries_are_whole_and_zone_free_whatever_the_shell_says(shims: Shims) -> None:
    """Full index sets, epoch times, and no filter from the user's environment."""
    shims.add("squeue", ARRAY)
    filters = {"SQUEUE_STATES": "RUNNING", "SQUEUE_FORMAT": "%i", "SLURM_TIME_FORMAT": "relative"}
    Slurm(env={**shims.env, **filters, "SLURM_CONF": "/etc/s.conf"}).queue()
    seen = shims.seen_env("squeue")
    assert (seen["SLURM_BITSTR_LEN"], seen["SLURM_TIME_FORMAT"], seen["SLURM_CONF"]) == ("0", "%s", "/etc/s.conf")
    assert not [key for key in seen if key.startswith("SQUEUE_")]


def test_rows_of_other_jobs_are_filtered_out(shims: Shims) -> None:
    """A list too long for squeue's command line reads all own rows and keeps the wanted ones."""
    shims.add("squeue", ARRAY + PLAIN)
    many = [str(number) for number in range(10_000_000, 10_003_000)]
    rows = Slurm(env=shims.env).queue(jobs=[*many, "55469202"])
    assert [row.job_id for row in rows] == ["55469202"]
    assert "-j" not in shims.calls("squeue")[0]


@pytest.mark.parametrize("verb", ["hold", "release"])
def test_hold_and_release_are_one_call(shims: Shims, verb: str) -> None:
    """All arrays in one scontrol; elements that run or are over are no error, as Slurm 22.05 puts it."""
    shims.add("scontrol", stderr="608_0: Job has already finished\n608_1-2: No error\n", code=1)
    getattr(Slurm(env=shims.env), verb)(["608", "609", "608"])
    assert shims.calls("scontrol") == [[verb, "608,609"]]


def test_a_refused_hold_is_an_error(shims: Shims) -> None:
    """A site may keep it for operators."""
    shims.add("scontrol", stderr="608: Access/permission denied\n", code=1)
    with pytest.raises(SchedulerError, match="permission denied"):
        Slurm(env=shims.env).hold(["608"])


def test_asking_for_no_job_asks_nothing(shims: Shims) -> None:
    """An empty list is not `all jobs`."""
    shims.add("squeue", ARRAY)
    assert Slurm(env=shims.env).queue(jobs=[]) == []
    assert Slurm(env=shims.env).queue(names=[]) == []
    assert shims.calls("squeue") == []


def test_a_forgotten_job_is_an_empty_answer(shims: Shims) -> None:
    """The error of squeue for a purged id is not ours."""
    shims.add("squeue", stderr="slurm_load_jobs error: Invalid job id specified\n", code=1)
    slurm = Slurm(env=shims.env)
    assert slurm.queue(jobs=["1"]) == []
    assert slurm.end_time("1") is None


def test_clusters_are_passed_on(shims: Shims) -> None:
    """With clusters every command says -M."""
    shims.add("squeue")
    shims.add("scancel")
    slurm = Slurm(clusters=["east", "west"], env=shims.env)
    slurm.queue()
    slurm.cancel(["3"])
    assert shims.calls("squeue")[0][:2] == ["-M", "east,west"]
    assert shims.calls("scancel") == [["-M", "east,west", "3"]]


def test_a_requeue_without_controller_is_told_as_such(shims: Shims) -> None:
    """Recorded: scontrol of 22.05 has other words for an absent controller."""
    shims.add("scontrol", stderr="Unexpected message received for job 1\n", code=1)
    with pytest.raises(ControllerUnreachable):
        Slurm(env=shims.env).requeue("1")


def test_a_controller_that_is_away_has_its_own_error(shims: Shims) -> None:
    """The command, its words and what to do; a subclass, so that pollers can back off."""
    shims.add("squeue", stderr=NO_CONTROLLER, code=1)
    with pytest.raises(ControllerUnreachable, match=r"squeue --me.*exit code 1.*connect failure.*try again later"):
        Slurm(env=shims.env).queue()


def test_a_failing_command_says_what_happened(shims: Shims) -> None:
    """Command, exit code, the end of stderr, advice; not taken for an absent controller."""
    shims.add("scontrol", stderr="noise\n" * 50 + "Job is pending execution for job 7\n", code=1)
    with pytest.raises(SchedulerError, match=r"`scontrol requeue 7`: exit code 1: (.|\n)*pending.*by hand") as caught:
        Slurm(env=shims.env).requeue("7")
    assert not isinstance(caught.value, ControllerUnreachable)
    assert str(caught.value).count("noise") < 10


def test_a_missing_command_says_where_slurm_is_expected(tmp_path: Path) -> None:
    """Without Slurm the error names the remedy, and available() is false."""
    slurm = Slurm(env={"PATH": str(tmp_path)})
    assert not slurm.available()
    with pytest.raises(SchedulerError, match="on PATH"):
        slurm.queue()


def test_slurm_is_available_with_sbatch_on_path(shims: Shims) -> None:
    """Sbatch alone decides."""
    shims.add("sbatch")
    assert Slurm(env={"PATH": str(shims.folder)}).available()


def _is_running(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


def test_a_hanging_command_ends_with_its_children(shims: Shims) -> None:
    """A squeue that never answers is an error after its time-out, and leaves no process behind."""
    shims.add("squeue", body="sleep 300 & echo $! > child.pid; wait")
    with pytest.raises(SchedulerError, match=r"no answer within 0\.5 s"):
        Slurm(timeout_s=0.5, env=shims.env).queue()
    child = int((shims.folder / "child.pid").read_text())
    deadline = time.monotonic() + 10
    while _is_running(child) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not _is_running(child)


def test_a_hanging_accounting_is_no_answer(shims: Shims) -> None:
    """A slow slurmdbd must not stop a run: None and the reason."""
    shims.add("sacct", body="sleep 300")
    slurm = Slurm(timeout_s=0.5, env=shims.env)
    assert slurm.history(["1"], 0) is None
    assert slurm.accounting_error is not None
    assert "no answer" in slurm.accounting_error


def test_a_name_is_found_in_the_queue(shims: Shims) -> None:
    """One id per array, and accounting is not asked."""
    shims.add("squeue", ARRAY)
    shims.add("sacct", ATTEMPT)
    assert Slurm(env=shims.env).find_by_name("thr") == ["55469201"]
    assert shims.calls("squeue")[0][-2:] == ["-n", "thr"]
    assert shims.calls("sacct") == []


def test_a_name_is_else_found_in_the_accounting(shims: Shims) -> None:
    """Squeue has forgotten it; only exactly this name counts."""
    shims.add("squeue")
    shims.add("sacct", ATTEMPT + ATTEMPT.replace("failing", "failing2").replace("55469203", "55469299"))
    assert Slurm(env=shims.env).find_by_name("failing", since_s=1_000_060) == ["55469203"]
    call = shims.calls("sacct")[0]
    assert call[call.index("--name") + 1] == "failing"
    assert call[call.index("-S") + 1] == "uts1000000"


def test_a_name_is_looked_for_without_accounting(shims: Shims) -> None:
    """A site without slurmdbd finds what squeue knows, and no more."""
    shims.add("squeue")
    shims.add("sacct", stderr=NO_DBD, code=1)
    assert Slurm(env=shims.env).find_by_name("thr") == []


def test_history_asks_for_all_attempts(shims: Shims) -> None:
    """Duplicates (-D), no steps (-X), an explicit start, by array parent."""
    shims.add("sacct", ATTEMPT)
    rows = Slurm(env=shims.env).history(["55469203", "20_1", "20_2"], since_s=1_795_469_333)
    assert rows is not None
    assert [(row.ids.parent, row.exit_code) for row in rows] == [("55469203", 3)]
    call = shims.calls("sacct")[0]
    assert {"-n", "-X", "-D", "-P", "--noconvert", f"--delimiter={SEP}"} <= set(call)
    assert call[call.index("-S") + 1] == "uts1795469273"
    assert call[call.index("-j") + 1] == "20,55469203"
    assert call[call.index("-o") + 1] == ACCT_FORMAT


def test_history_is_asked_in_batches(shims: Shims) -> None:
    """No sacct call names more than a thousand parents, and each is named once."""
    shims.add("sacct")
    ids = [str(number) for number in range(1, 2 * PARENTS_PER_SACCT + 2)]
    assert Slurm(env=shims.env).history(ids, 0) == []
    assert "uts1000000" in shims.calls("sacct")[0]  # Slurm refuses an earlier time
    named = [call[call.index("-j") + 1].split(",") for call in shims.calls("sacct")]
    assert [len(part) for part in named] == [1000, 1000, 1]
    assert sorted(chain.from_iterable(named), key=int) == ids


def test_history_without_accounting_is_none_with_the_reason(shims: Shims) -> None:
    """The reason is kept, and forgotten after the next answer."""
    shims.add("sacct", stderr=NO_DBD, code=1)
    slurm = Slurm(env=shims.env)
    assert slurm.history(["1"], 0) is None
    assert "Problem talking to the database" in (slurm.accounting_error or "")
    shims.add("sacct", ATTEMPT)
    assert slurm.history(["1"], 0) is not None
    assert slurm.accounting_error is None


def test_limits_are_probed(shims: Shims) -> None:
    """Configuration, partitions, association, QOS, and the elements in the queue now."""
    shims.add("scontrol", WITH_DBD)
    shims.add(
        "sinfo", "main*|up|1-00:00:00|4|idle|gpu:h100:4|64000\nshort|up|10:00|4|idle|(null)|64000\n".replace("|", SEP)
    )
    shims.add("squeue", ARRAY + PLAIN)
    body = 'case "$*" in *assoc*) echo "c|lab||4|200|||normal";; *qos*) echo "normal|2|50||||";; esac'
    shims.add("sacctmgr", body=body)
    limits = Slurm(env=shims.env).limits("ann", ["main", "nosuch"])
    assert (limits.slurm_version, limits.cluster) == ("22.05.8", "c")
    assert (limits.max_array_size, limits.max_job_count, limits.min_job_age_s) == (1001, 10_000, 300)
    assert (limits.max_array_tasks, limits.elements_per_array) == (500, 500)
    assert [(part.name, part.max_time_min, part.gres) for part in limits.partitions] == [
        ("main", 1440, {"gpu:h100": 4})
    ]
    assert limits.max_submit("lab", "main") == 50
    assert limits.jobs_queued == 6  # four wait in the array, one runs, one plain job waits; one is over
    assert limits.accounting_error is None
    assert "user=ann" in shims.calls("sacctmgr")[0]


def test_limits_are_probed_without_accounting(shims: Shims) -> None:
    """A site without slurmdbd, or with one that is down, still has its array and time limits."""
    shims.add("scontrol", CONFIG)
    shims.add("sinfo", "main*|up|infinite|4|idle|(null)|64000\n".replace("|", SEP))
    shims.add("squeue")
    limits = Slurm(env=shims.env).limits("ann")
    assert "keeps no accounting" in (limits.accounting_error or "")
    shims.add("scontrol", WITH_DBD)
    shims.add("sacctmgr", stderr=NO_DBD, code=1)
    limits = Slurm(env=shims.env).limits("ann")
    assert (limits.max_array_size, limits.associations, limits.qos, limits.jobs_queued) == (1001, (), (), 0)
    assert "Connection refused" in (limits.accounting_error or "")


def test_a_configuration_without_a_limit_is_an_error(shims: Shims) -> None:
    """A limit is never guessed."""
    shims.add("scontrol", "ClusterName = c\n")
    shims.add("sinfo")
    with pytest.raises(SchedulerError, match="MaxArraySize is None, expected a number"):
        Slurm(env=shims.env).limits("ann")


def test_cancel_is_batched(shims: Shims) -> None:
    """Neighbouring elements become one expression in one scancel."""
    shims.add("scancel")
    Slurm(env=shims.env).cancel(["123_4", "123_5", "123_6", "124"])
    assert sorted(shims.calls("scancel")[0]) == ["123_[4-6]", "124"]
    assert len(shims.calls("scancel")) == 1


def test_cancel_stays_within_the_argument_length(shims: Shims) -> None:
    """Twenty thousand separate jobs take several scancel calls and none is lost."""
    shims.add("scancel")
    ids = [str(number) for number in range(10_000_000, 10_020_000)]
    Slurm(env=shims.env).cancel(ids)
    calls = shims.calls("scancel")
    assert len(calls) == 2
    assert max(sum(len(part) + 1 for part in call) for call in calls) <= 100_001
    assert sorted(chain.from_iterable(calls)) == ids


def test_cancelling_nothing_calls_nothing(shims: Shims) -> None:
    """No id, no scancel: without an argument it would be an error or worse."""
    shims.add("scancel")
    Slurm(env=shims.env).cancel([])
    assert shims.calls("scancel") == []


def test_cancelling_what_is_over_is_no_error(shims: Shims) -> None:
    """A job that ended meanwhile is what the caller wanted."""
    message = "scancel: error: Kill job error on job id 55469201_34: Invalid job id specified\n"
    shims.add("scancel", stderr=message, code=1)
    Slurm(env=shims.env).cancel(["55469201_34"])
    assert len(shims.calls("scancel")) == 1


@pytest.mark.parametrize(
    "stderr",
    [
        "scancel: error: Kill job error on job id 1: Access/permission denied\n",
        "scancel: error: Kill job error on job id 1: Invalid job id specified\nscancel: error: other\n",
        "",
    ],
)
def test_other_failures_of_scancel_are_errors(shims: Shims, stderr: str) -> None:
    """A refusal is told, also beside a job that is over."""
    shims.add("scancel", stderr=stderr, code=1)
    with pytest.raises(SchedulerError, match="scancel 1"):
        Slurm(env=shims.env).cancel(["1"])


def test_cancel_pending_names_only_elements_that_wait(shims: Shims) -> None:
    """Running elements go on, and no --state filter is used: with it 22.05 cancels the whole waiting array."""
    shims.add("squeue", ARRAY + PLAIN)
    shims.add("scancel")
    slurm = Slurm(env=shims.env)
    slurm.cancel_pending(["55469201_0", "55469201_1", "55469201_4", "55469201_5", "55469201_77"])
    slurm.cancel_pending(["55469201"])
    slurm.cancel_pending(["55469201_0"])
    assert shims.calls("scancel") == [["55469201_[4-5]"], ["55469201_[2,4-5,198]"]]


def test_cancel_name_is_bound_to_the_user(shims: Shims) -> None:
    """Another user's job of the same name is not ours, even for root."""
    shims.add("scancel")
    Slurm(env=shims.env).cancel_name("thr")
    (call,) = shims.calls("scancel")
    assert call[0] == "--name=thr"
    assert call[1].startswith("--user=")
    assert call[1] != "--user="


def test_the_end_time_is_the_elements_own(shims: Shims) -> None:
    """Asked by the parent's id, squeue lists the whole array; the element's own row counts."""
    rows = "55469197|55469197_2|1795469335\n55469211|55469197_1|1795469999\n55469202|55469202|N/A\n"
    shims.add("squeue", rows.replace("|", SEP))
    slurm = Slurm(env=shims.env)
    assert slurm.end_time("55469197") == 1795469335
    assert slurm.end_time("55469197_1") == 1795469999
    assert slurm.end_time("55469211") == 1795469999
    assert slurm.end_time("55469202") is None


def test_a_field_that_this_release_lacks_is_asked_for_no_more(shims: Shims) -> None:
    """One unknown field makes sacct refuse all: the known ones are looked up once, the others are blank."""
    body = """case "$*" in
*--helpformat*) echo 'JobID  JobIDRaw JobName State\nStart   End ElapsedRaw'; exit 0 ;;
*Flags*) echo 'sacct: error: Invalid field requested: "Flags"' >&2; exit 1 ;;
esac"""
    shims.add("sacct", "7_1~71~a name~COMPLETED~1000~1060~60\n".replace("~", SEP), body=body)
    slurm = Slurm(env=shims.env)
    for _ in range(2):
        (row,) = slurm.history(["7"], 0) or []
        assert (row.job_id_raw, row.name, row.state, row.elapsed_s, row.end_s) == (
            "71",
            "a name",
            "COMPLETED",
            60,
            1060,
        )
        assert (row.alloc_tres, row.suspended_s, row.energy_joules) == ("", 0, None)
    assert len(shims.calls("sacct")) == 4
