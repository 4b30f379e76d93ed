"""All coresets and all measures as the shipped manifest runs them, every task for real, in this process.

Only its networks are trained for a shorter time.
"""

from __future__ import annotations

from pathlib import Path

from made_stages import Lab

from condhpc import facts, manifest, plan, registry
from condhpc.profile import Profile

MANIFEST = Path(__file__).parents[2] / "manifests" / "coresets.toml"
SHORTER = (
    ("\nepochs = 10 ", "\nepochs = 6 "),  # of the students
    ("\nepochs = 5\n", "\nepochs = 3\n"),  # of the teacher
    ("\nepochs = 2\n", "\nepochs = 1\n"),  # of the judge
)


def test_the_manifest_compares_all_coresets(tmp_path: Path, outside_slurm: None) -> None:
    """Every strategy builds a set that teaches more than chance and is measured; the cut-off of one is tuned."""
    text = MANIFEST.read_text()
    for published, shorter in SHORTER:
        assert text.count(published) == 1
        text = text.replace(published, shorter)
    path = tmp_path / MANIFEST.name
    path.write_text(text)
    loaded = manifest.load(path)
    found = plan.expand(loaded, facts.gather(loaded, Profile(name="here", backend="local")))
    assert {cell.condenser for cell in found.cells} == set(registry.names("coresets"))
    assert {metric for cell in found.cells for _, metric, _ in cell.analyses} == set(registry.names("metrics"))
    lab = Lab(tmp_path / "root")
    values = {planned.key: lab.record(planned.task).values for planned in found.tasks}
    for cell in found.cells:
        assert min(values[key]["top1_pct"] for *_, key in cell.evaluations) > 15.0, cell.condenser
        assert {metric: values[key]["reason"] for _, metric, key in cell.analyses if values[key]["value"] is None} == {}
    [tuned] = [values[key]["tuned"] for cell in found.cells if cell.condenser == "ccs" for _, key in cell.sets]
    assert tuned["cutoff"] in loaded.params["ccs"].cutoffs
