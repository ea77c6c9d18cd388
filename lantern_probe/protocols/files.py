"""Protocols by name, or written by hand in a TOML file."""

from __future__ import annotations

import tomllib
from dataclasses import MISSING, fields, replace
from pathlib import Path

from lantern_probe.errors import LanternError
from lantern_probe.protocols.named import PROTOCOLS
from lantern_probe.protocols.protocol import LatentProtocol, check_fields


def load_protocol(source: str | Path | LatentProtocol) -> LatentProtocol:
    """The protocol of a name, or of a TOML file.

        >>> from lantern_probe.protocols import load_protocol
        >>> load_protocol("monet").first
        'marker'

    A file gives fields of `LatentProtocol`. With `like = "monet"` the others are those of another
    protocol.

    Args:
        source: A name of `PROTOCOLS`, the path of a file that ends in `.toml`, or a protocol, which
            is returned as it is.

    Raises:
        LanternError: there is no such protocol, or the file is none.
    """
    if isinstance(source, LatentProtocol):
        return source
    if str(source) in PROTOCOLS:
        return PROTOCOLS[str(source)]
    path = Path(source)
    if path.suffix != ".toml":
        raise LanternError(
            f"no protocol {str(source)!r}; there are {', '.join(PROTOCOLS)}, and files that end in "
            ".toml (docs/protocols.md)"
        )
    return _read(path)


def _read(path: Path) -> LatentProtocol:
    try:
        given = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise LanternError(f"protocol '{path}': {error.strerror or error}") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise LanternError(f"protocol '{path}' is no TOML: {error}") from None
    like = given.pop("like", None)
    known = {field.name: field for field in fields(LatentProtocol)}
    if unknown := sorted(given.keys() - known.keys()):
        raise LanternError(
            f"protocol '{path}': no field {unknown[0]!r}; there are like, {', '.join(known)}"
        )
    given = {"name": path.stem} | {
        name: tuple(value) if isinstance(value, list) else value for name, value in given.items()
    }
    try:
        check_fields(given)
    except LanternError as error:
        raise LanternError(f"'{path}': {error}") from None
    if like is not None:
        if like not in PROTOCOLS:
            raise LanternError(
                f"protocol '{path}': like = {like!r} is none of {', '.join(PROTOCOLS)}"
            )
        return replace(PROTOCOLS[like], **{"official": "", **given})
    needed = [name for name, field in known.items() if field.default is MISSING]
    if lacking := [name for name in needed if name not in given]:
        raise LanternError(f"protocol '{path}': it lacks {', '.join(lacking)}")
    return LatentProtocol(**given)
