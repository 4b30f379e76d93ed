"""`condhpc preview`: look at a condensed set."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import click

from condhpc.errors import InputError
from condhpc.talk import say

if TYPE_CHECKING:
    from condhpc.cli_session import Session

_CLASSES = 20


@click.command()
@click.argument("set_", metavar="SET")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A new PNG file [SET's name.png].")
@click.option("--classes", metavar="A,B", help="Names or labels of classes [the first 20].")
@click.option("--per-class", type=click.IntRange(min=1), default=10, show_default=True, help="Images of each class.")
@click.option("--run", metavar="RUN", help="Run that a cell is of [the newest].")
@click.pass_obj
def preview(
    session: Session, set_: str, out: Path | None, classes: str | None, per_class: int, run: str | None
) -> None:
    """Draw a condensed set: a row of images per class, in a PNG.

    SET is a file, (the beginning of) a key, or a cell of a run: DATASET/CONDENSER/IPC, perhaps with /SEED.
    """
    from condhpc import contact_sheet, files, set_files

    if out is not None and out.suffix.lower() != ".png":
        raise InputError(f"{out}: the picture is a PNG, expected a name that ends in .png; give another with --out")
    path = set_files.find(session.layout(), set_, run)
    named = [name.strip() for name in classes.split(",")] if classes is not None else []
    found = contact_sheet.read(path, named, per_class, _CLASSES)
    if not found.rows:
        raise InputError(f"{path}: holds no images")
    out = out or Path(f"{set_.replace('/', '-') if not Path(set_).is_file() else path.stem}.png")
    try:
        new = files.publish(out, contact_sheet.png(found.rows))
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
    if not new:
        raise InputError(f"{out}: is there already, expected a new file; give another with --out")
    if not named and found.classes > _CLASSES:
        say(f"the first {_CLASSES} of {found.classes:,} classes; --classes names others")
    click.echo(out)
