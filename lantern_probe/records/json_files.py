"""JSON on disk: values turned into what JSON knows, files replaced whole or not at all."""

from __future__ import annotations

import contextlib
import dataclasses
import enum
import errno
import hashlib
import json
import math
import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

from lantern_probe.errors import LanternError


def write_json(path: str | Path, obj: Any) -> None:
    """Write a JSON file whole or not at all; a reader never sees half of it.

    Raises:
        LanternError: the folder cannot be written, or `obj` holds what JSON cannot.
    """
    path = Path(path)
    text = json.dumps(to_plain(obj, path.name), indent=2, allow_nan=False)
    replace_file(path, f"{text}\n".encode())


def to_plain(value: Any, where: str) -> Any:
    """The value in the types of JSON, with NaN and infinities as None.

    Takes also numpy and torch scalars and arrays, paths, enums, sets and dataclasses.

    Raises:
        LanternError: anything else; `where` names the outermost value in the message.
    """
    if isinstance(value, enum.Enum):
        return to_plain(value.value, where)
    if value is None or isinstance(value, bool | str | int):
        return value
    if isinstance(value, float):
        return float(value) if math.isfinite(value) else None
    if isinstance(value, Mapping):
        return {str(name): to_plain(item, f"{where}.{name}") for name, item in value.items()}
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {field.name: getattr(value, field.name) for field in dataclasses.fields(value)}
        return to_plain(fields, where)
    if isinstance(value, list | tuple):
        return [to_plain(item, f"{where}[{i}]") for i, item in enumerate(value)]
    if isinstance(value, set | frozenset):  # in one order, whatever the process hashes to
        return sorted((to_plain(item, where) for item in value), key=repr)
    if isinstance(value, Path):
        return str(value)
    as_list: Callable[[], Any] | None = getattr(value, "tolist", None)  # numpy, torch
    if callable(as_list) and not isinstance(value, type):
        return to_plain(as_list(), where)
    raise LanternError(
        f"{where} is a {type(value).__name__}, which JSON cannot hold; give text or a number"
    )


def to_line(row: dict[str, Any]) -> bytes:
    """One line of a JSON lines file, from a value that `to_plain` has seen."""
    # ASCII: no encoding can fail on a lone surrogate, and no reader break a line at U+2028.
    return json.dumps(row, allow_nan=False).encode("ascii") + b"\n"


def fingerprint(config: Mapping[str, Any]) -> str:
    """The same for equal plain values, whatever the order of their names."""
    canonical = json.dumps(config, sort_keys=True, allow_nan=False)
    return hashlib.sha256(canonical.encode()).hexdigest()


def differences(old: Mapping[str, Any], new: Mapping[str, Any], prefix: str = "") -> Iterator[str]:
    """In what two plain mappings differ, one phrase each."""
    for name in sorted(old.keys() | new.keys()):
        if name not in new:
            yield f"{prefix}{name}: {old[name]!r:.80} there, absent here"
        elif name not in old:
            yield f"{prefix}{name}: absent there, {new[name]!r:.80} here"
        elif isinstance(old[name], dict) and isinstance(new[name], dict):
            yield from differences(old[name], new[name], f"{prefix}{name}.")
        elif old[name] != new[name]:
            yield f"{prefix}{name}: {old[name]!r:.80} there, {new[name]!r:.80} here"


def replace_file(path: Path, data: bytes) -> None:
    """Put `data` in place of the file in one step, and wait until it is on disk.

    Raises:
        LanternError: the folder cannot be written; the old file is then untouched.
    """
    with replacing(path) as file:
        file.write(data)


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[BinaryIO]:
    """Open a new file that takes the place of `path` in one step when all of it is on disk.

    Raises:
        LanternError: the folder cannot be written; the old file is then untouched.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    with explained(path):
        try:
            with temporary.open("w+b") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            temporary.replace(path)
        except BaseException:
            with contextlib.suppress(OSError):
                temporary.unlink(missing_ok=True)
            raise
        _sync_folder(path.parent)


def _sync_folder(folder: Path) -> None:
    """Make a rename last; not every file system can, and then there is nothing to be done."""
    with contextlib.suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)


@contextlib.contextmanager
def explained(path: Path) -> Iterator[None]:
    """Turn what the operating system refuses into an error that names the place."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or str(error)
        if isinstance(error, FileExistsError | NotADirectoryError):
            reason = "a file stands where a folder is needed"
        elif error.errno in (errno.ENOSPC, errno.EDQUOT):
            reason += "; make room and start the same command again: it goes on from here"
        raise LanternError(f"cannot use '{path}': {reason}") from error
