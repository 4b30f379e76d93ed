"""Pictures of condensed sets, and the command that draws them."""

from __future__ import annotations

import io
from pathlib import Path

import h5py
import numpy as np
import pytest
from click.testing import CliRunner, Result
from numpy.typing import NDArray
from PIL import Image

from condhpc import arrays, cli, contact_sheet
from condhpc.arrays import CondensedSet
from condhpc.contact_sheet import ClassRow
from condhpc.errors import CorruptArtefactError, InputError

pytestmark = pytest.mark.usefixtures("no_own_profile")

SIDE, IPC, NAMES = 8, 3, ("tench", "church", "golf ball")


@pytest.fixture
def held(tmp_path: Path) -> Path:
    """Three classes of three images, each of one colour: (class, place, 0)."""
    labels_N = np.repeat(np.arange(3), IPC)
    images = np.zeros((9, SIDE, SIDE, 3), dtype=np.uint8)
    images[..., 0] = 80 * labels_N[:, None, None]
    images[..., 1] = 80 * np.tile(np.arange(IPC), 3)[:, None, None]
    path = tmp_path / "set.h5"
    arrays.write_condensed_set(path, CondensedSet(images, labels_N, attributes={"class_names": list(NAMES)}))
    return path


def test_only_what_is_shown_is_read(held: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first images of the classes asked for, by name or label, in that order."""
    asked: list[list[int]] = []
    read = arrays.read_set_images

    def noted(path: Path, positions_n: NDArray[np.int64]) -> NDArray[np.uint8]:
        asked.append(positions_n.tolist())
        return read(path, positions_n)

    monkeypatch.setattr(arrays, "read_set_images", noted)
    found = contact_sheet.read(held, ["golf ball", "0"], 2, at_most=1)
    assert asked == [[6, 7], [0, 1]]
    assert [(row.name, row.images_NHWC[:, 0, 0].tolist()) for row in found.rows] == [
        ("golf ball", [[160, 0, 0], [160, 80, 0]]), ("tench", [[0, 0, 0], [0, 80, 0]]),
    ]  # fmt: skip
    assert found.classes == 3


def test_without_a_wish_the_first_classes_are_shown(held: Path) -> None:
    """And the number of all is told."""
    found = contact_sheet.read(held, [], 99, at_most=2)
    assert [(row.name, len(row.images_NHWC)) for row in found.rows] == [("tench", 3), ("church", 3)]
    assert found.classes == 3


def test_a_class_that_is_not_there_is_named_with_the_nearest(held: Path) -> None:
    """Of names; labels are numbers below the number of classes."""
    with pytest.raises(InputError, match=r"'golfball' is no class of this set; did you mean 'golf ball'.*3 of them"):
        contact_sheet.read(held, ["golfball"], 1, at_most=1)
    with pytest.raises(InputError, match="'3' is no class of this set"):
        contact_sheet.read(held, ["3"], 1, at_most=1)


def test_sets_without_names_are_shown_by_label(tmp_path: Path) -> None:
    """As files of others may have it."""
    path = tmp_path / "set.h5"
    labels_N = np.array([0, 0, 1, 1])
    arrays.write_condensed_set(path, CondensedSet(np.zeros((4, 2, 2, 3), dtype=np.uint8), labels_N))
    assert [row.name for row in contact_sheet.read(path, [], 1, at_most=5).rows] == ["0", "1"]


@pytest.mark.parametrize("spoil", ["kind", "images", "torn"])
def test_another_file_is_refused(held: Path, spoil: str) -> None:
    """One that is no set, has no images, or is no HDF5 any more."""
    if spoil == "torn":
        held.write_bytes(held.read_bytes()[:200])
    else:
        with h5py.File(held, "r+") as file:
            if spoil == "kind":
                file.attrs["kind"] = "embeddings"
            else:
                del file["images"]
    with pytest.raises(CorruptArtefactError, match=r"set\.h5"):
        contact_sheet.read(held, [], 1, at_most=5)


def _colours(sheet: Image.Image, row: int, column: int, cell: int, left: int) -> tuple[int, ...]:
    pixel = sheet.getpixel((left + column * cell + cell // 2, row * cell + cell // 2))
    assert isinstance(pixel, tuple)
    return pixel


def test_each_image_is_where_its_class_and_place_are(held: Path) -> None:
    """Enlarged to 64 px, without changing a colour; names of any script and length find room."""
    found = contact_sheet.read(held, [], 3, at_most=3)
    rows = [*found.rows[:2], ClassRow("größer " * 20, found.rows[2].images_NHWC[:1])]
    sheet = Image.open(io.BytesIO(contact_sheet.png(rows)))
    cell = 64 + 2
    left = sheet.width - 3 * cell
    assert sheet.size[1] == 3 * cell + 2
    assert left < 300
    for row in range(2):
        for column in range(3):
            assert _colours(sheet, row, column, cell, left) == (80 * row, 80 * column, 0)
    assert _colours(sheet, 2, 0, cell, left) == (160, 0, 0)
    assert _colours(sheet, 2, 1, cell, left) == (255, 255, 255)  # fewer images than in the others
    ink = np.asarray(sheet)[:, : left - 1].min(axis=(1, 2)).reshape(-1)
    assert all((ink[row * cell : (row + 1) * cell] < 128).any() for row in range(3))


def call(*arguments: str) -> Result:
    """The command under `root` in the current folder."""
    return CliRunner().invoke(cli.main, ["--root", "root", "preview", *arguments])


def height(path: Path) -> int:
    """Of a picture, pixels."""
    with Image.open(path) as sheet:
        return sheet.height


def test_the_command_writes_one_new_file(held: Path, tmp_path: Path) -> None:
    """Its name on stdout; what is there already is kept."""
    done = call(str(held), "--classes", "church, 2", "--per-class", "2", "--out", "sheet.png")
    assert (done.exit_code, done.stdout, done.stderr) == (0, "sheet.png\n", "")
    assert height(tmp_path / "sheet.png") == 2 * 66 + 2
    again = call(str(held), "--out", "sheet.png")
    assert again.exit_code == 2
    assert "sheet.png: is there already, expected a new file" in again.stderr
    assert call(str(held)).stdout == "set.png\n"
    nowhere = call(str(held), "--out", "no/where.png")
    assert nowhere.exit_code == 2
    assert "cannot be written" in nowhere.stderr


@pytest.mark.parametrize("name", ["a.jpg", "a", "a.png.gz"])
def test_only_a_png_is_written(held: Path, tmp_path: Path, name: str) -> None:
    """Nothing is written under a name that promises another format."""
    done = call(str(held), "--out", name)
    assert done.exit_code == 2
    assert f"{name}: the picture is a PNG, expected a name that ends in .png" in done.stderr
    assert not (tmp_path / name).exists()
    assert call(str(held), "--out", "a.PNG").exit_code == 0


def test_the_command_says_what_it_leaves_out(tmp_path: Path) -> None:
    """A thousand classes are a picture that no viewer opens."""
    labels_N = np.arange(25)
    path = tmp_path / "large.h5"
    arrays.write_condensed_set(path, CondensedSet(np.zeros((25, 2, 2, 3), dtype=np.uint8), labels_N))
    done = call(str(path))
    assert done.stderr == "the first 20 of 25 classes; --classes names others\n"
    assert height(tmp_path / "large.png") == 20 * 66 + 2


def test_a_set_that_is_not_there_is_an_error_of_input() -> None:
    """With what would be one."""
    done = call("nothing")
    assert done.exit_code == 2
    assert "nothing: no such set, expected a file, (the beginning of)" in done.stderr
