"""Why tasks fail, by recorded words of Slurm, Python and CUDA; and what becomes of them."""

from __future__ import annotations

import pytest

from condhpc.retrying import (
    AUTOMATIC,
    BY_HAND,
    SENT_AT_MOST,
    Asked,
    Cause,
    Ceiling,
    Given,
    Seen,
    cause_of,
    cause_unstarted,
    decide,
)

GIVEN = Given(time_min=60, mem_gb=16.0, concurrent=4)
TRACEBACK = 'Traceback (most recent call last):\n  File "x.py", line 1, in run\n    a = make()\n'


@pytest.mark.parametrize(
    ("reason", "cause"),
    [
        (TRACEBACK + "MemoryError", "memory"),
        (TRACEBACK + "numpy._core._exceptions._ArrayMemoryError: Unable to allocate 8 GiB", "memory"),
        (TRACEBACK + "RuntimeError: [enforce fail at alloc_cpu.cpp:117] DefaultCPUAllocator: can't allocate memory: you"
         " tried to allocate 9 bytes", "memory"),
        ("killed by signal 9 (Killed): out of memory, or killed by hand", "memory"),
        (TRACEBACK + "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2.00 GiB. GPU 0 has a total\n"
         "See documentation for Memory Management", "gpu_memory"),
        (TRACEBACK + "torch.cuda.OutOfMemoryError: CUDA out of memory. Tried to allocate 20 MiB", "gpu_memory"),
        (TRACEBACK + "RuntimeError: CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling cublasCreate", "gpu_memory"),
        (TRACEBACK + "RuntimeError: CUDA error: uncorrectable ECC error encountered", "infra"),
        (TRACEBACK + "OSError: [Errno 116] Stale file handle: '/data/x'", "infra"),
        (TRACEBACK + "ValueError: shapes do not fit", "code"),
        ("killed by signal 11 (Segmentation fault): a crash in native code", "code"),
        ("StageError: loss is not finite", "code"),
    ],
)  # fmt: skip
def test_a_failure_is_told_by_its_last_words(reason: str, cause: Cause) -> None:
    """The type of the error, wherever in the traceback it stands."""
    assert cause_of([Seen("failed", reason)]) == cause


def test_a_line_of_code_that_names_an_error_is_not_that_error() -> None:
    """Tracebacks quote source lines."""
    quoted = 'Traceback (most recent call last):\n  File "x.py", line 1\n    raise MemoryError if a else b\nKeyError: 7'
    assert cause_of([Seen("failed", quoted)]) == "code"


@pytest.mark.parametrize(
    ("state", "cause"),
    [("TIMEOUT", "time"), ("DEADLINE", "time"), ("OUT_OF_MEMORY", "memory"), ("NODE_FAIL", "infra"),
     ("BOOT_FAIL", "infra"), ("PREEMPTED", "infra"), ("LAUNCH_FAILED", "infra"), ("", "infra"), ("FAILED", "infra"),
     ("CANCELLED by 1000", None)],
)  # fmt: skip
def test_a_diary_without_an_end_is_told_by_slurm(state: str, cause: Cause | None) -> None:
    """Without Slurm's word it is lost; what a user cancelled went as it should."""
    assert cause_of([Seen(None, state=state)]) == cause


def test_stopping_near_the_limit_is_no_failure_unless_it_stands_still() -> None:
    """A whole limit without a step further needs more time; a stop for another reason says nothing."""
    first, further, still = (Seen("stopped", step=step, at_limit=True) for step in (10, 20, 10))
    assert cause_of([first]) is None
    assert cause_of([first, further]) is None
    assert cause_of([first, still]) == "time"
    assert cause_of([first._replace(at_limit=False), still]) is None
    assert cause_of([first, still._replace(state="CANCELLED by 0")]) is None


@pytest.mark.parametrize("outcome", ["recorded", "blocked", "superseded"])
def test_what_did_not_fail_has_no_cause(outcome: str) -> None:
    """Blocked tasks go with their inputs."""
    assert cause_of([Seen(outcome)]) is None  # type: ignore[arg-type]
    assert cause_of([]) is None


def test_tasks_that_never_began() -> None:
    """A pack's siblings may have used the time; an element that failed at once has a set-up that does not work."""
    assert cause_unstarted("TIMEOUT", pack=8) is None
    assert cause_unstarted("TIMEOUT", pack=1) == "time"
    assert cause_unstarted("OUT_OF_MEMORY", pack=8) == "memory"
    assert cause_unstarted("FAILED", pack=1) == "code"
    assert cause_unstarted("NODE_FAIL", pack=1) == "infra"
    assert cause_unstarted("", pack=1) == "infra"
    assert cause_unstarted("CANCELLED by 7", pack=1) is None


def test_by_itself_infrastructure_goes_unchanged_and_limits_get_more() -> None:
    """Code waits for a person, who is told how to go on."""
    assert decide("infra", 1, GIVEN, Ceiling(), AUTOMATIC)[:2] == (True, None)
    time = decide("time", 1, GIVEN, Ceiling(), AUTOMATIC)
    memory = decide("memory", 1, GIVEN, Ceiling(), AUTOMATIC)
    gpu = decide("gpu_memory", 1, GIVEN, Ceiling(), AUTOMATIC)
    assert time.more is not None
    assert (time.more.time_min, time.more.mem_gb) == (90, None)
    assert memory.more is not None
    assert (memory.more.time_min, memory.more.mem_gb) == (None, 24.0)
    assert memory.why == "out of memory: again with 24 GB, had 16 GB"
    assert gpu.more is not None
    assert gpu.more.concurrent == 1
    code = decide("code", 1, GIVEN, Ceiling(), AUTOMATIC)
    assert not code.send
    assert "condhpc retry --class code" in code.why


def test_the_partition_is_the_ceiling() -> None:
    """The last step is to all it has; from there a person has to decide."""
    ceiling = Ceiling(time_min=70, mem_gb=20.0)
    for cause, most in (("time", 70), ("memory", 20.0)):
        found = decide(cause, 1, GIVEN, ceiling, AUTOMATIC)  # type: ignore[arg-type]
        assert found.more is not None
        assert most in {found.more.time_min, found.more.mem_gb}
    full = Given(time_min=70, mem_gb=20.0, concurrent=1)
    for cause in ("time", "memory", "gpu_memory"):
        assert not decide(cause, 1, full, ceiling, AUTOMATIC).send  # type: ignore[arg-type]
        assert decide(cause, 1, full, ceiling, BY_HAND)[:2] == (True, None)  # type: ignore[arg-type]


def test_what_it_had_must_be_known() -> None:
    """Half as much again of nobody knows what is nothing."""
    unknown = Given(None, None, 1)
    for cause, option in (("time", "--time-min"), ("memory", "--mem-gb")):
        found = decide(cause, 1, unknown, Ceiling(), AUTOMATIC)  # type: ignore[arg-type]
        assert not found.send
        assert option in found.why


def test_by_itself_it_ends_somewhere() -> None:
    """After some tries only a person goes on."""
    assert decide("infra", SENT_AT_MOST - 1, GIVEN, Ceiling(), AUTOMATIC).send
    assert not decide("infra", SENT_AT_MOST, GIVEN, Ceiling(), AUTOMATIC).send
    assert decide("infra", 99, GIVEN, Ceiling(), BY_HAND).send


def test_a_person_says_how_much() -> None:
    """Factors go to what was short, numbers to all that is tried again; a class leaves the others out."""
    factors = Asked(classes=frozenset({"limit"}), by_hand=True, time_factor=3.0, mem_factor=2.0)
    time, memory = (decide(cause, 1, GIVEN, Ceiling(), factors).more for cause in ("time", "memory"))  # type: ignore[arg-type]
    assert time is not None
    assert memory is not None
    assert (time.time_min, memory.mem_gb) == (180, 32.0)
    assert not decide("infra", 1, GIVEN, Ceiling(), factors).send
    numbers = Asked(classes=frozenset({"code"}), by_hand=True, time_min=5, mem_gb=64.0)
    more = decide("code", 1, GIVEN, Ceiling(), numbers).more
    assert more is not None
    assert (more.time_min, more.mem_gb) == (5, 64.0)
