"""Things made elsewhere: which ones a manifest names, where they are looked for, and what is said where one is not."""

from __future__ import annotations

import os
from pathlib import Path

import fake_plugins
import pytest
import tomli
import torch
from fake_plugins import MANIFEST

from condhpc import manifest, outside
from condhpc.errors import InputError, ProblemsError
from condhpc.outside import Form, Outside
from condhpc.profile import Profile

A, B, C, D, E, ZEROS = ("a" * 64, "b" * 64, "c" * 64, "d" * 64, "e" * 64, "0" * 64)
ALL = f"""
[teachers.loaded]
arch = "small"
weights = {{name = "one.pth", sha256 = "{A}"}}
[teachers.several]
arch = ["small", "wide"]
weights = [{{name = "x", sha256 = "{B}"}}, {{name = "y", sha256 = "{ZEROS}"}}]
[encoders.net]
library = "timm"
arch = "vit"
weights = "vit.pt"
sha256 = "{C}"
[generators.dit]
folder = "xl"
sha256 = "{D}"
pretrained_on = "photographs"
[generators.latent]
steps = 5
space = "latent"
vae = "v"
sha256 = "{ZEROS}"
pretrained_on = "x"
[external.made]
format = "folder"
sha256 = "{E}"
ipc = 1
"""


def item(form: Form, name: str, sha256: str = A) -> Outside:
    """A thing made elsewhere."""
    return Outside(form, name, sha256, "m.toml: block")


def test_all_that_a_manifest_names(monkeypatch: pytest.MonkeyPatch) -> None:
    """Weights of single roles and of members, encoders, both kinds of folders, sets; nothing that is trained here."""
    fake_plugins.install(monkeypatch)
    text = MANIFEST.replace("ipc = [1, 10]", "ipc = [1]").replace('"dice",', '"dice", "made",') + ALL
    assert outside.used(manifest.parse(text, tomli.loads(text), "m.toml")) == (
        ("file", "one.pth", A, "m.toml: teachers.loaded.weights"),
        ("file", "x", B, "m.toml: teachers.several.weights[0]"),
        ("file", "y", ZEROS, "m.toml: teachers.several.weights[1]"),
        ("file", "vit.pt", C, "m.toml: encoders.net"),
        ("folder", "xl", D, "m.toml: generators.dit"),
        ("folder", "v", ZEROS, "m.toml: generators.latent"),
        ("set", "made", E, "m.toml: external.made"),
    )


def test_what_is_missing_is_told_at_once(tmp_path: Path) -> None:
    """Files, folders and sets, each once, with the two places where a file may be."""
    (tmp_path / "file").touch()
    environ = {"TORCH_HOME": str(tmp_path / "torch")}
    weights = {"good": tmp_path / "file", "gone": tmp_path / "gone.pt", "flat": tmp_path / "file", "xl": tmp_path}
    sets = {"here": tmp_path, "lost": tmp_path / "lost"}
    profile = Profile(name="p", backend="local", weights=weights, sets=sets)
    here = [item("file", "good"), item("folder", "xl"), item("set", "here")]
    outside.require(here, profile, environ)
    missing = [
        item("file", "r18.pth"), item("file", "r18.pth", B), item("file", "gone"), item("folder", "flat"),
        item("folder", "none"), item("set", "lost"), item("set", "unnamed"),
    ]  # fmt: skip
    with pytest.raises(ProblemsError) as caught:
        outside.require([*here, *missing], profile, environ)
    assert isinstance(caught.value, InputError)
    assert caught.value.problems == (
        f"profile 'p': weights.flat = '{tmp_path}/file': no such folder on this machine",
        f"profile 'p': weights.gone = '{tmp_path}/gone.pt': no such file on this machine",
        f"profile 'p': sets.lost = '{tmp_path}/lost': not on this machine",
        "profile 'p': weights.none: missing, expected the path of this folder",
        (
            "profile 'p': weights.\"r18.pth\": missing, expected the path of this file, or a file of this name in "
            f"{tmp_path}/torch/hub/checkpoints"
        ),
        "profile 'p': sets.unnamed: missing, expected the path of this set",
    )


def test_a_digest_of_zeros_is_a_placeholder(tmp_path: Path) -> None:
    """It is told wherever it stands, also where the file is here."""
    profile = Profile(name="p", backend="local", weights={"xl": tmp_path})
    (problem,) = outside.problems([item("folder", "xl", ZEROS)], profile, {})
    assert problem.startswith(
        "m.toml: block.sha256: a placeholder of zeros, expected the digest of 'xl', which `condhpc"
    )


@pytest.mark.parametrize(
    "environ",
    [
        {},
        {"TORCH_HOME": "/shared/torch"},
        {"TORCH_HOME": "~/mine"},
        {"TORCH_HOME": "mine"},
        {"XDG_CACHE_HOME": "/scratch/cache"},
        {"XDG_CACHE_HOME": "~/cache"},
        {"XDG_CACHE_HOME": "/scratch/cache", "TORCH_HOME": "/shared/torch"},
    ],
)
def test_weights_that_torch_downloaded_are_found(
    environ: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A name that the profile lacks may be a file where torch.hub itself would have it; its path is absolute."""
    for name in ("TORCH_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {"HOME": str(tmp_path), **environ}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(Path, "is_file", lambda path: path.suffix == ".pth")
    found = outside.with_downloaded(["r18.pth"], Profile(name="p", backend="local"), dict(os.environ))
    assert found.weights == {"r18.pth": Path(torch.hub.get_dir()).absolute() / "checkpoints" / "r18.pth"}


def test_a_mapped_or_missing_file_is_not_replaced(tmp_path: Path) -> None:
    """The profile goes first, also where its file is gone; what torch does not have stays unnamed."""
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder / "named.pth").touch()
    profile = Profile(name="p", backend="local", weights={"named.pth": tmp_path / "other.pth"})
    assert outside.with_downloaded(["named.pth", "gone.pth"], profile, {"TORCH_HOME": str(tmp_path)}) == profile


def test_a_name_of_weights_is_no_path(tmp_path: Path) -> None:
    """Neither `..` nor an absolute path leads out of torch's folder."""
    folder = tmp_path / "hub" / "checkpoints"
    folder.mkdir(parents=True)
    (folder.parent / "out.pth").touch()
    names = ["../out.pth", str(folder.parent / "out.pth"), "..", ""]
    found = outside.with_downloaded(names, Profile(name="p", backend="local"), {"TORCH_HOME": str(tmp_path)})
    assert found.weights == {}
