"""A real terminal, by tmux: keys go in, what a person would see comes out."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


class Terminal:
    """One window of a tmux server of its own."""

    def __init__(self, folder: Path, env: Mapping[str, str], columns: int, lines: int) -> None:
        self._socket = folder / "tmux"
        self._env = {
            # pytest's workers say how wide they are; the window's own size counts.
            **{name: value for name, value in env.items() if name not in {"COLUMNS", "LINES"}},
            "LANG": "C.UTF-8",
            "LC_ALL": "C.UTF-8",
            "TERM": "xterm-256color",
            "PS1": "$ ",
            "SHELL": "/bin/sh",
        }
        size = ("-x", str(columns), "-y", str(lines))
        self._tmux("-f", os.devnull, "new-session", "-d", *size, "env", "PS1=$ ", "sh")

    def _tmux(self, *words: str, check: bool = True) -> str:
        command = ["tmux", "-u", "-S", str(self._socket), *words]
        done = subprocess.run(command, env=self._env, capture_output=True, text=True, timeout=20, check=check)
        return done.stdout

    def type(self, text: str) -> None:
        """As if somebody typed it."""
        self._tmux("send-keys", "-l", text)

    def press(self, *keys: str) -> None:
        """Keys by tmux's names."""
        self._tmux("send-keys", *keys)

    def resize(self, columns: int, lines: int) -> None:
        """Another size of the window."""
        self._tmux("resize-window", "-x", str(columns), "-y", str(lines))

    def screen(self) -> str:
        """What is on it."""
        return self._tmux("capture-pane", "-p")

    def modes(self) -> str:
        """Whether the alternate screen is shown, the mouse is taken, the cursor is shown."""
        return self._tmux("display-message", "-p", "#{alternate_on} #{mouse_any_flag} #{cursor_flag}").strip()

    def wait_for(self, what: str, ready: Callable[[str], bool], timeout_s: float = 60.0) -> str:
        """Poll until the screen is so; its text."""
        deadline = time.monotonic() + timeout_s
        while True:
            shown = self.screen()
            if ready(shown):
                return shown
            assert time.monotonic() < deadline, f"{what}: it never came; the screen shows\n{shown}"
            time.sleep(0.1)

    def close(self) -> None:
        """End it and all that runs in it."""
        self._tmux("kill-server", check=False)


@contextmanager
def terminal(folder: Path, env: Mapping[str, str], columns: int = 120, lines: int = 40) -> Iterator[Terminal]:
    """A terminal with a shell at its prompt."""
    folder.mkdir(exist_ok=True)
    made = Terminal(folder, env, columns, lines)
    try:
        made.wait_for("the prompt", lambda shown: "$" in shown)
        yield made
    finally:
        made.close()
