"""What both screens of `condhpc watch` have in common: the user's colours and keys, and how they end."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Mapping
from typing import TypeVar

from textual.app import App
from textual.binding import Binding
from textual.driver import Driver

R = TypeVar("R")
LEAVING = (
    Binding("ctrl+z", "suspend_process", "Back to the shell for a while", show=False, id="app.suspend"),
    Binding("q", "quit", "Quit", id="app.quit"),
)
"""Each screen has these last, so that the footer does."""
_ENDING = (signal.SIGTERM, signal.SIGHUP)
_OF_SIGNALS = 128


class Frame(App[R]):
    """Ends by `q`, by signals and with the connection, each time with the terminal as it was found."""

    def __init__(self, theme: str, keys: Mapping[str, str], driver_class: type[Driver] | None) -> None:
        super().__init__(driver_class=driver_class)
        self.animation_level = "none"
        self._own_theme, self._own_keys = theme, keys

    def on_mount(self) -> None:
        """What the user's file says; signals."""
        for number in _ENDING:
            asyncio.get_running_loop().add_signal_handler(number, self._terminated, number)
        if self._own_theme in self.available_themes:
            self.theme = self._own_theme
        self.set_keymap(dict(self._own_keys))
        # After ^Z and `fg` the terminal shows nothing of what we believe to be there.
        self.app_resume_signal.subscribe(self, lambda _: self.refresh(layout=True))

    def on_unmount(self) -> None:
        """Signals are Python's again."""
        for number in _ENDING:
            asyncio.get_running_loop().remove_signal_handler(number)

    def _terminated(self, number: int) -> None:
        """Leave the terminal as it was found."""
        self.exit(return_code=_OF_SIGNALS + number)
