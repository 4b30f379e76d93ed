"""What is read and planned before anything is sent."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_image_files import imagenette2, settle
from made_submits import MANIFEST, FakePool, manifest_here, profile_here, send

from condhpc import packing, preparing, registry
from condhpc.layout import Layout


def test_a_folder_is_listed_once(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`plan` keeps nothing, `submit` keeps the index, and what comes after lists nothing."""
    manifest = manifest_here(monkeypatch, tmp_path)
    manifest.write_text(MANIFEST.format(dataset="imagenette", set_seeds=[0], student_seeds=[0]))
    folder = settle(imagenette2(tmp_path / "images"))
    held = profile_here(root, data={"imagenette": folder})
    listed: list[str] = []
    plugin = registry.load("datasets", "imagenette")
    monkeypatch.setattr(plugin, "index", lambda *args: listed.append("x") or type(plugin).index(plugin, *args))
    planned = preparing.prepare(manifest, held)
    assert not list(root.rglob("*.json"))
    send(manifest, held, FakePool, monkeypatch)
    assert len(listed) == 2
    send(manifest, held, FakePool, monkeypatch)
    again = preparing.prepare(manifest, held)
    assert len(listed) == 2
    assert {p.key for p in again.plan.tasks} == {p.key for p in planned.plan.tasks}
    assert Layout(root).index(planned.facts["imagenette"].digest).is_file()


def test_a_pack_plans_the_same_tasks(root: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file in the place of the folder is how, not what: every key stays."""
    manifest = manifest_here(monkeypatch, tmp_path)
    manifest.write_text(MANIFEST.format(dataset="imagenette_fastai", set_seeds=[0], student_seeds=[0]))
    folder = imagenette2(tmp_path / "images")
    plugin = registry.load("datasets", "imagenette_fastai")
    index = plugin.index(folder)
    splits = {name: plugin.split(index, folder, name, 16) for name in index.splits}
    packing.pack(index, splits, tmp_path / "images.h5", 1, lambda _done: None)
    loose, packed = (
        preparing.prepare(manifest, profile_here(root, data={"imagenette_fastai": home}))
        for home in (folder, tmp_path / "images.h5")
    )
    assert [p.key for p in loose.plan.tasks] == [p.key for p in packed.plan.tasks]
    assert any("10 of 20 images in 'val' are ImageNet-1K training images" in w for w in packed.overview.warnings)
