"""Text files of questions: which kind of file it is, and its JSON objects one by one."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError

_MARKS = (
    (b"\x1f\x8b", "it is compressed with gzip; unpack it first (gunzip)"),
    (b"PK\x03\x04", "it is a zip archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; unpack it first"),
    (b"BZh", "it is compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "it is compressed with xz; unpack it first"),
    (b"PAR1", "it is a Parquet file; give the folder of the benchmark it belongs to"),
    (b"%PDF", "it is a PDF"),
    (b"\x89PNG", "it is an image"),
    (b"\xff\xd8\xff", "it is an image"),
    (b"SQLite format 3", "it is a database"),
    (b"\xff\xfe\x00\x00", "its encoding is UTF-32; save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "its encoding is UTF-32; save it as UTF-8"),
    (b"\xff\xfe", "its encoding is UTF-16; save it as UTF-8"),
    (b"\xfe\xff", "its encoding is UTF-16; save it as UTF-8"),
    (
        b"version https://git-lfs.github.com/spec/",
        "it is a Git LFS pointer, and the file itself was not downloaded; run git lfs pull",
    ),
)
"""First bytes of files that are no JSON lines, and the message for each."""


def read_text_file(path: Path) -> bytes:
    """Read a text file whole, without a byte order mark.

    Raises:
        LanternError: it cannot be read, or is a file of another kind; the message says which.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise LanternError(f"cannot read '{path}': {error.strerror or error}") from None
    for mark, message in _MARKS:
        if data.startswith(mark):
            raise LanternError(f"cannot read '{path}': {message}")
    start = data[:400].lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        raise LanternError(f"cannot read '{path}': it is a web page (HTML) and not the data")
    if b"\x00" in data[:400]:
        wide = max(data[:400:2].count(0), data[1:400:2].count(0)) > len(data[:400]) / 3
        kind = "its encoding is UTF-16; save it as UTF-8" if wide else "it is a binary file"
        raise LanternError(f"cannot read '{path}': {kind}")
    return data.removeprefix(b"\xef\xbb\xbf")


def json_values(path: Path) -> Iterator[tuple[str, int, Any]]:
    """Read the values of a JSON lines file, or the elements of a JSON list.

    Args:
        path: The file, UTF-8. Empty lines are passed over.

    Yields:
        "line" (or "element" of a list), its number from 1, and the value; a `LanternError` in its
        stead where a line is no JSON.

    Raises:
        LanternError: the file cannot be read or is of another kind.
    """
    data = read_text_file(path)
    if data.lstrip().startswith(b"["):
        try:
            whole = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError):
            whole = None  # its lines say what is wrong
        if isinstance(whole, list) and (not whole or isinstance(whole[0], dict)):
            yield from (("element", number, value) for number, value in enumerate(whole, start=1))
            return
    lines = [(n, raw) for n, raw in enumerate(data.split(b"\n"), start=1) if raw.strip()]
    if len(lines) > 1 and lines[0][1].strip() in (b"{", b"["):
        raise LanternError(
            f"'{path}' is one JSON value over several lines; JSON lines have one object a line"
        )
    for number, raw in lines:
        try:
            yield "line", number, json.loads(raw.decode("utf-8"))
        except UnicodeDecodeError as error:
            fault = f"not UTF-8 (byte {error.start} is 0x{raw[error.start]:02x})"
            fault += "; if the file is Latin-1 or of another encoding, save it as UTF-8"
            yield "line", number, LanternError(fault)
        except (ValueError, RecursionError) as error:
            yield "line", number, LanternError(f"not valid JSON ({error})")
