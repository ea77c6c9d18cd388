"""Rows of a published data set with checked fields: from JSON, Parquet or the Hub.

The Hub needs the package `datasets` (the extra `datasets` of this package), and Parquet files need
`pyarrow`, which comes with it. Both are imported when needed. The Hub is asked only if a caller
names a repository.
"""

from __future__ import annotations

import importlib
import io
import json
import logging
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.files import json_values, kind_of, read_text_file
from lantern_probe.tasks.images import ImageSource, upright

_log = logging.getLogger(__name__)

_LETTER = re.compile(r"\s*\(?([A-Za-z])\)?\s*")


@dataclass(frozen=True)
class Entry:
    """One row of a data set.

    Attributes:
        where: File and line, or repository and row; every error about the row begins with it.
        fields: Values by name.
        number: Number of the line or row; default 0.
    """

    where: str
    fields: Mapping[str, Any]
    number: int = 0

    def error(self, message: str) -> LanternError:
        """Make an error about this row, to be raised."""
        return LanternError(f"{self.where}: {message}")

    def field(self, name: str) -> Any:
        """Value of a field.

        Raises:
            LanternError: the field is missing.
        """
        if name not in self.fields:
            raise self.error(f"the field '{name}' is missing")
        return self.fields[name]

    def text(self, name: str) -> str:
        """Value of a field that must be a text with more than spaces.

        Raises:
            LanternError: the field is missing or holds something else.
        """
        value = self.field(name)
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"the field '{name}' must be a text, not {value!r:.80}")
        return value

    def texts(self, name: str, at_least: int) -> tuple[str, ...]:
        """Value of a field that must be a list of `at_least` to 26 texts, each stripped of spaces.

        Raises:
            LanternError: the field is missing or holds something else.
        """
        value = self.field(name)
        if (
            not isinstance(value, list)
            or not at_least <= len(value) <= 26
            or not all(isinstance(text, str) and text.strip() for text in value)
        ):
            raise self.error(
                f"the field '{name}' must be a list of {at_least} to 26 texts, not {value!r:.80}"
            )
        return tuple(text.strip() for text in value)

    def letter(self, name: str, candidates: str) -> str:
        """Capital letter of a field written as "B", "(B)", "b" or "(b)".

        Raises:
            LanternError: the field is missing, or holds none of the candidates.
        """
        match = _LETTER.fullmatch(self.text(name))
        letter = match.group(1).upper() if match else ""
        if not letter or letter not in candidates:
            raise self.error(
                f"the field '{name}' must be one of the letters {candidates}, "
                f"not {self.fields[name]!r:.80}"
            )
        return letter

    def image(self, name: str, folder: Path | None) -> ImageSource:
        """Image of a field: a path in the folder, or the undecoded image of a `datasets` row.

        An image of a `datasets` row is turned upright as its EXIF orientation says, as that package
        does for the official evaluation.

        A file that is missing or no image raises when its sample is opened.

        Raises:
            LanternError: the field is missing, or is a path although there is no folder.
        """
        value = self.field(name)
        if isinstance(value, Mapping):
            data, path = value.get("bytes"), value.get("path")
            try:
                if data is None and path:
                    with Image.open(path) as file:
                        turned = upright(file)
                        return Path(path) if turned is file else turned
                return upright(Image.open(io.BytesIO(data or b"")))
            except (OSError, SyntaxError, ValueError, TypeError, Image.DecompressionBombError):
                # No such file, so that opening it names the place.
                return Path(path) if data is None and path else f"{self.where}, {name}"
        path = self.text(name)
        if folder is None:
            raise self.error(
                f"the field '{name}' is the path {path!r:.80} and holds no image; download the "
                "repository and give its folder"
            )
        return path if "://" in path else folder / path


def json_object(path: Path) -> Entry:
    """Read the object in a JSON file.

    Raises:
        LanternError: the file cannot be read, or holds something else.
    """
    try:
        value = json.loads(read_text_file(path).decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise LanternError(f"{path}: not valid JSON ({error})") from None
    return _object(str(path), value)


def json_lines(path: Path, skipped: Skipped | None = None, *, wide: bool = False) -> list[Entry]:
    """Read the objects of a JSON lines file, or of a JSON list; empty lines are passed over.

    Args:
        path: The file.
        skipped: Takes the lines that hold something else; None (default) to stop at the first.
        wide: True to read UTF-16 too where a byte order mark says it; default False.

    Raises:
        LanternError: the file cannot be read, a line holds something else, or there is no object.
    """
    rows = []
    for kind, number, value in json_values(path, wide=wide):
        with passing(skipped):
            rows.append(replace(_object(f"{path}, {kind} {number}", value), number=number))
    return _some(rows, str(path))


class Skipped:
    """Rows of a file that are left out because they cannot be used, counted.

    Attributes:
        messages: One message for each row left out.
    """

    def __init__(self) -> None:
        self.messages: list[str] = []

    def say(self, where: str) -> None:
        """Log how many rows were left out, and why the first.

        Args:
            where: Name of the file.
        """
        if self.messages:
            _log.warning(
                "%s: left out %d rows that cannot be used; the first: %s",
                where, len(self.messages), self.messages[0],
            )  # fmt: skip


@contextmanager
def passing(skipped: Skipped | None) -> Iterator[None]:
    """Pass over a row that cannot be used, and count it.

    Args:
        skipped: Takes the message of the row; None to raise it.

    Raises:
        LanternError: the row cannot be used, and rows are not to be skipped.
    """
    try:
        yield
    except LanternError as error:
        if skipped is None:
            raise LanternError(
                f"{error}; malformed='skip' (--malformed skip) leaves such rows out and counts them"
            ) from None
        skipped.messages.append(str(error))


def parquet_rows(path: Path) -> list[Entry]:
    """Read the rows of a Parquet file, leaving images undecoded.

    Raises:
        LanternError: `pyarrow` is not installed or cannot read the file, or there is no row.
    """
    parquet = extra_package("pyarrow.parquet", f"'{path}'")
    try:
        table = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are among these
        raise LanternError(f"cannot read '{path}': {error}{_other_kind(path)}") from error
    return _numbered(table, str(path))


def _other_kind(path: Path) -> str:
    """The kind of a file that is no Parquet file, as far as its first bytes say."""
    try:
        with path.open("rb") as file:
            head = file.read(400)
    except OSError:
        return ""
    if head.startswith(b"PAR1"):
        return "; it begins as a Parquet file and was cut off: copy or download it again"
    return f"; {kind_of(head) or 'it is a text and no Parquet file; name JSON lines .jsonl'}"


def hub_rows(repository: str, config: str | None, split: str) -> list[Entry]:
    """Read the rows of a data set on the Hub, leaving images undecoded; may use the network.

    Args:
        repository: Repository of the data set, OWNER/NAME.
        config: Configuration of the data set; None for its only one.
        split: Name of the split.

    Raises:
        LanternError: `datasets` is not installed or cannot load the data set, or there is no row.
    """
    datasets = extra_package("datasets", f"{repository!r} from the Hub")
    where = " ".join([repository, *([config] if config else []), split])
    try:
        table = datasets.load_dataset(repository, config, split=split)
    except Exception as error:  # it raises its own, the Hub's and the network's
        raise LanternError(
            f"cannot load {where} from the Hub: {error}; download it and give its folder"
        ) from error
    for name, feature in table.features.items():
        if isinstance(feature, datasets.Image):
            table = table.cast_column(name, datasets.Image(decode=False))
    return _numbered(table, where)


def extra_package(module: str, what: str) -> ModuleType:
    """Import a package of the extra `datasets`.

    Args:
        module: Name of the module.
        what: Name of the file or data that need it, for the message.

    Raises:
        LanternError: it is not installed.
    """
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise LanternError(
            f"reading {what} needs the package {module.split('.')[0]}: "
            "pip install 'lantern-probe[datasets]'; or give a folder of JSON lines and image files"
        ) from error


def _numbered(table: Iterable[Mapping[str, Any]], where: str) -> list[Entry]:
    return _some([Entry(f"{where}, row {number}", row) for number, row in enumerate(table)], where)


def _some(rows: list[Entry], where: str) -> list[Entry]:
    if not rows:
        raise LanternError(f"{where}: no rows in it, it is empty")
    return rows


def _object(where: str, value: Any) -> Entry:
    if isinstance(value, LanternError):
        raise LanternError(f"{where}: {value}")
    if not isinstance(value, dict):
        raise LanternError(
            f"{where}: a {type(value).__name__} where an object is needed; JSON lines have one "
            "object a line"
        )
    return Entry(where, value)
