"""Kinds of files that are given by mistake, and how to make them what is needed."""

from __future__ import annotations

import json
import re

_STARTS = (
    (b"version https://git-lfs", "a Git LFS pointer, not the file itself; run: git lfs pull"),
    (b"PAR1", "a Parquet file; export it as UTF-8 JSON lines, one object a line"),
    (b"ARROW1", "an Arrow file; export it as UTF-8 JSON lines, one object a line"),
    (b"\x1f\x8b", "compressed with gzip; unpack it (gunzip)"),
    (b"BZh", "compressed with bzip2; unpack it (bunzip2)"),
    (b"\xfd7zXZ\x00", "compressed with xz; unpack it (unxz)"),
    (b"\x28\xb5\x2f\xfd", "compressed with zstd; unpack it (unzstd)"),
    (b"\x04\x22\x4d\x18", "compressed with lz4; unpack it (unlz4)"),
    (b"7z\xbc\xaf\x27\x1c", "a 7z archive; unpack it"),
    (b"PK\x03\x04", "a zip archive; unpack it (unzip)"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"Rar!", "a rar archive; unpack it"),
    (b"\xff\xfe\x00\x00", "UTF-32 text; save it as UTF-8"),
    (b"\x00\x00\xfe\xff", "UTF-32 text; save it as UTF-8"),
    (b"\xff\xfe", "UTF-16 text; save it as UTF-8"),
    (b"\xfe\xff", "UTF-16 text; save it as UTF-8"),
    (b"\x89PNG", "an image; give the file that names the images"),
    (b"\xff\xd8\xff", "an image; give the file that names the images"),
    (b"GIF8", "an image; give the file that names the images"),
    (b"%PDF", "a PDF"),
    (b"SQLite format 3", "an SQLite database; export it as JSON lines"),
    (b"\x89HDF", "an HDF5 file; export it as JSON lines"),
    (b"\x93NUMPY", "a numpy file; export it as JSON lines"),
    (b"\x80\x02", "a pickle, which is never read; export it as JSON lines"),
    (b"\x80\x03", "a pickle, which is never read; export it as JSON lines"),
    (b"\x80\x04", "a pickle, which is never read; export it as JSON lines"),
    (b"\x80\x05", "a pickle, which is never read; export it as JSON lines"),
)

_BOM = b"\xef\xbb\xbf"


def file_kind(head: bytes) -> str | None:
    """The kind of a file that is no JSON text, with the way out; None for one that may be JSON.

    Args:
        head: The file, or its first bytes.
    """
    for start, kind in _STARTS:
        if head.startswith(start):
            return kind
    if head[257:262] == b"ustar":
        return "a tar archive; unpack it"
    text = head[:4096].removeprefix(_BOM).lstrip()
    if not text.strip(b"\0"):
        return "nothing but zero bytes; copy or download it again" if text else "empty"
    if re.match(rb"<(!doctype|html|head|body)", text, re.IGNORECASE):
        return "a web page (HTML), not the file; download it again"
    if text.startswith(b"<"):
        return "XML or HTML; export it as JSON lines, one object a line"
    if b"\0" in text:
        sparse = text[:64]
        if sparse.count(b"\0") >= len(sparse) // 2 - 1:
            wide = 32 if sparse.count(b"\0") > 0.6 * len(sparse) else 16
            return f"UTF-{wide} text without a mark; save it as UTF-8"
        return "binary data, not text"
    return None


def json_kind(data: bytes) -> str | None:
    """The kind of a text that is no JSON lines, with the way out; None if it looks like JSON lines.

    Args:
        data: The whole file, of no kind that `file_kind` knows.
    """
    text = data.removeprefix(_BOM).strip()
    first = text.split(b"\n", 1)[0].strip()
    if text.startswith(b"["):
        return _whole(text, list, "a JSON list; write one object a line (jq -c '.[]' FILE)")
    if text.startswith(b"{") and not _is_object(first):
        return _whole(text, dict, "one JSON object over several lines; write one object a line")
    objects = any(line.lstrip().startswith(b"{") for line in text.split(b"\n", 20))
    if not objects and re.search(rb"\w[\"']?\s*[,;\t|]\s*[\"']?\w", first):
        return "a table (CSV or TSV); export it as JSON lines, one object a line"
    return None


def _whole(text: bytes, kind: type, said: str) -> str | None:
    """The text's kind if it is one JSON value; several lines of such values are JSON lines."""
    try:
        value = json.loads(text.decode("utf-8", "replace"))
    except (ValueError, RecursionError):
        # Cut off, perhaps: its first line alone tells.
        first, _, rest = text.partition(b"\n")
        return said if rest and first.strip() in (b"[", b"{") else None
    if kind is list and not any(isinstance(item, dict) for item in value):
        return None  # a line that holds something else, and is refused as such
    return said


def _is_object(line: bytes) -> bool:
    try:
        return isinstance(json.loads(line.decode("utf-8", "replace")), dict)
    except (ValueError, RecursionError):
        return False
