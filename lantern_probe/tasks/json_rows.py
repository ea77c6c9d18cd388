"""Lines of JSON, each read for itself: one that cannot be read does not spoil the others."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, get_args

from lantern_probe.errors import LanternError
from lantern_probe.tasks.file_kinds import file_kind, json_kind

Malformed = Literal["raise", "skip"]
"""Treatment of a line that cannot be used: `raise` stops at it, `skip` leaves it out."""

WAY_OUT = "malformed='skip' (--malformed skip) leaves such lines out and counts them"

_BOM = b"\xef\xbb\xbf"
_log = logging.getLogger(__name__)


@dataclass
class LeftOut:
    """The lines of a file that cannot be used: refused, or left out and counted.

    Attributes:
        place: Name of the file.
        malformed: Treatment of such lines.
        unit: Word for a line in messages, default `line`.
        numbers: Numbers of the lines left out so far.
    """

    place: str
    malformed: Malformed
    unit: str = "line"
    numbers: list[int] = field(default_factory=list)
    _first: str = ""

    def __post_init__(self) -> None:
        if self.malformed not in get_args(Malformed):
            raise LanternError(f"malformed is 'raise' or 'skip', not {self.malformed!r}")

    def add(self, number: int, error: LanternError) -> None:
        """Refuse a line, or leave it out.

        Raises:
            LanternError: such lines are refused; it names the line and the way out.
        """
        if self.malformed == "raise":
            where = "" if str(error).startswith(self.place) else self._where(number)
            raise LanternError(f"{where}{error}; {WAY_OUT}") from None
        self._first = self._first or str(error).removeprefix(self._where(number))
        self.numbers.append(number)

    def _where(self, number: int) -> str:
        return f"{self.place}, {self.unit} {number}: "

    def report(self) -> None:
        """Say how many lines were left out, and why the first one was."""
        if self.numbers:
            _log.warning(
                "%s: %ss left out that cannot be used: %d (the first: %s %d: %s)",
                self.place, self.unit, len(self.numbers), self.unit, self.numbers[0], self._first,
            )  # fmt: skip


def read_json_file(path: Path) -> bytes:
    """Read a file that is to hold JSON, without its byte order mark.

    Raises:
        LanternError: it cannot be read, or is of another kind; the message says of which.
    """
    if path.is_dir():
        raise LanternError(f"cannot read '{path}': it is a folder; give the file of JSON in it")
    try:
        data = path.read_bytes()
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or error
        raise LanternError(f"cannot read '{path}': {reason}") from None
    kind = file_kind(data)
    if kind is not None:
        none = "no rows in it, so there are no samples: " if kind == "empty" else ""
        raise LanternError(f"{path}: {none}the file is {kind}")
    return data.removeprefix(_BOM)


def read_lines(path: Path) -> list[tuple[int, bytes]]:
    """Read the lines of a JSON lines file with their numbers; empty ones are passed over.

    Raises:
        LanternError: the file cannot be read, or is of another kind.
    """
    data = read_json_file(path)
    kind = json_kind(data)
    if kind is not None:
        raise LanternError(f"{path}: the file is {kind}")
    end = b"\n" if b"\n" in data else b"\r"
    lines = enumerate(data.split(end), start=1)
    return [(number, raw) for number, raw in lines if raw.removeprefix(_BOM).strip()]


def parse_object(raw: bytes) -> dict[str, Any]:
    """The object in one line.

    Raises:
        LanternError: the line is not UTF-8, not JSON, or holds something else.
    """
    try:
        value = json.loads(raw.removeprefix(_BOM).decode("utf-8"))
    except UnicodeDecodeError as error:
        raise LanternError(
            f"not valid JSON: no UTF-8 at byte {error.start + 1} (0x{raw[error.start]:02x}), "
            "perhaps Latin-1; save the file as UTF-8"
        ) from None
    except (ValueError, RecursionError) as error:
        raise LanternError(f"not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise LanternError(
            f"a {type(value).__name__} where an object is needed; JSON lines have one object a line"
        )
    return value


def read_objects(path: Path, left_out: LeftOut) -> Iterator[tuple[int, dict[str, Any]]]:
    """The objects of a JSON lines file with the numbers of their lines.

    Args:
        path: The file.
        left_out: Takes the lines that hold no object.

    Raises:
        LanternError: the file cannot be read, is of another kind, or a line is refused.
    """
    for number, raw in read_lines(path):
        try:
            found = parse_object(raw)
        except LanternError as error:
            left_out.add(number, error)
        else:
            yield number, found


def valid_text(text: str) -> str:
    r"""The text with lone surrogates written out (`caf\udce9`), so that any file can hold it.

    Args:
        text: Any text; valid Unicode comes back as it is.
    """
    return text.encode("utf-8", "backslashreplace").decode("utf-8")
