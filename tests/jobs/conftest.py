"""One store for the tests of all stages: teacher and embeddings are computed once."""

from __future__ import annotations

import threading

import pytest
from made_stages import Lab, embed, teacher

from condhpc.context import Context


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Lab:
    """The shared store."""
    return Lab(tmp_path_factory.mktemp("lab"))


@pytest.fixture(scope="session")
def teacher_key(lab: Lab) -> str:
    """A trained teacher."""
    return lab.key(teacher())


@pytest.fixture(scope="session")
def embedding_key(lab: Lab, teacher_key: str) -> str:
    """Embeddings of the training split by that teacher."""
    return lab.key(embed(teacher_key))


@pytest.fixture
def stop_at(monkeypatch: pytest.MonkeyPatch) -> threading.Event:
    """A stop request that comes when a stage ticks its third step."""
    stop = threading.Event()
    tick = Context.tick

    def ticking(self: Context, step: int, *rest: object, **values: object) -> None:
        if step == 3:
            stop.set()
        tick(self, step, *rest, **values)  # type: ignore[arg-type]

    monkeypatch.setattr(Context, "tick", ticking)
    return stop
