"""`condhpc data`, through click's runner."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest
from click.testing import CliRunner, Result
from made_image_files import image_folder, imagenette2, settle

from condhpc import cli, registry

MANIFEST = """
name = "mine"

[[grid]]
datasets = ["mine"]
condensers = ["random"]
ipc = [1]
protocols = ["erm"]

[datasets.mine]
loader = "image_folder"
resolution = 16
mean = [0.5, 0.5, 0.5]
std = [0.2, 0.2, 0.2]
mirror = true
crop_scale_min = 0.5
epochs = 1
classes = ["b"]
"""


pytestmark = pytest.mark.usefixtures("no_own_profile")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """ImageNette's archive, settled."""
    return settle(imagenette2(tmp_path / "imagenette2"))


def call(*arguments: str) -> Result:
    """A command of the group under `root` in the current folder."""
    return CliRunner().invoke(cli.main, ["--root", "root", "data", *arguments])


def test_index_is_kept_and_told(folder: Path, tmp_path: Path) -> None:
    """Digest and counts on stdout; the file under the root is that index."""
    done = call("index", "imagenette", "--folder", str(folder))
    digest = registry.load("datasets", "imagenette").index(folder).digest()
    assert done.exit_code == 0
    assert done.stdout.splitlines() == [
        f"imagenette: index {digest}, 10 classes",
        "  train: 30 images, 0.00 GB",
        "  val: 20 images, 0.00 GB",
    ]
    assert (tmp_path / "root" / "indexes" / f"{digest}.json").is_file()


def test_index_of_a_folder_that_just_changed(folder: Path) -> None:
    """It is told that the index was not kept, and what to do."""
    (folder / "train" / "n01440764" / "n01440764_77.JPEG").write_bytes(b"x")
    done = call("index", "imagenette", "--folder", str(folder))
    assert done.exit_code == 0
    assert "train: 31 images" in done.stdout
    assert "not kept" in done.stderr


def test_contamination_is_told(folder: Path) -> None:
    """The archive's own split warns wherever it is used."""
    done = call("check", "imagenette_fastai", "--folder", str(folder))
    assert "warning: dataset 'imagenette_fastai': 10 of 20 images in 'val' are ImageNet-1K training" in done.stderr


def test_pack_then_check(folder: Path, tmp_path: Path) -> None:
    """A pack takes the folder's place under the same index, and checks as the folder does."""
    out = str(tmp_path / "images.h5")
    packed = call("pack", "imagenette", "--folder", str(folder), "--out", out, "--jobs", "2")
    assert (packed.exit_code, packed.stdout) == (0, "")
    loose, inside = (call("index", "imagenette", "--folder", home) for home in (str(folder), out))
    assert inside.stdout == loose.stdout
    checked = call("check", "imagenette", "--folder", out)
    assert (checked.exit_code, checked.stdout) == (0, "")
    assert "50 images checked, 0 of them cannot be used" in checked.stderr
    again = call("pack", "imagenette", "--folder", str(folder), "--out", out)
    assert again.exit_code == 2
    assert "exists already" in again.stderr


def test_check_names_what_is_damaged_or_missing(folder: Path) -> None:
    """Against the index that was kept; one line each on stdout, exit code 1."""
    assert call("index", "imagenette", "--folder", str(folder)).exit_code == 0
    bad = folder / "val" / "n02102040" / "ILSVRC2012_val_00000051.JPEG"
    bad.write_bytes(b"?" * bad.stat().st_size)
    gone = folder / "val" / "n01440764" / "n01440764_100.JPEG"
    gone.unlink()
    done = call("check", "imagenette", "--folder", str(folder))
    assert done.exit_code == 1
    assert [line.partition(": ")[0] for line in done.stdout.splitlines()] == [str(gone), str(bad)]
    assert "50 images checked, 2 of them cannot be used" in done.stderr
    assert "note: class n01440764: 3 training images here, 1,300 in the original" in done.stderr


def test_a_dataset_of_a_manifest(tmp_path: Path) -> None:
    """A block describes it, with its class list; the folder may come from the profile."""
    image_folder(tmp_path / "images")
    (tmp_path / "m.toml").write_text(MANIFEST)
    (tmp_path / "p.toml").write_text('backend = "local"\n[data]\nmine = "images"\n')
    arguments = ["--root", "root", "--profile", "p.toml", "data", "check", "mine", "--manifest", "m.toml"]
    done = CliRunner().invoke(cli.main, arguments)
    assert done.exit_code == 0
    assert "6 images checked" in done.stderr
    assert call("check", "other", "--manifest", "m.toml", "--folder", "images").exit_code == 2


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("imagenete",), "did you mean 'imagenette'?"),
        (("imagenette",), "or give --folder"),
        (("imagenette", "--folder", "nowhere"), "nowhere is not on this machine"),
        (("image_folder", "--folder", "."), "describe your folder in a [datasets.<name>] block"),
    ],
)
def test_what_cannot_be_found_is_said(arguments: tuple[str, ...], message: str) -> None:
    """With exit code 2 and what to do."""
    for command in ("index", "check"):
        done = call(command, *arguments)
        assert done.exit_code == 2
        assert message in done.stderr


def test_digest_is_printed_for_manifests(tmp_path: Path) -> None:
    """SHA-256 of a file alone on stdout; a path that is not there is exit code 2 with its name."""
    (tmp_path / "set.h5").write_bytes(b"1")
    done = call("digest", "set.h5")
    assert (done.exit_code, done.stdout) == (0, f"{hashlib.sha256(b'1').hexdigest()}\n")
    gone = call("digest", "gone.h5")
    assert gone.exit_code == 2
    assert "gone.h5: cannot be read (No such file or directory); expected a file or a folder" in gone.stderr
