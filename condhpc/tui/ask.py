"""Dialogs: a question with yes and no, perhaps with fields to fill in; and words to read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual import on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Horizontal, Vertical
from textual.events import Key
from textual.screen import ModalScreen
from textual.widgets import Button, Input

from condhpc.tui.line import Line

_APART_S = 0.5
"""A yes comes so long after other letters, else it belongs to them."""
Answers = list[Any]
"""One value for each field, None for an empty one."""


class Field:
    """Something to type: a name, and what makes a value of the text. That raises ValueError, whose words are shown."""

    def __init__(self, name: str, parse: Callable[[str], Any], hint: str = "") -> None:
        self.name, self.parse, self.hint = name, parse, hint


class Ask(ModalScreen[Answers | None]):
    """A question. Only `y`, the button, or enter in the last field say yes; all else is no, which has the focus.

    A `y` right behind other letters is text that was meant for something else, and so is one before `complete`.
    """

    DEFAULT_CSS = """
    Ask { align: center middle; }
    Ask > Vertical { width: 72; max-width: 96%; height: auto; max-height: 96%; border: solid $warning; padding: 0 1; }
    Ask > Vertical { overflow-y: auto; }
    Ask Line { max-height: 100; }
    Ask Horizontal { dock: bottom; height: 1; align-horizontal: right; }
    Ask Button { min-width: 10; margin-left: 2; }
    Ask Button:focus { text-style: bold reverse; }
    Ask #amiss { color: $text-error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "agree", "Yes", id="ask.yes"),
        Binding("n,escape,q", "no", "No", id="ask.no"),
        Binding("down", "read(1)", "Read on", show=False),
        Binding("up", "read(-1)", "Read back", show=False),
        # Priority: keys come faster than fields take them, and each belongs to the field that it was typed for.
        Binding("enter", "entered", "Next field, then yes", show=False, priority=True),
        Binding("tab", "app.focus_next", "Next field or button", show=False, priority=True),
        Binding("shift+tab", "app.focus_previous", "Field or button before", show=False, priority=True),
    ]

    def __init__(self, lines: Sequence[str], fields: Sequence[Field] = (), *, whole: bool = True) -> None:
        """Where it is not `whole`, there is no yes until `complete` says what is asked."""
        super().__init__()
        self._question = Line("\n".join(lines))
        self._fields = list(fields)
        self._inputs = [Input(placeholder=field.hint, id=f"field{i}", compact=True) for i, field in enumerate(fields)]
        self._amiss = Line(id="amiss")
        no, yes = ("esc", "enter") if fields else ("n", "y")  # in a field letters are text
        self._no = Button(Text(f"No ({no})"), id="no", compact=True)
        self._yes = Button(Text(f"Yes ({yes})"), id="yes", compact=True)
        self._yes.display = whole
        self._typed = float("-inf")
        """When the last letter came that answers nothing."""

    def complete(self, lines: Sequence[str]) -> None:
        """What is asked is known now: from here on yes is an answer."""
        self._question.say("\n".join(lines))
        self._question.refresh(layout=True)
        self._yes.display = True

    def leave(self) -> None:
        """There is nothing to ask."""
        if self.is_current:
            self.action_no()

    @property
    def is_whole(self) -> bool:
        """Whether yes is an answer."""
        return self._yes.display

    @property
    def said(self) -> str:
        """The question as it is shown."""
        return self._question.said

    def compose(self) -> ComposeResult:
        """Question, fields, buttons."""
        with Vertical():
            yield self._question
            for field, typed in zip(self._fields, self._inputs, strict=True):
                yield Line(f"{field.name}:")
                yield typed
            yield self._amiss
            with Horizontal():
                yield self._no
                yield self._yes

    def on_mount(self) -> None:
        """Where nothing is to be typed, enter means no."""
        self.set_focus(self._inputs[0] if self._inputs else self._no)

    def on_key(self, event: Key) -> None:
        """Note letters that no field took and that answer nothing, or nothing yet."""
        if event.is_printable and not (self.is_whole and self._answers(event.key)):
            self._typed = time.monotonic()

    def _answers(self, key: str) -> bool:
        return key in self.active_bindings

    def action_agree(self) -> None:
        """Yes, unless it is the end of other words."""
        if self.is_whole and time.monotonic() - self._typed > _APART_S:
            self.action_yes()

    @on(Button.Pressed, "#yes")
    def action_yes(self) -> None:
        """Answer, unless a field holds what it cannot."""
        answers: Answers = []
        for field, typed in zip(self._fields, self._inputs, strict=True):
            text = typed.value.strip()
            try:
                answers.append(field.parse(text) if text else None)
            except ValueError as error:
                self._amiss.say(f"{field.name}: found '{text}', expected {error}")
                self.set_focus(typed)
                return
        self.dismiss(answers)

    @on(Button.Pressed, "#no")
    def action_no(self) -> None:
        """Nothing is done."""
        self.dismiss(None)

    def action_read(self, by: int) -> None:
        """Scroll what does not fit."""
        self.query_one(Vertical).scroll_relative(y=by, animate=False)

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        """On a button enter is the button's."""
        del parameters
        return action != "entered" or isinstance(self.focused, Input)

    def action_entered(self) -> None:
        """On to the next field; from the last one it is a yes."""
        place = next(i for i, typed in enumerate(self._inputs) if typed is self.focused)
        if place + 1 < len(self._inputs):
            self.set_focus(self._inputs[place + 1])
        else:
            self._answer_after(self._inputs)

    def _answer_after(self, fields: Sequence[Input]) -> None:
        """Answer when all keys that are on their way to these fields have come there."""
        if fields:
            fields[0].call_later(self._answer_after, fields[1:])
        else:
            self.action_yes()


def whole_number(least: int) -> Callable[[str], int]:
    """Reads a whole number of at least so much."""

    def parse(text: str) -> int:
        if not (text.isascii() and text.isdigit()) or int(text) < least:
            raise ValueError(f"a whole number of at least {least}")
        return int(text)

    return parse


def positive(text: str) -> float:
    """Reads a number above 0."""
    try:
        found = float(text)
    except ValueError:
        found = 0.0
    if not 0.0 < found < float("inf"):
        raise ValueError("a number above 0")
    return found
