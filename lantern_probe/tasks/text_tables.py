"""Tables in text files: CSV and TSV with quoted cells, in UTF-8 or with a byte order mark."""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.tasks.fields import Entry, Skipped, passing
from lantern_probe.tasks.files import read_text_file

_DELIMITERS = (",", "\t", ";", "|")

_LONGEST = 2**31 - 1
"""Most characters of a cell: an image in base64 has more than the 128 KB that `csv` allows."""

_MISSING = {"", "nan", "<na>"}
"""Cells that say that there is no value, in small letters, as pandas writes them."""

_WHOLE = re.compile(r"-?(?:0|[1-9]\d{0,17})")

_REAL = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][-+]?\d+)?")


def delimited_rows(path: Path, skipped: Skipped | None) -> tuple[tuple[str, ...], list[Entry]]:
    """Read the columns and rows of a CSV or TSV file, whose first line names the columns.

    Cells are texts as written; an empty one, or one that says `nan`, is None. Cells may be quoted
    by `"`, and then hold delimiters, line breaks and doubled quotes.

    Args:
        path: The file. A name that ends in `.tsv` has tabs; else the delimiter is the one of comma,
            tab, semicolon and bar by which the first line is parted most.
        skipped: Takes the rows that cannot be used; None to stop at the first.

    Raises:
        LanternError: the file cannot be read, its names of columns are not clear, a quote is never
            closed, or a row has more or fewer cells than there are columns.
    """
    text = _decoded(path)
    reader = csv.reader(
        io.StringIO(text, newline=""), delimiter=_delimiter(path, text), strict=True
    )
    rows: list[Entry] = []
    columns: tuple[str, ...] = ()
    with _long_cells():
        for line, cells in _records(reader, path, len(text.splitlines())):
            if isinstance(cells, LanternError):
                with passing(skipped):
                    raise cells
            elif not columns:
                columns = _names(cells, path)
            elif any(cells):
                with passing(skipped):
                    rows.append(_row(path, line, columns, cells, len(rows) + 1))
    return columns, rows


def _decoded(path: Path) -> str:
    data = read_text_file(path, wide=True)
    data = data.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        line = data[: error.start].count(b"\n") + 1
        raise LanternError(
            f"'{path}', line {line}: not UTF-8 (byte 0x{data[error.start]:02x}); if the file is "
            "Latin-1 or of another encoding, save it as UTF-8"
        ) from None


def _delimiter(path: Path, text: str) -> str:
    if path.suffix.lower() in (".tsv", ".tab"):
        return "\t"
    first = re.sub(r'"[^"]*"', "", next((line for line in text.splitlines() if line.strip()), ""))
    counts = Counter(char for char in first if char in _DELIMITERS)
    return max(_DELIMITERS, key=lambda char: counts[char])


@contextmanager
def _long_cells() -> Iterator[None]:
    before = csv.field_size_limit(_LONGEST)
    try:
        yield
    finally:
        csv.field_size_limit(before)


def _records(reader: Any, path: Path, lines: int) -> Iterator[tuple[int, list[str] | LanternError]]:
    """The first line of every record, and its cells or what is wrong with it."""
    while True:
        line = reader.line_num + 1
        try:
            cells = next(reader)
        except StopIteration:
            return
        except csv.Error as error:
            if reader.line_num >= lines and "end of data" in str(error):
                raise LanternError(
                    f"'{path}', line {line}: a quote is opened and never closed; quotes inside a "
                    'quoted cell are doubled ("")'
                ) from None
            yield (
                line,
                LanternError(
                    f"{path}, line {line}: {error}; a quoted cell ends at the delimiter, quotes "
                    'inside it are doubled ("")'
                ),
            )
            continue
        yield line, cells


def _names(cells: Sequence[str], path: Path) -> tuple[str, ...]:
    names = [cell.strip() or f"column {number}" for number, cell in enumerate(cells, start=1)]
    for name, count in Counter(names).items():
        if count > 1:
            raise LanternError(f"'{path}' has {count} columns {name!r}; name each differently")
    return tuple(names)


def _row(path: Path, line: int, columns: Sequence[str], cells: list[str], number: int) -> Entry:
    where = f"{path}, line {line}"
    extra = cells[len(columns) :]
    if len(cells) < len(columns) or any(cell.strip() for cell in extra):
        raise LanternError(
            f"{where}: {len(cells)} cells for {len(columns)} columns; a cell with the delimiter or "
            'a line break in it is quoted ("...")'
        )
    values = [None if cell.strip().lower() in _MISSING else cell for cell in cells]
    return Entry(where, dict(zip(columns, values, strict=False)), number)


def typed_column(values: Sequence[Any]) -> list[Any]:
    """The cells of a text column as numbers, if all of them are; else as they are.

    Args:
        values: Texts; None for an empty cell.
    """
    texts = [value for value in values if value is not None]
    if not texts or not all(isinstance(text, str) for text in texts):
        return list(values)
    for form, kind in ((_WHOLE, int), (_REAL, float)):
        if all(form.fullmatch(text) for text in texts):
            return [None if value is None else kind(value) for value in values]
    return list(values)
