"""Where things are under a root."""

from __future__ import annotations

from pathlib import Path

from condhpc.layout import Layout


def test_task_folders_fan_out_by_two_digits() -> None:
    """A task's folder is `store/<stage>/<k2>/<key>`, and its files carry the attempt."""
    folder = Layout(Path("/r")).task("condense", "ab" + "0" * 30)
    assert folder.path == Path("/r/store/condense/ab") / ("ab" + "0" * 30)
    assert (folder.task.name, folder.record.name) == ("task.json", "record.json")
    assert folder.lease(7).name == "lease.0007"
    assert folder.checkpoint(12).name == "checkpoint.0012"
    assert folder.artefact("images", 10_000, "h5").name == "images.10000.h5"


def test_runs_come_oldest_first_whatever_their_manifests_name(tmp_path: Path) -> None:
    """Order is by the time that ends the name; hidden folders and files are no runs."""
    layout = Layout(tmp_path)
    assert layout.run_names() == []
    for name in ("b-20260101T000000Z", "a-20270101T000000Z", "z-x-20250101T000000Z", ".made-20280101T000000Z"):
        layout.run(name).path.mkdir(parents=True)
    (layout.runs / "note-20290101T000000Z").touch()
    assert layout.run_names() == ["z-x-20250101T000000Z", "b-20260101T000000Z", "a-20270101T000000Z"]


def test_files_of_a_run_stay_in_its_folder() -> None:
    """Nothing of a run lies outside its folder, and no two things share a path."""
    run = Layout(Path("/r")).run("m-1")
    paths = [
        run.manifest,
        run.profile,
        run.plan,
        run.submissions,
        run.payloads,
        run.done,
        run.logs,
        run.cancel,
    ]
    assert {path.parent for path in paths} == {Path("/r/runs/m-1")}
    assert len(set(paths)) == len(paths)
    assert run.name == "m-1"


def test_index_is_named_by_its_digest() -> None:
    """Dataset indexes and the submit lock lie under the root itself."""
    layout = Layout(Path("/r"))
    assert layout.index("0f") == Path("/r/indexes/0f.json")
    assert layout.lock == Path("/r/submit.lock")
