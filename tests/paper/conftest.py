"""One made paper for all tests that only read."""

from __future__ import annotations

import pytest
from made_papers import MadePaper, Written
from made_runs import made_study

from condhpc.paper import family


@pytest.fixture(scope="session")
def written(tmp_path_factory: pytest.TempPathFactory) -> Written:
    """Everything that `collect` writes for a paper; not to be changed."""
    root = tmp_path_factory.mktemp("paper")
    paper = MadePaper(root / "root").fill()
    study = made_study(paper.made)
    return Written(paper, study, root / "out" / family.FOLDER, family.write(study, root / "out"))
