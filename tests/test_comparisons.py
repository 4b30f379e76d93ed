"""Scores across the cells of a run, against numbers worked out by hand."""

from __future__ import annotations

import math

import msgspec
import pytest
from scipy import stats

from condhpc import registry
from condhpc.cell_statistics import Evaluation
from condhpc.comparisons import CellId, CellResult, Comparison, Scores, normalised, without_augmentation
from condhpc.errors import UnknownNameError
from condhpc.spec import Protocol


def known(name: str) -> Protocol | None:
    """A protocol of this version."""
    try:
        found: Protocol = registry.load("protocols", name)
    except UnknownNameError:
        return None
    return found


def cell(condenser: str, protocol: str = "erm", ipc: int | None = 10, student: str = "convnet3") -> CellId:
    """A cell of the digits."""
    return CellId("digits", condenser, ipc, protocol, student)


def result(*means: float, planned: int = 0) -> CellResult:
    """A cell with one student per set."""
    return CellResult(planned or len(means), [Evaluation(seed, value) for seed, value in enumerate(means)])


def scores_of(cells: dict[CellId, CellResult], which: CellId) -> Scores:
    """The row of one cell."""
    return dict(Comparison(cells, known).rows())[which]


HARD = {
    cell("random"): result(60.0),
    cell("herding"): result(70.0),
    cell("full_schedule", ipc=None): result(90.0),
}
SOFT = {
    cell("random", "single_teacher"): result(80.0),
    cell("herding", "single_teacher"): result(84.0),
    cell("full_schedule", "single_teacher", ipc=None): result(95.0),
}
RAW = {
    cell("random", "erm_raw"): result(50.0),
    cell("herding", "erm_raw"): result(80.0),
    cell("full_schedule", "erm_raw", ipc=None): result(85.0),
}


def test_scores_of_hard_labels_by_hand() -> None:
    """For hlr 0.9 − 0.7; ior 0.7 − 0.6; α = (0.1 − 0.2) / 2; ars of (0.1 + 0.3) / 2: fractions, no percentages."""
    found = scores_of(HARD | RAW, cell("herding"))
    assert (found.hlr, found.ior, found.gap_to_full) == (0.2, 0.1, 0.2)
    assert found.lrs == pytest.approx((math.exp(-0.05) - 0.36787944) / 2.35040239, abs=1e-8)
    assert found.lrs == pytest.approx(0.24819154, abs=1e-8)
    assert found.ars == pytest.approx((math.exp(0.2) - 0.36787944) / 2.35040239, abs=1e-8)
    assert (found.hard_protocol, found.raw_protocol, found.full_reference) == ("erm", "erm_raw", "full_schedule")
    assert (found.status, found.reason) == ("complete", "")


def test_a_soft_cell_recovers_hard_labels_by_its_partner() -> None:
    """The gain and the gap are the soft protocol's, the recovery is that of `erm`."""
    found = scores_of(HARD | SOFT, cell("herding", "single_teacher"))
    assert (found.hlr, found.ior, found.gap_to_full) == (0.2, 0.04, 0.11)
    assert found.lrs == pytest.approx(normalised(0.5 * 0.04 - 0.5 * 0.2), abs=1e-8)
    assert (found.hard_protocol, found.raw_protocol) == ("erm", "")
    assert found.reason == "ars: no protocol is planned that is single_teacher with augmentation off"


def test_normalised_ends_at_nought_and_one() -> None:
    """A gain of −1 is 0, of 1 is 1, of 0 what DD-Ranking has for random sets without recovery to make."""
    assert [normalised(x) for x in (-1.0, 1.0)] == [0.0, 1.0]
    assert normalised(0.0) == pytest.approx(0.26894142, abs=1e-8)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("erm", "erm_raw"),
        ("erm_plain", "erm_raw"),
        ("erm_raw", "erm_raw"),
        ("single_teacher", None),
        ("idc_hard", None),
        ("gone", None),
    ],
)
def test_the_protocol_without_augmentation(name: str, expected: str | None) -> None:
    """All else is equal; other labels, optimisers or lengths are no pair."""
    assert without_augmentation(name, registry.names("protocols"), known) == expected


def test_a_pair_is_found_by_what_it_does_and_not_by_its_name() -> None:
    """Somebody's own soft protocol without augmentation is the partner of the one that it was made from."""
    own = msgspec.structs.replace(
        registry.load("protocols", "single_teacher"), name="bare", cutmix_alpha=0.0, crop_scale_min=1.0, mirror=False
    )
    cells = HARD | SOFT | {cell("random", "bare"): result(70.0), cell("herding", "bare"): result(72.0)}
    rows = dict(Comparison(cells, lambda name: own if name == "bare" else known(name)).rows())
    found = rows[cell("herding", "single_teacher")]
    assert (found.raw_protocol, found.ars) == ("bare", pytest.approx(normalised((0.04 + 0.02) / 2), abs=1e-8))
    assert rows[cell("herding", "bare")].reason == (
        "gap_to_full: full_schedule bare is not planned; ars: bare does not augment"
    )


def test_reference_lines_have_no_row_and_random_gains_nothing_over_itself() -> None:
    """Random sets are the zero of the gain; an interval of that would mean nothing."""
    cells = {**HARD, cell("random"): result(58.0, 62.0)}
    rows = dict(Comparison(cells, known).rows())
    assert list(rows) == [cell("random"), cell("herding")]
    found = rows[cell("random")]
    assert (found.ior, found.ior_low, found.ior_over, found.hlr) == (0.0, None, "", 0.3)


def test_what_is_missing_is_named_with_the_scores_that_need_it() -> None:
    """A cell that nobody planned, and one without a record; neither becomes a number."""
    cells = {
        cell("random"): result(planned=2),
        cell("herding"): result(70.0),
        cell("full_same_steps"): result(80.0, planned=2),
        cell("herding", "single_teacher"): result(84.0),
    }
    hard, soft = (scores_of(cells, cell("herding", protocol)) for protocol in ("erm", "single_teacher"))
    assert (hard.status, hard.ior, hard.lrs, hard.hlr, hard.gap_to_full) == ("partial", None, None, 0.1, 0.1)
    assert hard.full_reference == "full_same_steps"
    assert hard.reason == (
        "ior lrs ars: random ipc 10 erm is not recorded; ars: no protocol is planned that is erm with augmentation off"
    )
    assert soft.reason.startswith(
        "ior lrs ars: random ipc 10 single_teacher is not planned; gap_to_full: full_same_steps ipc 10 single_teacher"
    )


def test_one_kind_of_reference_line_for_a_dataset_and_student() -> None:
    """A whole schedule counts where there is one, also before it is recorded: the kind never changes in a run."""
    cells = {**HARD, cell("full_schedule", ipc=None): result(planned=1), cell("full_same_steps"): result(80.0)}
    found = scores_of(cells, cell("herding"))
    assert (found.hlr, found.full_reference) == (None, "full_schedule")
    assert "hlr lrs gap_to_full: full_schedule erm is not recorded" in found.reason
    without = scores_of({c: r for c, r in HARD.items() if "full" not in c.condenser}, cell("herding"))
    assert (without.hlr, without.full_reference) == (None, "")
    assert "hlr lrs gap_to_full: neither full_schedule nor full_same_steps is planned" in without.reason


def test_a_row_without_any_score_is_missing() -> None:
    """Nothing recorded at all."""
    cells = {which: result(planned=1) for which in HARD}
    found = scores_of(cells, cell("herding"))
    assert (found.status, found.ior, found.hlr, found.gap_to_full) == ("missing", None, None, None)


def test_a_protocol_that_is_not_installed_has_the_scores_that_do_not_ask_for_it() -> None:
    """Its labels are unknown, so hard-label recovery is; gain and gap are there."""
    cells = {cell("random", "gone"): result(50.0), cell("herding", "gone"): result(60.0)}
    found = scores_of(cells | {cell("full_schedule", "gone", ipc=None): result(80.0)}, cell("herding", "gone"))
    assert (found.ior, found.gap_to_full, found.hlr, found.hard_protocol) == (0.1, 0.2, None, "")
    assert "hlr lrs: protocol gone is not installed here" in found.reason


@pytest.mark.parametrize(
    ("ours", "theirs", "over"),
    [
        ([(0, 70.0), (1, 74.0), (1, 76.0)], [(0, 60.0), (1, 61.0), (2, 65.0)], "set_seed"),
        ([(None, 70.0), (None, 72.0)], [(0, 60.0), (1, 61.0), (2, 65.0)], "student_seed"),
        ([(0, 70.0), (1, 74.0)], [(0, 60.0)], ""),
    ],
)
def test_the_interval_of_the_gain_is_welch_over_independent_values(
    ours: list[tuple[int | None, float]], theirs: list[tuple[int | None, float]], over: str
) -> None:
    """Over means of sets; over students where a side has one set; none where a side has one value."""
    results = [CellResult(len(side), [Evaluation(*seed_value) for seed_value in side]) for side in (ours, theirs)]
    found = scores_of(dict(zip((cell("herding"), cell("random")), results, strict=True)), cell("herding"))
    assert found.ior_over == over
    if not over:
        assert (found.ior_low, found.ior_high) == (None, None)
        return
    values = [70.0, 75.0] if over == "set_seed" else [70.0, 72.0]
    interval = stats.ttest_ind(values, [60.0, 61.0, 65.0], equal_var=False).confidence_interval(0.95)
    assert (found.ior_low, found.ior_high) == pytest.approx((interval.low / 100, interval.high / 100), abs=1e-8)
