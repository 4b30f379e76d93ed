"""Lists of real images: every line is one image of the training split, or a problem with its number."""

from __future__ import annotations

from pathlib import Path

import pytest

from condhpc import image_list

PATHS = {
    "train": ("train/cat/1.jpg", "train/cat/2.jpg", "train/dog/1.jpg", "other/dog/1.jpg", "train/dog/only.jpg"),
    "test": ("test/cat/1.jpg", "test/dog/9.jpg"),
}


def read(path: Path, content: str | bytes) -> tuple[list[int], list[str]]:
    """Positions and problems of a list."""
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    problems: list[str] = []
    return image_list.positions(path, PATHS, "train", problems), problems


def test_positions_and_paths(tmp_path: Path) -> None:
    """Positions, whole paths, paths without the split's folder; comments, blank lines, a byte-order mark, CRLF."""
    text = "\ufeff# chosen\r\n4\r\n\r\ntrain/cat/1.jpg  # the first\r\ncat/2.jpg\r\n"
    assert read(tmp_path / "a", text) == ([4, 0, 1], [])


@pytest.mark.parametrize(
    ("entry", "message"),
    [
        ("5", "expected a position in 0..4"),
        ("-1", "expected a position in 0..4"),
        ("cat/3.jpg", "no such image in the dataset"),
        ("test/dog/9.jpg", "an image of the split 'test', expected one of 'train'"),
        ("dog/9.jpg", "an image of the split 'test', expected one of 'train'"),
        ("cat/1.jpg", "stands for several images of the dataset; write the path"),
        ("dog/1.jpg", "stands for several images of the dataset; write the path"),
        ("--5", "no such image in the dataset"),
        ("²", "no such image in the dataset"),
        ("9" * 5000, "no such image in the dataset"),
    ],
)
def test_a_line_that_names_no_training_image(entry: str, message: str, tmp_path: Path) -> None:
    """Its number, what stands in it, and why; a short path that fits two splits is not guessed."""
    found, problems = read(tmp_path / "a", f"4\n{entry}\n")
    assert found == [4]
    assert len(problems) == 1
    assert problems[0].startswith(f"line 2: '{entry[:80]}")
    assert message in problems[0]
    assert len(problems[0]) < 250


def test_an_image_counts_once(tmp_path: Path) -> None:
    """However it is named."""
    found, problems = read(tmp_path / "a", "0\n1\ntrain/cat/1.jpg\n")
    assert (found, problems) == ([0, 1], ["line 3: 'train/cat/1.jpg': the same image as in line 1"])


def test_all_lines_are_counted_and_twenty_shown(tmp_path: Path) -> None:
    """A list of another dataset does not fill the screen."""
    _, problems = read(tmp_path / "a", "nobody.jpg\n" * 100)
    assert len(problems) == 21
    assert problems[-1] == "and 80 more lines"


def test_what_is_no_text_is_told_with_its_line(tmp_path: Path) -> None:
    """Another encoding, or no file at all."""
    assert read(tmp_path / "list", b"1\n2\ncaf\xe9.jpg\n") == ([], ["list: line 3: byte 0xe9 is not UTF-8"])
    problems: list[str] = []
    assert image_list.positions(tmp_path / "gone", PATHS, "train", problems) == []
    assert problems == ["gone cannot be read (No such file or directory), expected a text file with an image a line"]


@pytest.mark.parametrize(
    "name",
    [
        "train/cat/1.jpg",
        "train/b c/ä ü.jpg",
        "train/cat/no#1.jpg",
        "train/cat/no #1.jpg",
        "train/cat/1\u2028.jpg",
        " 1",
        "7",
    ],
)
def test_what_is_written_can_be_read(tmp_path: Path, name: str) -> None:
    """Whatever an image is called, its line leads back to it: by position where a list cannot hold its path."""
    paths = {"train": ("train/cat/0.jpg", name), "test": ()}
    lines = [image_list.line_for(i, path, f"sha256:{i:064}") for i, path in enumerate(paths["train"])]
    (tmp_path / "list").write_text("\n".join(("# two # images", *reversed(lines))), encoding="utf-8")
    problems: list[str] = []
    assert image_list.positions(tmp_path / "list", paths, "train", problems) == [1, 0]
    assert problems == []
    assert lines[0] == f"train/cat/0.jpg  # sha256:{0:064}"
    assert lines[1].startswith(name if name[0] == "t" and " #" not in name and name.isprintable() else "1  # sha256:")


def test_an_image_without_a_file_is_a_position() -> None:
    """The path of an index entry that is no file of its own leads nowhere."""
    assert image_list.line_for(4, "digits.csv.gz#9", "pixels-sha256:ab") == "4  # pixels-sha256:ab"
