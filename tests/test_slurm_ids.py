"""Job id texts: every notation that Slurm's tools print."""

from __future__ import annotations

import pytest

from condhpc.errors import SchedulerError
from condhpc.slurm_ids import JobIds, compress_ids, parse_job_ids, parse_sbatch_reply

HUGE = "134217729"  # a federated id: the cluster number sits in the high bits

NOTATIONS = [
    ("123", JobIds("123")),
    (" 123\n", JobIds("123")),
    ("123_4", JobIds("123", (4,))),
    ("123_[4]", JobIds("123", (4,))),
    ("123_[4-9]", JobIds("123", (4, 5, 6, 7, 8, 9))),
    ("123_[4-9%2]", JobIds("123", (4, 5, 6, 7, 8, 9), throttle=2)),
    ("123_[2-198:2%1]", JobIds("123", tuple(range(2, 199, 2)), throttle=1)),
    ("123_[1,5,9-12:3%4]", JobIds("123", (1, 5, 9, 12), throttle=4)),
    ("123_[9,5,5,1]", JobIds("123", (1, 5, 9))),
    ("123.batch", JobIds("123")),
    ("123_4.extern", JobIds("123", (4,))),
    ("123_4.0", JobIds("123", (4,))),
    ("385+0", JobIds("385", het_offset=0)),
    ("385+1", JobIds("385", het_offset=1)),
    ("385+1.0", JobIds("385", het_offset=1)),
    (HUGE, JobIds(HUGE)),
    (f"{HUGE};east", JobIds(HUGE, cluster="east")),
    (f"{HUGE}_7", JobIds(HUGE, (7,))),
]


@pytest.mark.parametrize(("text", "expected"), NOTATIONS)
def test_every_whole_notation_is_read(text: str, expected: JobIds) -> None:
    """Plain, element, set, range, step, throttle, step suffix, heterogeneous and federated ids."""
    assert parse_job_ids(text) == expected


TRUNCATED = [
    # sacct without SLURM_BITSTR_LEN=0 (recorded on 22.05.8): cut after a comma, then inside a number
    (
        "55469201_[2,4,8,16,18,20,22,24,26,28,30,32,34,36,38,40,42,44,46,48,50,...%1]",
        (2, 4, 8, *range(16, 51, 2)),
        1,
    ),
    ("123_[9,22,19...%1]", (9, 22), 1),
    ("123_[9,22-31,19...]", (9, *range(22, 32)), None),
    # squeue cuts at about 30 columns and never closes the bracket (recorded; `|` was the separator)
    ("55469201_[2,4,8,16,18,20,22,24,|", (2, 4, 8, 16, 18, 20, 22, 24), None),
    ("262_[9,22,96,", (9, 22, 96), None),
    ("262_[9,22,9", (9, 22), None),
    ("262_[9,22,90-9", (9, 22), None),
    ("262_[0-9%1", (), None),
    ("262_[", (), None),
    # never guessed: a set or an id that goes on in an unknown way
    ("123_[1,2,x,4]", (1, 2), None),
    ("123_[5-2]", (), None),
    ("123_[0-9:0]", (), None),
    ("123_[0-99999999999]", (), None),
    ("571_*", (), None),
    ("123@new", (), None),
]


@pytest.mark.parametrize(("text", "indices", "throttle"), TRUNCATED)
def test_a_cut_set_has_an_unknown_tail(text: str, indices: tuple[int, ...], throttle: int | None) -> None:
    """What surely was there is kept, the number next to the cut is not guessed, and the cut is told."""
    ids = parse_job_ids(text)
    assert ids.indices == indices
    assert ids.throttle == throttle
    assert ids.unknown_tail


@pytest.mark.parametrize("text", ["", "slurm_load_jobs error: x", "_4", "batch"])
def test_a_text_without_a_number_is_refused(text: str) -> None:
    """A text that names no job says what was found and what was expected."""
    with pytest.raises(SchedulerError, match="expected a number first"):
        parse_job_ids(text)


def test_elements_are_named_one_by_one() -> None:
    """An array set lists its elements, a plain job itself."""
    assert parse_job_ids("20_[1-3%1]").elements() == ("20_1", "20_2", "20_3")
    assert parse_job_ids("20").elements() == ("20",)


def test_ids_are_compressed_exactly() -> None:
    """Runs become ranges, plain jobs stay, and a whole array swallows its elements."""
    ids = ["20_4", "20_6", "20_5", "21", "20_9", "22_0", "23", "23_5"]
    assert sorted(compress_ids(ids)) == ["20_[4-6,9]", "21", "22_[0]", "23"]
    assert compress_ids([]) == []


def test_compressed_texts_stay_short_and_lose_nothing() -> None:
    """Many separate indices become several texts whose union is what was asked."""
    ids = {f"7_{index}" for index in range(0, 3001, 3)}
    texts = compress_ids(ids, ranges_per_text=100)
    assert len(texts) == 11
    assert {element for text in texts for element in parse_job_ids(text).elements()} == ids


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        ("123\n", JobIds("123")),
        ("123;cluster\n", JobIds("123", cluster="cluster")),
        ("Submitted batch job 123\n", JobIds("123")),
        ("Submitted batch job 123 on cluster east\n", JobIds("123", cluster="east")),
        ("Note: 42 GPU-hours left\n55469201\n\n", JobIds("55469201")),
    ],
)
def test_the_reply_of_sbatch_is_read(reply: str, expected: JobIds) -> None:
    """Parsable and plain replies, also behind a site's notices."""
    assert parse_sbatch_reply(reply) == expected


@pytest.mark.parametrize("reply", ["", "Note: 42 GPU-hours left", "12a"])
def test_a_reply_without_an_id_warns_of_a_duplicate(reply: str) -> None:
    """No id may still mean an accepted array: the error says to look for its name first."""
    with pytest.raises(SchedulerError, match="look for its job name"):
        parse_sbatch_reply(reply)
