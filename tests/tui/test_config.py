"""The user's own keys and colours."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.theme import BUILTIN_THEMES

from condhpc.errors import InputError
from condhpc.tui import config
from condhpc.tui.app import Watch
from condhpc.tui.grid import Grid
from condhpc.tui.views import VIEWS


def load(folder: Path, text: str) -> config.Config:
    """What this file says."""
    (folder / "condhpc").mkdir(exist_ok=True)
    (folder / "condhpc" / "watch.toml").write_text(text)
    return config.load({"XDG_CONFIG_HOME": str(folder)}, config.actions_of([Watch, Grid, *VIEWS]), BUILTIN_THEMES)


def test_without_a_file_nothing_is_changed(tmp_path: Path) -> None:
    """Most users have none."""
    assert config.load({"XDG_CONFIG_HOME": str(tmp_path)}, [], []) == config.Config()


def test_keys_and_theme_are_read(tmp_path: Path) -> None:
    """Several keys for an action, by name or as they are typed."""
    text = 'theme = "nord"\n[keys]\n"app.quit" = "x, ctrl+x"\n"grid.down" = "n,f5,question_mark,/"\n'
    assert load(tmp_path, text) == config.Config(
        theme="nord", keys={"app.quit": "x, ctrl+x", "grid.down": "n,f5,question_mark,/"}
    )


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """Each wrong action, key and theme with what was meant, under the file's name."""
    text = 'theme = "nrod"\n[keys]\n"app.qiut" = "x"\n"app.quit" = "hyper+x"\n'
    with pytest.raises(InputError) as caught:
        load(tmp_path, text)
    lines = str(caught.value).splitlines()
    file = tmp_path / "condhpc" / "watch.toml"
    assert lines[0] == f"{file}: keys.app.qiut: there is no such action; did you mean 'app.quit'?"
    assert lines[1].startswith(f'{file}: keys.app.quit: found "hyper+x", expected keys such as')
    assert lines[2] == f"{file}: theme: there is no 'nrod'; did you mean 'nord'?"


@pytest.mark.parametrize("text", ["theme = 3", "colour = 'nord'", "[keys", "[keys]\nx = 3", "\udcff"])
def test_what_is_no_such_file_is_refused(tmp_path: Path, text: str) -> None:
    """Wrong types, unknown fields, no TOML, no text: an error with the file's name."""
    (tmp_path / "condhpc").mkdir()
    (tmp_path / "condhpc" / "watch.toml").write_bytes(text.encode(errors="surrogateescape"))
    with pytest.raises(InputError, match=r"watch.toml: .*expected `theme"):
        config.load({"XDG_CONFIG_HOME": str(tmp_path)}, [], [])


def test_every_binding_of_ours_has_a_name() -> None:
    """A key without a name could not be changed; Enter in a field is the field's, and stays."""
    for cls in (Watch, Grid, *VIEWS):
        for binding in vars(cls).get("BINDINGS", ()):
            assert binding.id or binding.action == "entered", f"{cls.__name__}: {binding.key}"
