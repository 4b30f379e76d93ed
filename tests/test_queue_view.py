"""The queue by element: which rows win, and what changed between two answers."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from made_runs import squeue_row

from condhpc.queue_view import Queue
from condhpc.slurm_text import parse_squeue

STATES = st.sampled_from([("PENDING", "Priority"), ("PENDING", "JobHeldUser"), ("RUNNING", "None"), ("FAILED", "None")])
ARRAYS = st.dictionaries(
    st.tuples(st.sampled_from(["7", "8"]), st.integers(0, 6)), STATES.map(lambda pair: pair), max_size=12
)


def queue_of(elements: dict[tuple[str, int], tuple[str, str]], *, grouped: bool) -> Queue:
    """The same elements as rows of their own, or as sets where they are alike."""
    rows = []
    if grouped:
        alike: dict[tuple[str, tuple[str, str]], list[int]] = {}
        for (job, index), state in elements.items():
            alike.setdefault((job, state), []).append(index)
        rows = [squeue_row(f"{job}_[{','.join(map(str, found))}]", *state) for (job, state), found in alike.items()]
    else:
        rows = [squeue_row(f"{job}_{index}", *state) for (job, index), state in elements.items()]
    return Queue(parse_squeue("".join(rows)))


@given(ARRAYS, ARRAYS)
def test_what_changed_is_what_differs_element_by_element(
    before: dict[tuple[str, int], tuple[str, str]], after: dict[tuple[str, int], tuple[str, str]]
) -> None:
    """However the rows are grouped: exactly the elements that came, went, or have another state or reason."""
    differ = {element for element in before.keys() | after.keys() if before.get(element) != after.get(element)}
    for grouped in (False, True):
        found = queue_of(after, grouped=grouped).changed_since(queue_of(before, grouped=not grouped))
        assert {(job, index) for job, indices in found.items() for index in indices or ()} == differ


@given(ARRAYS)
def test_sets_stand_as_their_elements_do(elements: dict[tuple[str, int], tuple[str, str]]) -> None:
    """One row for many elements says of each what a row of its own would."""
    one_by_one, sets = queue_of(elements, grouped=False), queue_of(elements, grouped=True)
    for job, index in elements:
        element = f"{job}_{index}"
        assert sets.standing(element) == one_by_one.standing(element)
    assert sets.standing("7_99") is None
    assert sets.row("9_0") is None


def test_an_element_that_waits_again_outranks_its_own_end() -> None:
    """A requeued element has a row of its end and one of its place in the queue."""
    rows = [squeue_row("7_1", "FAILED"), squeue_row("7_[1-3]", "PENDING", "BeginTime")]
    for text in ("".join(rows), "".join(reversed(rows))):
        assert Queue(parse_squeue(text)).standing("7_1") == "waiting"


def test_a_set_that_slurm_cut_off_may_have_changed_anywhere() -> None:
    """Where it is not said which elements a row is of, all of the array are looked at."""
    cut = parse_squeue(squeue_row("7_[1-3,5...]", "PENDING", "Priority"))
    held = parse_squeue(squeue_row("7_[1-3,5...]", "PENDING", "JobHeldUser"))
    assert Queue(cut).standing("7_99") == "waiting"
    assert Queue(cut).changed_since(Queue(cut)) == {}
    assert Queue(held).changed_since(Queue(cut)) == {"7": None}
