"""What is comparable: runs by seeds, with the same teachers and the same test images."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_papers import MadePaper, Written, said
from made_runs import MadeRun, made_study

from condhpc.paper import bits, blocks
from condhpc.paper.bits import BitsError
from condhpc.paper.blocks import Place
from condhpc.paper.bootstrap import paired
from condhpc.paper.spread import IMAGES
from condhpc.sets_table import Kinds


@pytest.fixture
def paper(tmp_path: Path) -> MadePaper:
    """A smaller paper that may be changed."""
    return MadePaper(tmp_path, without=frozenset({"kcenter", "sre2l", "minimax"}), student_seeds=(0, 1)).fill()


def test_blocks_hold_what_is_planned(written: Written) -> None:
    """One block per place and ipc, rows in the order of tables; holes have a row; references stand last."""
    found = list(blocks.blocks(written.study, Kinds(written.study)))
    assert [(one.place.protocol, one.ipc) for one in found] == [
        ("erm", None), ("erm", 1), ("erm", 10), ("single_teacher", 1), ("single_teacher", 10)
    ]  # fmt: skip
    assert list(found[1].cells) == ["random", "herding", "kcenter", "minimax", "rded", "sre2l"]
    assert [one.kind for one in found[1].cells.values()] == ["random", "coreset", "coreset", *["method"] * 3]
    hole = found[4].cells["kcenter"]
    assert (hole.planned, hole.keys, hole.statistics.n) == (3, (), 0)
    assert found[0].cells["full_schedule"].kind == "reference"


def test_bits_are_those_of_the_record(paper: MadePaper) -> None:
    """One value per test image, whose mean is the accuracy."""
    block = said(paper).judged[1].block
    arm = block.cells["rded"].arm
    assert arm.correct is not None
    assert {seeds: float(found.mean()) for seeds, found in arm.correct.items()} == pytest.approx(dict(arm.top1))


@pytest.mark.parametrize(
    ("values", "word"),
    [
        ({"correct_bits": "AAAA"}, "3 bytes"),
        ({"correct_bits": "!"}, "no readable"),
        ({"top1_pct": 12.5}, "12.5"),
        ({"test_count": 8}, "expected one bit for 8 images"),
    ],
)
def test_wrong_bits_are_refused(paper: MadePaper, values: dict[str, object], word: str) -> None:
    """What is missing, or is not of this accuracy, is no basis of an interval."""
    key = paper.evaluations["rded", 1, "erm", 0, 0]
    paper.rewrite(key, **values)
    with pytest.raises(BitsError, match=word):
        bits.read(paper.made.layout, key)


def test_without_bits_seeds_alone_are_compared(paper: MadePaper) -> None:
    """One record without bits takes the images out of its whole block: intervals of a table mean the same."""
    key = paper.evaluations["rded", 1, "erm", 0, 0]
    paper.rewrite(key, correct_bits="")
    assert bits.read(paper.made.layout, key) is None
    found = said(paper)
    by_ipc = {one.block.ipc: one for one in found.judged if one.block.place.protocol == "erm"}
    assert {IMAGES in one.over for one in by_ipc[1].over_random.values()} == {False}
    assert {IMAGES in one.over for one in by_ipc[10].over_random.values()} == {True}
    assert found.study.problems == []


def test_spoilt_bits_are_said(paper: MadePaper) -> None:
    """The block falls back to seeds, and one line names the record."""
    key = paper.evaluations["rded", 1, "erm", 0, 0]
    paper.rewrite(key, correct_bits="AAAA")
    found = said(paper)
    assert {IMAGES in one.over for one in found.judged[1].over_random.values()} == {False}
    (problem,) = found.study.problems
    assert problem.startswith("paper, digits, erm, convnet3: intervals are over seeds alone")
    assert key in problem


def test_other_teachers_are_not_compared(tmp_path: Path) -> None:
    """The same protocol's name with another teacher behind it is another judge; so is another training."""
    made = MadeRun(tmp_path)
    teachers = [made.teacher(seed=seed) for seed in (0, 1)]
    sets = [made.condense(name, seed=0) for name in ("random", "herding")]
    keys = [
        made.evaluate(of_set, seed, "single_teacher", {"single.0": teacher})
        for of_set, teacher in zip(sets, teachers, strict=True)
        for seed in (0, 1)
    ]
    made.write()
    for of_set in sets:
        made.record(of_set)
    for key in keys:
        made.record(key, {"top1_pct": 50.0, "test_count": 8, "steps": 5})
    study = made_study(made)
    (block,) = blocks.blocks(study, Kinds(study))
    assert block.place == Place("digits", "single_teacher", "convnet3")
    assert paired(block.cells["herding"].arm, block.cells["random"].arm) == ([], 2)


def test_teachers_behind_cached_labels_count(tmp_path: Path) -> None:
    """Labels that were written once are those of their teachers: the same teachers stay comparable."""
    made = MadeRun(tmp_path)
    teacher = made.teacher()
    sets = [made.condense(name, seed=0) for name in ("random", "herding")]
    relabels = []
    for of_set in sets:
        key = made.evaluate(of_set, 9, "relabelled", {"single.0": teacher})
        made.lines[-1] = type(made.lines[-1])(
            key=key, stage="relabel", inputs={"set": of_set, "single.0": teacher}, label=made.lines[-1].label
        )
        relabels.append(key)
    keys = [
        made.evaluate(of_set, 0, "single_teacher", {"labels": labels})
        for of_set, labels in zip(sets, relabels, strict=True)
    ]
    made.write()
    for of_set in sets:
        made.record(of_set)
    for key in keys:
        made.record(key, {"top1_pct": 50.0, "test_count": 8, "steps": 5})
    study = made_study(made)
    (block,) = blocks.blocks(study, Kinds(study))
    found, unlike = paired(block.cells["herding"].arm, block.cells["random"].arm)
    assert (len(found), unlike) == (1, 0)
