"""The keys that work here, from the bindings themselves; and a menu of words to choose from."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import OptionList

from condhpc.tui.line import Line
from condhpc.tui.page import Page

Keys = tuple[str, str, str]
"""(where it works, keys, what it does)."""


def keys_of(app: App[Any]) -> list[Keys]:
    """Keys that work now, by where they work, nearest first."""
    found: dict[tuple[str, str, str], list[str]] = {}
    for active in app.screen.active_bindings.values():
        binding = active.binding
        if binding.description and binding.id:  # those without an id are Textual's own
            place = "everywhere" if active.node is app else "here"
            found.setdefault((place, binding.action, binding.description), []).append(app.get_key_display(binding))
    ordered = sorted(found.items(), key=lambda item: item[0][0] != "here")
    return [(place, " ".join(shown), does) for (place, _, does), shown in ordered]


def help_lines(keys: Sequence[Keys]) -> list[str]:
    """Keys in columns, by where they work."""
    lines: list[str] = []
    width = max((len(shown) for _, shown, _ in keys), default=0)
    for place in dict.fromkeys(place for place, _, _ in keys):
        lines += ["", place] if lines else [place]
        lines += [f"  {shown:<{width}}  {does}" for at, shown, does in keys if at == place]
    return lines


class Help(ModalScreen[None]):
    """All keys; any of escape, q and ? leaves."""

    DEFAULT_CSS = """
    Help { align: center middle; }
    Help > Vertical { width: 90%; max-width: 76; height: 90%; border: solid $primary; padding: 0 1; }
    Help Page { height: 1fr; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape,q,question_mark", "dismiss", "Back", id="help.back")]

    def __init__(self, keys: Sequence[Keys]) -> None:
        super().__init__()
        self._keys = keys

    def compose(self) -> ComposeResult:
        """A page."""
        with Vertical():
            yield Page(id="help-lines")

    def on_mount(self) -> None:
        """Write it."""
        page = self.query_one(Page)
        page.set_lines(help_lines(self._keys))
        self.set_focus(page)  # at once: the next key may be there already


class Menu(ModalScreen[int | None]):
    """A question and its answers; the index of the answer, None for none."""

    DEFAULT_CSS = """
    Menu { align: center middle; }
    Menu > Vertical { width: auto; max-width: 90%; height: auto; max-height: 90%; border: solid $primary; }
    Menu OptionList { width: 40; max-width: 100%; height: auto; max-height: 16; }
    Menu OptionList, Menu OptionList:focus { border: none; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q", "none", "Back", id="menu.back"),
        Binding("j", "move('down')", show=False),
        Binding("k", "move('up')", show=False),
    ]

    def __init__(self, question: str, answers: Sequence[str]) -> None:
        super().__init__()
        self._question, self._answers = question, answers

    def compose(self) -> ComposeResult:
        """The question above its answers."""
        with Vertical():
            yield Line(self._question)
            yield OptionList(*(Text(answer) for answer in self._answers))

    def action_none(self) -> None:
        """No answer."""
        self.dismiss(None)

    def action_move(self, way: str) -> None:
        """As arrows do."""
        options = self.query_one(OptionList)
        (options.action_cursor_down if way == "down" else options.action_cursor_up)()

    def on_option_list_option_selected(self, event: OptionList.OptionSelected) -> None:
        """That one."""
        self.dismiss(event.option_index)
