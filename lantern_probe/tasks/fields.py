"""Rows of a published data set: JSON lines, a JSON or Parquet file, or the Hub; fields checked.

The Hub needs the package `datasets`, an extra of this one, and Parquet files need `pyarrow`, which
comes with it. They are imported when needed, and the Hub is asked only where a caller names a
repository.
"""

from __future__ import annotations

import importlib
import io
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from PIL import Image

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import ImageSource

_LETTER = re.compile(r"\s*\(?([A-Za-z])\)?\s*")


@dataclass(frozen=True)
class Entry:
    """One row and where it stands, which every error about it begins with."""

    where: str
    fields: Mapping[str, Any]

    def error(self, message: str) -> LanternError:
        """An error about this row, to be raised."""
        return LanternError(f"{self.where}: {message}")

    def field(self, name: str) -> Any:
        """The value of a field that must be there.

        Raises:
            LanternError: it is not; so do the methods below, or the value is of another kind.
        """
        if name not in self.fields:
            raise self.error(f"the field '{name}' is missing")
        return self.fields[name]

    def text(self, name: str) -> str:
        """A text that says something."""
        value = self.field(name)
        if not isinstance(value, str) or not value.strip():
            raise self.error(f"the field '{name}' must be a text, not {value!r:.80}")
        return value

    def texts(self, name: str, at_least: int) -> tuple[str, ...]:
        """A list of so many texts, 26 at most."""
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
        """One of the letters, given as "B", "(B)" or in small."""
        match = _LETTER.fullmatch(self.text(name))
        letter = match.group(1).upper() if match else ""
        if not letter or letter not in candidates:
            raise self.error(
                f"the field '{name}' must be one of the letters {candidates}, "
                f"not {self.fields[name]!r:.80}"
            )
        return letter

    def image(self, name: str, folder: Path | None) -> ImageSource:
        """An image: a path in the folder, or what `datasets` hands out undecoded.

        A file that is not there, or is no image, fails when its sample is opened.
        """
        value = self.field(name)
        if isinstance(value, Mapping):
            data, path = value.get("bytes"), value.get("path")
            if data is None and path:
                return Path(path)
            try:
                return Image.open(io.BytesIO(data or b""))
            except (OSError, SyntaxError, ValueError, Image.DecompressionBombError):
                return f"{self.where}, {name}"  # no such file, so that opening it names the place
        path = self.text(name)
        if folder is None:
            raise self.error(
                f"the field '{name}' is the path {path!r:.80} and holds no image; download the "
                "repository and give its folder"
            )
        return path if "://" in path else folder / path


def json_object(path: Path) -> Entry:
    """The object a JSON file holds.

    Raises:
        LanternError: the file cannot be read, or holds something else.
    """
    return _row(str(path), _bytes(path))


def json_lines(path: Path) -> list[Entry]:
    """The objects of a JSON lines file; empty lines are passed over.

    Raises:
        LanternError: the file cannot be read, a line holds something else, or there is none.
    """
    lines = enumerate(_bytes(path).split(b"\n"), start=1)
    rows = [_row(f"{path}, line {number}", raw) for number, raw in lines if raw.strip()]
    return _some(rows, str(path))


def parquet_rows(path: Path) -> list[Entry]:
    """The rows of a Parquet file, images undecoded.

    Raises:
        LanternError: `pyarrow` is not installed, or cannot read the file.
    """
    parquet = _extra("pyarrow.parquet", f"'{path}'")
    try:
        table = parquet.read_table(path).to_pylist()
    except (OSError, ValueError) as error:  # pyarrow's own errors are among these
        raise LanternError(f"cannot read '{path}': {error}") from error
    return _numbered(table, str(path))


def hub_rows(repository: str, config: str | None, split: str) -> list[Entry]:
    """The rows of a split of a data set on the Hub, images undecoded; may use the network.

    Raises:
        LanternError: `datasets` is not installed, or cannot load the data set.
    """
    datasets = _extra("datasets", f"{repository!r} from the Hub")
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


def _extra(module: str, what: str) -> ModuleType:
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
        raise LanternError(f"{where}: no rows in it")
    return rows


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes().removeprefix(b"\xef\xbb\xbf")
    except OSError as error:
        raise LanternError(f"cannot read '{path}': {error.strerror or error}") from None


def _row(where: str, raw: bytes) -> Entry:
    try:
        value = json.loads(raw.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise LanternError(f"{where}: not valid JSON ({error})") from None
    if not isinstance(value, dict):
        raise LanternError(f"{where}: a {type(value).__name__} where an object is needed")
    return Entry(where, value)
