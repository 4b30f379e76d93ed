"""What a manifest takes from outside: weights, folders of weights and condensed sets, and whether they are here."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Literal, NamedTuple

import msgspec

from condhpc.errors import ProblemsError
from condhpc.typed_toml import dotted

if TYPE_CHECKING:
    from condhpc.manifest import Manifest
    from condhpc.profile import Profile

Form = Literal["file", "folder", "set"]


class Outside(NamedTuple):
    """One thing made elsewhere; the profile maps its name to a path."""

    form: Form
    name: str
    sha256: str
    where: str
    """What names it, for messages: `m.toml: teachers.single.weights`."""

    @property
    def table(self) -> Literal["weights", "sets"]:
        """Of the profile."""
        return "sets" if self.form == "set" else "weights"


_IS_HERE: dict[Form, tuple[Callable[[Path], bool], str]] = {
    "file": (Path.is_file, "no such file on this machine"),
    "folder": (Path.is_dir, "no such folder on this machine"),
    "set": (Path.exists, "not on this machine"),
}


def used(manifest: Manifest) -> tuple[Outside, ...]:
    """All that a manifest names, in its order."""
    return tuple(_used(manifest))


def _used(manifest: Manifest) -> Iterator[Outside]:
    for role, teacher in manifest.teachers.items():
        several = isinstance(teacher.weights, tuple)
        for i, (_, _, given) in enumerate(teacher.members):
            if given is not None:
                where = f"{manifest.file}: {dotted('teachers', role)}.weights{f'[{i}]' if several else ''}"
                yield Outside("file", given.name, given.sha256, where)
    for name, encoder in manifest.encoders.items():
        yield Outside("file", encoder.weights, encoder.sha256, f"{manifest.file}: {dotted('encoders', name)}")
    for name, generator in manifest.generators.items():
        if (folder := generator.outside) is not None:
            yield Outside("folder", folder.name, folder.sha256, f"{manifest.file}: {dotted('generators', name)}")
    for name, block in manifest.external.items():
        yield Outside("set", name, block.sha256, f"{manifest.file}: {dotted('external', name)}")


def problems(found: Iterable[Outside], profile: Profile, environ: Mapping[str, str]) -> list[str]:
    """What is missing in the profile or on this machine, and digests that nobody has filled in.

    The profile is one that went through `with_downloaded`. Digests are compared on the node: that reads every byte.
    """
    held = list(found)
    absent = [_absence(item, profile, environ) for item in sorted(held, key=lambda item: item.name)]
    return [text for text in dict.fromkeys(absent) if text] + [_placeholder(i) for i in held if set(i.sha256) == {"0"}]


def require(found: Iterable[Outside], profile: Profile, environ: Mapping[str, str]) -> None:
    """Raise ProblemsError with all `problems`, before anything is queued."""
    if noted := problems(found, profile, environ):
        raise ProblemsError(noted)


def _absence(item: Outside, profile: Profile, environ: Mapping[str, str]) -> str:
    path = getattr(profile, item.table).get(item.name)
    where, (is_here, absent) = f"profile '{profile.name}': {dotted(item.table, item.name)}", _IS_HERE[item.form]
    if path is None:
        also = f", or a file of this name in {_downloads(environ)}" if item.form == "file" else ""
        return f"{where}: missing, expected the path of this {item.form}{also}"
    return "" if is_here(path) else f"{where} = '{path}': {absent}"


def _placeholder(item: Outside) -> str:
    digest = f"the digest of '{item.name}', which `condhpc data digest PATH` prints"
    return f"{item.where}.sha256: a placeholder of zeros, expected {digest}"


def with_downloaded(names: Iterable[str], profile: Profile, environ: Mapping[str, str]) -> Profile:
    """The profile with weights that it does not name, where torch has downloaded a file of that name before.

    Nothing is downloaded, and a name that is a path leads nowhere.
    """
    folder = _downloads(environ)
    found = {
        name: folder / name
        for name in names
        if name not in profile.weights and Path(name).name == name and (folder / name).is_file()
    }
    return msgspec.structs.replace(profile, weights={**profile.weights, **found})


def _downloads(environ: Mapping[str, str]) -> Path:
    """Torch's own folder as it finds it: `$TORCH_HOME/hub/checkpoints`, by default under `~/.cache/torch`.

    Absolute, because jobs start in other folders.
    """
    home = environ.get("TORCH_HOME") or f"{environ.get('XDG_CACHE_HOME') or '~/.cache'}/torch"
    if home == "~" or home.startswith("~/"):
        home = f"{environ.get('HOME') or Path.home()}{home[1:]}"
    return Path(home).absolute() / "hub" / "checkpoints"
