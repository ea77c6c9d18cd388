"""Conditions, data sets, parsers and figures that other installed packages add.

A package names them in its entry points, one group for each kind:

    [project.entry-points."lantern_probe.conditions"]
    dim = "my_package:Dim"

Nothing is looked for before a name is read, and nothing is imported before its name is asked for.
docs/extending.md shows one of each.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.metadata
import importlib.util
import logging
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any, Literal

from lantern_probe.errors import LanternError

Kind = Literal["conditions", "data", "parsers", "figures"]

NOUNS: dict[Kind, str] = {
    "conditions": "condition",
    "data": "task",
    "parsers": "answer parser",
    "figures": "figure",
}
"""One thing of each kind, in the words of messages; the keys end the names of the groups."""

_KNOWN: dict[Kind, str] = {"data": "known:"}
_NAME = re.compile(r"[A-Za-z][\w.-]*")
_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Extension:
    """Something that an installed package adds.

    Attributes:
        kind: Kind of the thing.
        name: Name by which it is asked for.
        package: Name of the package.
        version: Version of the package; empty if it states none.
        place: Module and attribute, `my_package:Dim`.
    """

    kind: Kind
    name: str
    package: str
    version: str
    place: str

    @property
    def origin(self) -> str:
        """The package and its version, `my-package 0.1`."""
        return f"{self.package} {self.version}".strip()

    def load(self) -> Any:
        """Import the thing itself.

        Raises:
            LanternError: it cannot be imported; the message names the package and the reason.
        """
        with self.blamed("cannot be loaded"):
            return EntryPoint(self.name, self.place, _group(self.kind)).load()

    @contextlib.contextmanager
    def blamed(self, fault: str = "failed") -> Iterator[None]:
        """Turn an exception of the package into an error that names it.

        Args:
            fault: Words for what went wrong.

        Raises:
            LanternError: anything but a `LanternError` or an interruption was raised within.
        """
        try:
            yield
        except LanternError:
            raise
        except (Exception, SystemExit) as error:
            raise LanternError(
                f"{NOUNS[self.kind]} {self.name!r} of the package {self.origin} ({self.place}) "
                f"{fault}: {type(error).__name__}: {error}; mend that package, or uninstall it"
            ) from error

    def refuse(self, fault: str) -> LanternError:
        """Make the error of a thing that is not of its kind.

        Args:
            fault: Words for what is wrong, after the name.
        """
        return LanternError(
            f"{NOUNS[self.kind]} {self.name!r} of the package {self.origin} ({self.place}) {fault}"
        )

    def record(self) -> dict[str, str]:
        """Describe the package for `run.json`: name, version, and hash of its source."""
        module = self.place.partition(":")[0].strip()
        return {"package": self.package, "version": self.version, "sha256": _source(module)}


def find(kind: Kind, name: str, built_in: Mapping[str, Any]) -> Any:
    """Find a thing by name: one of this package, or one that another package adds.

    Args:
        kind: Kind of the thing.
        name: Name asked for.
        built_in: Things of this package by name.

    Raises:
        LanternError: there is no such thing (the message lists what there is), two packages have
            it, or its package is broken.
    """
    extension = look_up(kind, name, built_in)
    return built_in[name] if extension is None else extension.load()


def look_up(kind: Kind, name: str, built_in: Iterable[str]) -> Extension | None:
    """Say which package adds a name; None for one of this package. Nothing is imported.

    Args:
        kind: Kind of the thing.
        name: Name asked for.
        built_in: Names of this package.

    Raises:
        LanternError: there is no such thing (the message lists what there is), or two packages
            have it.
    """
    known = list(built_in)
    found = [extension for extension in added(kind) if extension.name == name]
    owners = ["lantern-probe"] * (name in known) + [
        f"{extension.origin} ({extension.place})" for extension in found
    ]
    if not owners:
        there = ", ".join(names(kind, known)) or "none"
        raise LanternError(f"no {NOUNS[kind]} {name!r}; {_KNOWN.get(kind, 'there are')} {there}")
    if len(owners) > 1:
        raise LanternError(
            f"{NOUNS[kind]} {name!r} is given by {' and by '.join(owners)}; uninstall one of them, "
            "or give one another name in its entry points"
        )
    return found[0] if found else None


def names(kind: Kind, built_in: Iterable[str]) -> list[str]:
    """The names of a kind for a message, added ones with their package: `dim (my-package 0.1)`.

    Args:
        kind: Kind of the things.
        built_in: Names of this package.
    """
    return [*built_in, *(f"{extension.name} ({extension.origin})" for extension in added(kind))]


def listing(kinds: Iterable[Kind]) -> str:
    """One line on what other packages add, for a help text; empty if they add nothing.

    Args:
        kinds: Kinds that the command takes.
    """
    found = {kind: names(kind, ()) for kind in kinds}
    parts = [f"{kind}: {', '.join(there)}" for kind, there in found.items() if there]
    return f"From installed packages: {'; '.join(parts)}." if parts else ""


def records(kind: Kind, asked: Iterable[str], built_in: Iterable[str]) -> dict[str, dict[str, str]]:
    """Describe, for `run.json`, the packages that some names come from; `{}` for this package's.

    Args:
        kind: Kind of the things.
        asked: Names that are used.
        built_in: Names of this package.
    """
    here = set(built_in)
    found = {extension.name: extension for extension in added(kind)}
    wanted = [name for name in dict.fromkeys(asked) if name in found and name not in here]
    return {f"{NOUNS[kind]} {name}": found[name].record() for name in wanted}


@cache
def added(kind: Kind) -> tuple[Extension, ...]:
    """List what installed packages add of a kind, by name; only their metadata are read.

    Args:
        kind: Kind of the things.
    """
    found = []
    for entry in _entry_points(_group(kind)):
        package, version = _origin(entry)
        if not _NAME.fullmatch(entry.name):
            _log.warning(
                "the package %s adds a %s called %r, which is left out: a name is letters, digits, "
                "'.', '_' and '-'",
                package, NOUNS[kind], entry.name,
            )  # fmt: skip
            continue
        found.append(Extension(kind, entry.name, package, version, entry.value))
    return tuple(sorted(found, key=lambda extension: (extension.name, extension.package)))


def _group(kind: Kind) -> str:
    return f"lantern_probe.{kind}"


def _entry_points(group: str) -> list[EntryPoint]:
    try:
        return list(importlib.metadata.entry_points(group=group))
    except Exception:  # one package's file is malformed: read the others one by one
        found = []
        for distribution in importlib.metadata.distributions():
            try:
                found += [entry for entry in distribution.entry_points if entry.group == group]
            except Exception as error:
                place = getattr(distribution, "_path", "a package")
                _log.warning("the entry points of '%s' cannot be read: %s", place, error)
        return found


def _origin(entry: EntryPoint) -> tuple[str, str]:
    """The name and version of an entry's package; from its folder's name without metadata."""
    folder = Path(str(getattr(entry.dist, "_path", "")))
    name, _, version = folder.stem.partition("-")
    with warnings.catch_warnings(), contextlib.suppress(Exception):
        warnings.simplefilter("ignore")
        metadata: Any = entry.dist.metadata if entry.dist else {}
        name, version = metadata["Name"] or name, metadata["Version"] or version
    return name or "unknown", version or ""


def _source(module: str) -> str:
    """A hash of the source of the package that a module belongs to, without importing it."""
    digest = hashlib.sha256()
    for name in (module.partition(".")[0], module):
        spec = None
        with contextlib.suppress(Exception):  # of a parent module, which is imported for it
            spec = importlib.util.find_spec(name)
        if spec is None or spec.origin is None or not Path(spec.origin).is_file():
            continue
        file = Path(spec.origin)
        files = sorted(file.parent.rglob("*.py")) if file.name == "__init__.py" else [file]
        for one in files:
            place = one.relative_to(file.parent).as_posix()
            digest.update(f"{place}\0".encode() + one.read_bytes() + b"\0")
        break
    return digest.hexdigest()


def blame(error: BaseException) -> LanternError | None:
    """Name the package of an extension in whose code an exception was raised; None without one.

    Args:
        error: The exception, with its traceback.
    """
    modules = set()
    step = error.__traceback__
    while step is not None:
        modules.add(str(step.tb_frame.f_globals.get("__name__")))
        step = step.tb_next
    for kind in NOUNS:
        for extension in added(kind):
            package = extension.place.partition(":")[0].partition(".")[0]
            if any(name.partition(".")[0] == package for name in modules):
                return LanternError(
                    f"the package {extension.origin} ({extension.place}) raised "
                    f"{type(error).__name__}: {error}; mend that package, or leave out what it adds"
                )
    return None


def checked_call(extension: Extension | None, call: Callable[..., Any], *arguments: Any) -> Any:
    """Call a function that may come from another package, whose exceptions are then its own.

    Args:
        extension: Package of the function; None for this package.
        call: The function.
        *arguments: Its arguments.

    Raises:
        LanternError: a function of another package raised something.
    """
    if extension is None:
        return call(*arguments)
    with extension.blamed():
        return call(*arguments)
