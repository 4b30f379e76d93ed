"""The command line. What is slow to import is imported by the command that needs it; stdout is data, stderr talk."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from typing import Any

import click

from condhpc.cli_actions import hold, release, throttle
from condhpc.cli_budget import budget, steward
from condhpc.cli_collect import collect
from condhpc.cli_data import data
from condhpc.cli_look import doctor, logs, ls, status, watch
from condhpc.cli_preview import preview
from condhpc.cli_session import Session
from condhpc.cli_submit import cancel, plan, retry, submit
from condhpc.errors import CondhpcError
from condhpc.talk import say

_INTERRUPTED = 130
_OF_THE_DISK = frozenset({errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT})
_STORE_TROUBLE = 3
_OF_THE_QUEUE = frozenset({"submit", "cancel", "retry", "hold", "release", "throttle", "budget"})
"""Commands after which watchers should ask squeue anew."""


class _Commands(click.Group):
    """Commands in the order of a day's work; our own errors without a traceback, with their exit codes."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """In the order of definition."""
        del ctx
        return list(self.commands)

    def invoke(self, ctx: click.Context) -> Any:
        """Run the command; a bug keeps its traceback."""
        try:
            return super().invoke(ctx)
        except CondhpcError as error:
            say(f"condhpc: {error}")
            ctx.exit(error.exit_code)
        except OSError as error:
            if error.errno not in _OF_THE_DISK:
                raise
            say(f"condhpc: {error.filename or 'disk'}: {error.strerror}; {_advice(error)}")
            ctx.exit(_STORE_TROUBLE)
        except KeyboardInterrupt:
            say("interrupted")
            ctx.exit(_INTERRUPTED)
        finally:
            if ctx.invoked_subcommand in _OF_THE_QUEUE and "condhpc.scheduler" in sys.modules:
                from condhpc.shared_slurm import cache_of_user

                cache_of_user().spoil()


def _advice(error: OSError) -> str:
    """What to do: where another user's permissions are in the way, that user can help."""
    owner = _owner(str(error.filename)) if error.filename and error.errno in {errno.EACCES, errno.EPERM} else None
    if owner is None or owner == os.getuid():
        return "nothing recorded is lost, mend it and go on"
    return f"it belongs to {_user(owner)}: ask for the right to use it, or take a root of your own (--root)"


def _owner(path: str) -> int | None:
    """Of a file, or of the closed folder in the way to it."""
    while True:
        with contextlib.suppress(OSError):
            return os.stat(path).st_uid  # noqa: PTH116
        if (above := os.path.dirname(path)) in {path, ""}:  # noqa: PTH120
            return None
        path = above


def _user(uid: int) -> str:
    import pwd

    try:
        return f"user {pwd.getpwuid(uid).pw_name}"
    except KeyError:
        return f"user {uid}"


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--root", metavar="DIR", help="Folder of the store and of runs [$CONDHPC_ROOT, else the profile's].")
@click.option("--profile", metavar="FILE", help="Profile: a file or `local` [$CONDHPC_PROFILE, else your own].")
@click.version_option(package_name="condhpc", message="condhpc %(version)s")
@click.pass_context
def main(ctx: click.Context, root: str | None, profile: str | None) -> None:
    """What a condensed training set is worth: distillation against coresets, on Slurm or on this machine."""
    ctx.obj = Session(root, profile)


_OF_A_DAY = (
    *(plan, submit, status, watch, logs, cancel, retry, collect, ls),
    *(hold, release, throttle, budget, steward, preview, data, doctor),
)
for _command in _OF_A_DAY:
    main.add_command(_command)
