"""Text files of questions: which kind of file it is, and its JSON objects one by one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError

BOM = b"\xef\xbb\xbf"
"""Byte order mark of UTF-8, which some programs put before a text."""

_MARKS = (
    (b"\x1f\x8b", "it is compressed with gzip; unpack it first (gunzip)"),
    (b"PK\x03\x04", "it is a zip archive; unpack it first"),
    (b"\x28\xb5\x2f\xfd", "it is compressed with zstd; unpack it first"),
    (b"7z\xbc\xaf\x27\x1c", "it is a 7z archive; unpack it first"),
    (b"\x04\x22\x4d\x18", "it is compressed with lz4; unpack it first"),
    (b"ARROW1", "it is an Arrow file; export it as JSON lines"),
    (b"\x80\x04", "it is a pickle, which is never read; export it as JSON lines"),
    (b"BZh", "it is compressed with bzip2; unpack it first"),
    (b"\xfd7zXZ", "it is compressed with xz; unpack it first"),
    (
        b"PAR1",
        "it is a Parquet file; name it .parquet, or give the folder of the benchmark it is of",
    ),
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


def read_text_file(path: Path, *, wide: bool = False) -> bytes:
    """Read a text file whole, as UTF-8 without a byte order mark.

    Args:
        path: The file.
        wide: True to read UTF-16 too where a byte order mark says it; default False.

    Raises:
        LanternError: it cannot be read, or is a file of another kind; the message says which.
    """
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LanternError(f"cannot read '{path}': {reason}") from None
    if wide and data.startswith((b"\xff\xfe", b"\xfe\xff")) and data[2:4] != b"\x00\x00":
        try:
            data = data.decode("utf-16").encode()
        except UnicodeError as error:
            raise LanternError(f"cannot read '{path}': no valid UTF-16 ({error})") from None
    kind = kind_of(data)
    if kind is not None:
        raise LanternError(f"cannot read '{path}': {kind}")
    return data.removeprefix(BOM)


def kind_of(data: bytes) -> str | None:
    """The kind of a file that is no JSON text, and the way out; None for one that may be JSON.

    Args:
        data: The file, or its first bytes.
    """
    for mark, message in _MARKS:
        if data.startswith(mark):
            return message
    head = data[:400]
    start = head.removeprefix(BOM).lstrip().lower()
    if start.startswith((b"<!doctype", b"<html", b"<?xml")):
        return "it is a web page (HTML) and not the data"
    if b"\x00" not in head:
        return None
    if not head.strip(b"\x00"):
        return "it holds nothing but zero bytes; copy or download it again"
    if data[257:262] == b"ustar":
        return "it is a tar archive; unpack it first"
    if max(head[::2].count(0), head[1::2].count(0)) > len(head) / 3:
        wide = 32 if head.count(0) > 0.6 * len(head) else 16
        return f"its encoding is UTF-{wide}; save it as UTF-8"
    return "it is a binary file"


def is_table(data: bytes) -> bool:
    """True for a table with commas or tabs: a first line of names, and no line with an object.

    Args:
        data: Content of a text file.
    """
    lines = [line.strip() for line in data.split(b"\n", 50) if line.strip()]
    names = re.split(rb"[,;\t|]", lines[0]) if lines else []
    return len(names) > 1 and not any(line.startswith((b"{", b"[", b'"{')) for line in lines)


def json_values(path: Path, *, wide: bool = False) -> Iterator[tuple[str, int, Any]]:
    """Read the values of a JSON lines file, or the elements of a JSON list.

    Args:
        path: The file, UTF-8. Empty lines are passed over.
        wide: True to read UTF-16 too where a byte order mark says it; default False.

    Yields:
        "line" (or "element" of a list), its number from 1, and the value; a `LanternError` in its
        stead where a line is no JSON.

    Raises:
        LanternError: the file cannot be read or is of another kind.
    """
    data = read_text_file(path, wide=wide)
    if data.lstrip().startswith(b"["):
        try:
            whole = json.loads(data.decode("utf-8"))
        except (ValueError, RecursionError):
            whole = None  # its lines say what is wrong
        if isinstance(whole, list) and (not whole or isinstance(whole[0], dict)):
            yield from (("element", number, value) for number, value in enumerate(whole, start=1))
            return
    if is_table(data):
        raise LanternError(
            f"'{path}' is a table (CSV or TSV); name it .csv or .tsv, or export it as JSON lines, "
            "one object a line"
        )
    end = b"\n" if b"\n" in data else b"\r"
    parts = enumerate((raw.removeprefix(BOM) for raw in data.split(end)), start=1)
    lines = [(n, raw) for n, raw in parts if raw.strip()]
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


def valid_text(text: str) -> str:
    r"""The text with half characters written out (`caf\udce9`), so that any file can hold it.

    Args:
        text: Any text; valid Unicode comes back as it is.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
