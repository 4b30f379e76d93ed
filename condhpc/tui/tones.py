"""Colours of lines by what they say, from the theme in use. Whatever a colour says, the line's text says too."""

from __future__ import annotations

from collections.abc import Mapping

from rich.style import Style

from condhpc.task_state import State
from condhpc.tui.table import Tone

TONE_OF: dict[State, Tone] = {
    "recorded": "good",
    "running": "busy",
    "queued": "",
    "failed": "bad",
    "blocked": "warn",
    "over_budget": "warn",
    "lost": "bad",
    "new": "dim",
}
_VARIABLE_OF: dict[Tone, str] = {
    "good": "text-success",
    "busy": "text-accent",
    "warn": "text-warning",
    "bad": "text-error",
}
_FALL_BACK: dict[Tone, str] = {"good": "green", "busy": "cyan", "warn": "yellow", "bad": "red"}


def tone_style(tone: Tone, variables: Mapping[str, str]) -> Style:
    """The style of a tone; `variables` are the theme's (`App.theme_variables`)."""
    if tone in {"", "dim"}:
        return Style(dim=tone == "dim")
    name = variables.get(_VARIABLE_OF[tone], "")
    colour = name if name.startswith("#") else _FALL_BACK[tone]
    return Style(color=colour, bold=tone in {"bad", "busy"})
