"""`condhpc data`: index, pack and check the files of a dataset."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from condhpc.errors import InputError
from condhpc.talk import say, show_progress

if TYPE_CHECKING:
    from condhpc.cli_session import Session
    from condhpc.facts import Facts, Lister
    from condhpc.file_index import Index
    from condhpc.index_cache import IndexCache

_PROGRESS_S = 3.0
_KEY = re.compile(r"[0-9a-f]{32}")


@click.group()
def data() -> None:
    """Index, pack or check the files of a dataset: a preset, or one that a manifest describes."""


def _of_a_dataset(command: Callable[..., None]) -> Callable[..., None]:
    """What all commands of the group take."""
    for parameter in (
        click.option("--folder", type=click.Path(path_type=Path), help="Folder or pack [the profile's [data]]."),
        click.option("--manifest", type=click.Path(path_type=Path), help="Manifest with a [datasets.NAME] block."),
        click.argument("name"),
    ):
        command = parameter(command)
    return click.pass_obj(command)


@data.command()
@click.argument("path", type=click.Path(path_type=Path))
def digest(path: Path) -> None:
    """Print the SHA-256 of a file or folder, as manifests name weights and condensed sets made elsewhere."""
    from condhpc import keys

    try:
        click.echo(keys.sha256_of(path))
    except OSError as error:
        raise InputError(f"{path}: cannot be read ({error.strerror or error}); expected a file or a folder") from error


@data.command(name="list")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), help="A new file, instead of the screen.")
@click.argument("set_", metavar="SET")
@click.pass_obj
def list_(session: Session, set_: str, out: Path | None) -> None:
    """Print which training images a set holds, with their digests: SET is its key or its file.

    The list can be handed on, and comes back as a set made elsewhere (format = "indices").
    """
    from condhpc import arrays, files

    path = _set_file(session, set_)
    lines, about = arrays.read_listing(path)
    if lines is None:
        raise InputError(f"{path}: no list of real images in it, expected a coreset; sets made before lists have none")
    whose = f"{about.get('dataset')}, chosen by {about.get('condenser')}, task {about.get('key')}"
    text = "".join(f"{line}\n" for line in (f"# {len(lines)} training images of {whose}", *lines))
    if out is None:
        click.echo(text, nl=False)
        return
    try:
        new = files.publish(out, text.encode())
    except OSError as error:
        raise InputError(f"{out}: cannot be written ({error.strerror or error})") from error
    if not new:
        raise InputError(f"{out}: is there already, expected a new file")


def _set_file(session: Session, named: str) -> Path:
    """The file of a condensed set, as named or by the key of its task, its SHA-256 just verified."""
    from condhpc import store

    if Path(named).is_file():
        return Path(named)
    layout = session.layout()
    folder = layout.task("condense", named)
    record = store.read_record(folder) if _KEY.fullmatch(named) else None
    if record is None:
        raise InputError(f"{named}: neither a file nor the key of a recorded set under {layout.root}")
    return store.verified(folder, record, "set")


@data.command()
@_of_a_dataset
def index(session: Session, name: str, manifest: Path | None, folder: Path | None) -> None:
    """List the files anew and keep the index under the root, where `submit` finds it.

    After that a million files are not listed again until a folder changes.
    """
    cache = _cache(session)
    held, found = _facts(session, name, manifest, folder, cache.listed_anew)
    if held.folder is not None and not cache.keep():
        say(
            f"not kept: {held.folder} changed a moment ago (run this again), or the loader '{held.loader}' does not "
            "tell which folders to watch"
        )
    click.echo(f"{name}: index {held.digest}, {len(found.class_names)} classes")
    for split, files in found.splits.items():
        click.echo(f"  {split}: {len(files.paths):,} images, {sum(files.sizes) / 1e9:.2f} GB")


@data.command()
@click.option("--jobs", type=click.IntRange(min=1), default=8, show_default=True, help="Files read at a time.")
@click.option("--out", type=click.Path(path_type=Path, dir_okay=False), required=True, help="The pack, a new file.")
@_of_a_dataset
def pack(session: Session, name: str, manifest: Path | None, folder: Path | None, out: Path, jobs: int) -> None:
    """Write the images of all splits into one file, as they are.

    Name that file in the profile's [data] in the place of the folder: keys and images are the same.
    """
    from condhpc import packing, registry

    held, found = _facts(session, name, manifest, folder, _cache(session).index)
    plugin = registry.load("datasets", held.loader)
    splits = {split: plugin.split(found, held.folder, split, held.info.resolution) for split in found.splits}
    meter = _Meter(f"{out}: packed", _images(found))
    packing.pack(found, splits, out, jobs, meter.reached)
    say(f"{out}: {_images(found):,} images, {out.stat().st_size / 1e9:.2f} GB, read back; {held.digest} is its index")


@data.command()
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Processes that decode.")
@_of_a_dataset
def check(session: Session, name: str, manifest: Path | None, folder: Path | None, jobs: int) -> None:
    """Decode every image and name each that is missing or damaged.

    Compares with the index that was kept last, if there is one. Exits with 1 when something is wrong.
    """
    from condhpc import data_check, registry

    held, found = _facts(session, name, manifest, folder, _cache(session).last)
    for text in data_check.shortfall(registry.load("datasets", held.loader).INFO, found):
        say(f"note: {text}")
    meter, done, bad = _Meter(f"{name}: checked", _images(found)), 0, 0
    for looked in data_check.check(held, jobs):
        for problem in looked.problems:
            click.echo(problem)
        done, bad = done + looked.images, bad + len(looked.problems)
        meter.reached(done)
    say(f"{name}: {done:,} images checked, {bad:,} of them cannot be used")
    click.get_current_context().exit(1 if bad else 0)


class _Meter:
    """Tells now and then how far something is."""

    def __init__(self, what: str, total: int) -> None:
        self._what = what
        self._total = total
        self._next = time.monotonic() + _PROGRESS_S

    def reached(self, done: int) -> None:
        """Say it, if it was not said a moment ago."""
        if time.monotonic() >= self._next:
            show_progress(f"{self._what} {done:,} of {self._total:,}")
            self._next = time.monotonic() + _PROGRESS_S


def _cache(session: Session) -> IndexCache:
    from condhpc.index_cache import IndexCache

    return IndexCache(session.layout())


def _facts(
    session: Session, name: str, manifest: Path | None, folder: Path | None, lister: Lister
) -> tuple[Facts, Index]:
    """Facts and index of a dataset whose files are here; says what is to be known of them. Raises InputError."""
    import msgspec

    from condhpc import facts
    from condhpc.manifest import load

    profile = session.profile()
    if folder is not None:
        profile = msgspec.structs.replace(profile, data={**profile.data, name: folder.absolute()})
    own: Any = load(manifest).datasets.get(name) if manifest is not None else None
    if manifest is not None and own is None:
        raise InputError(f"{manifest}: has no block [datasets.{name}]; leave --manifest out for a preset")
    try:
        held = facts.of(name, own, profile, lister)
    except InputError as error:
        raise InputError(f"dataset '{name}': {error}") from error
    if held.index is None:
        raise InputError(f"{'; '.join(held.warnings)}, or give --folder")
    for warning in held.warnings:
        say(f"warning: {warning}")
    return held, held.index


def _images(index: Index) -> int:
    return sum(len(split.paths) for split in index.splits.values())
