"""What commands say while they work: to stderr, for people; stdout is data."""

from __future__ import annotations

import shutil
import sys

import click


def say(text: str) -> None:
    """Talk goes to stderr; on a terminal it replaces a line of progress that stands there."""
    click.echo(f"\r\x1b[2K{text}" if sys.stderr.isatty() else text, err=True)


def show_progress(text: str) -> None:
    """Progress overwrites itself on a terminal, else it is said like everything."""
    if sys.stderr.isatty():
        click.echo(f"\r\x1b[2K{text[: shutil.get_terminal_size().columns - 1]}", err=True, nl=False)
    else:
        click.echo(text, err=True)


def on_terminal() -> bool:
    """Whether somebody can answer."""
    return sys.stdin.isatty()
