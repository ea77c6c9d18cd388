"""Rows of a table, whatever holds it: JSON, CSV, TSV, Parquet, a `datasets` folder, or memory.

Parquet files and `datasets` folders are read by `pyarrow`, which the extra `datasets` of this
package brings; images in them stay encoded. Nothing is downloaded.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.tasks.fields import Entry, Skipped, extra_package, json_lines, json_object
from lantern_probe.tasks.files import is_table
from lantern_probe.tasks.text_tables import delimited_rows

_DELIMITED = (".csv", ".tsv", ".tab")
_JSON = (".jsonl", ".json", ".ndjson")
_KINDS = (*_JSON, *_DELIMITED, ".parquet")

_METADATA = ("metadata.jsonl", "metadata.csv", "metadata.parquet")
"""Files beside the images of an image folder of `datasets`."""

_STATE, _SPLITS, _FEATURES = "state.json", "dataset_dict.json", "dataset_info.json"


@dataclass(frozen=True)
class Table:
    """Rows with named columns.

    Attributes:
        where: Name of the file, the folder or the object, for messages.
        columns: Names of the columns, in order.
        rows: The rows that can be read.
        folder: Folder to which image paths are relative; None for a table in memory.
        texts: True if all cells are texts, so that numbers are to be recognised.
    """

    where: str
    columns: tuple[str, ...]
    rows: list[Entry]
    folder: Path | None = None
    texts: bool = False


def read_table(source: Any, split: str | None = None, skipped: Skipped | None = None) -> Table:
    """Read the rows of a table.

    Args:
        source: Path of a file (JSON lines, a JSON list, CSV, TSV, Parquet) or of a folder (saved by
            `datasets`, images beside a `metadata` file, Parquet files, or one file with a table);
            or a `datasets` data set, a pandas frame, an Arrow table, or a list of mappings.
        split: Name of the split; None (default) for the only one.
        skipped: Takes the rows that cannot be read; None (default) to stop at the first.

    Raises:
        LanternError: there is no such file, it is of another kind or damaged, it has no rows, or it
            has several splits and none is chosen.
    """
    if isinstance(source, str | PathLike):
        path = Path(source)
        if not path.exists():
            raise LanternError(f"there is no file or folder '{path}'")
        if split is not None and not path.is_dir():
            raise LanternError(f"'{path}' is a file, and only folders have splits (--split)")
        table = _folder(path, split, skipped) if path.is_dir() else _file(path, skipped)
    else:
        table = _in_memory(source, split)
    if not table.rows:
        raise LanternError(f"{table.where}: no rows in it, it is empty")
    return table


def _file(path: Path, skipped: Skipped | None) -> Table:
    suffix = path.suffix.lower()
    try:
        with path.open("rb") as file:
            head = file.read(4000)
    except OSError as error:
        raise LanternError(f"cannot read '{path}': {error.strerror or error}") from None
    if suffix == ".parquet" or head.startswith(b"PAR1"):
        return _parquet([path], str(path), path.parent)
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip()[:1]
    delimited = suffix in _DELIMITED and start not in (b"{", b"[")
    if delimited or (suffix not in _JSON and start and is_table(head)):
        columns, rows = delimited_rows(path, skipped)
        return Table(str(path), columns, rows, path.parent, texts=True)
    rows = json_lines(path, skipped, wide=True)
    return Table(str(path), _columns(rows), rows, path.parent)


def _columns(rows: Iterable[Entry]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(str(name) for row in rows for name in row.fields))


# -- folders -------------------------------------------------------------------------------------


def _folder(folder: Path, split: str | None, skipped: Skipped | None) -> Table:
    if (folder / _SPLITS).is_file():
        names = json_object(folder / _SPLITS).field("splits")
        chosen = _one_split([str(name) for name in names], split, str(folder))
        return _saved(folder / chosen)
    if (folder / _STATE).is_file():
        return _saved(folder)
    files = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _KINDS]
    named = [path for path in files if path.name in _METADATA]
    inner = {
        path.name: path / name
        for path in sorted(folder.iterdir())
        for name in _METADATA
        if (path / name).is_file()
    }
    if not named and inner:
        return _file(inner[_one_split(list(inner), split, str(folder))], skipped)
    shards = [path for path in files if path.suffix == ".parquet" and path.name not in _METADATA]
    shards = shards or sorted(folder.glob("data/*.parquet"))
    if not named and shards and len(shards) >= len(files):
        splits: dict[str, list[Path]] = {}
        for path in shards:
            splits.setdefault(path.stem.split("-")[0], []).append(path)
        return _parquet(splits[_one_split(list(splits), split, str(folder))], str(folder), folder)
    files = named or files
    if len(files) == 1:
        return _file(files[0], skipped)
    found = ", ".join(path.name for path in files[:5]) or "no file of these kinds"
    raise LanternError(
        f"'{folder}' is no data set saved by `datasets`, no copy of BLINK or V*, and has no single "
        f"table ({', '.join(_KINDS)}), but {found}; give the file itself"
    )


def _one_split(names: Sequence[str], split: str | None, where: str) -> str:
    if split is None and len(names) == 1:
        return names[0]
    if split is None or split not in names:
        asked = "it is not said which" if split is None else f"there is no {split!r}"
        raise LanternError(f"{where} has the splits {', '.join(names)}, and {asked} (--split)")
    return split


def _saved(folder: Path) -> Table:
    """A data set that `datasets` has saved: Arrow streams, listed in a file of their state."""
    arrow = extra_package("pyarrow", f"'{folder}'")
    state = json_object(folder / _STATE)
    if state.fields.get("_indices_files"):
        raise LanternError(f"'{folder}' is a selection that was not written out; save it again")
    files = [folder / str(part["filename"]) for part in state.field("_data_files")]
    features = json_object(folder / _FEATURES).fields.get("features") or {}
    records: list[dict[str, Any]] = []
    for path in files:
        try:
            with arrow.memory_map(str(path)) as stream:
                records += arrow.ipc.open_stream(stream).read_all().to_pylist()
        except (OSError, ValueError) as error:  # pyarrow's own errors are among these
            raise LanternError(f"cannot read '{path}': {error}") from None
    return _numbered(_with_names(records, features), str(folder), folder)


def _parquet(paths: Sequence[Path], where: str, folder: Path) -> Table:
    parquet = extra_package("pyarrow.parquet", f"'{where}'")
    records: list[dict[str, Any]] = []
    for path in paths:
        try:
            # A file of its own: the name of a folder such as a=b would become a column.
            table = parquet.ParquetFile(path).read()
        except (OSError, ValueError) as error:  # pyarrow's own errors are among these
            raise LanternError(
                f"cannot read '{path}': {error}; is it whole, and Parquet?"
            ) from None
        kept = (table.schema.metadata or {}).get(b"huggingface")
        features = json.loads(kept).get("info", {}).get("features") if kept else None
        records += _with_names(table.to_pylist(), features or {})
    return _numbered(records, where, folder)


def _with_names(records: list[dict[str, Any]], features: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Records whose class numbers are replaced by the names that their features give them."""
    for column, feature in features.items():
        names = feature.get("names") if isinstance(feature, Mapping) else None
        if not names or feature.get("_type") != "ClassLabel":
            continue
        for record in records:
            value = record.get(column)
            if isinstance(value, int) and 0 <= value < len(names):
                record[column] = names[value]
    return records


# -- memory --------------------------------------------------------------------------------------


def _in_memory(source: Any, split: str | None) -> Table:
    home = type(source).__module__.partition(".")[0]
    where = f"the {type(source).__name__}"
    if home == "datasets" and isinstance(source, Mapping):
        source = source[_one_split([str(name) for name in source], split, where)]
    if home == "datasets" and hasattr(source, "features"):
        datasets = extra_package("datasets", where)
        for name, feature in (source.features or {}).items():
            if isinstance(feature, datasets.Image):
                source = source.cast_column(name, datasets.Image(decode=False))
        named = {
            name: {"names": feature.names, "_type": "ClassLabel"}
            for name, feature in (source.features or {}).items()
            if isinstance(feature, datasets.ClassLabel)
        }
        return _numbered(_with_names([dict(row) for row in source], named), where, None)
    if home == "pandas" and hasattr(source, "to_dict"):
        return _numbered(source.to_dict("records"), where, None)
    if hasattr(source, "to_pylist"):
        return _numbered(source.to_pylist(), where, None)
    rows = [] if isinstance(source, Mapping) else list(source)
    if not all(isinstance(row, Mapping) for row in rows) or isinstance(source, Mapping):
        raise LanternError(
            f"{where} is no table; give a path, a data set, a frame, or a list of mappings"
        )
    return _numbered(rows, where, None)


def _numbered(records: Sequence[Mapping[Any, Any]], where: str, folder: Path | None) -> Table:
    rows = [
        Entry(f"{where}, row {number}", {str(k): plain(v) for k, v in record.items()}, number)
        for number, record in enumerate(records, start=1)
    ]
    return Table(where, _columns(rows), rows, folder)


def plain(value: Any) -> Any:
    """A cell without numpy: arrays of numbers or objects as lists, and scalars as Python's own.

    Args:
        value: The cell. Arrays of pixels (uint8 with two or three axes) stay as they are.
    """
    if type(value).__module__.partition(".")[0] == "numpy":
        pixels = getattr(value, "ndim", 0) >= 2 and str(value.dtype) == "uint8"
        return value if pixels else plain(value.tolist())
    if isinstance(value, list | tuple):
        return [plain(item) for item in value]
    return value


def is_missing(value: Any) -> bool:
    """True for a cell without a value: None, a NaN, or the NA of pandas.

    Args:
        value: The cell.
    """
    if value is None or type(value).__name__ in ("NAType", "NaTType"):
        return True
    return isinstance(value, float) and math.isnan(value)
