"""Tables on disk: the rows of one or several runs as one CSV or Parquet file, and back.

Both hold the columns of `records.columns`, with the column `model` in front, and `run`, the folder
of a row's run, where there are several.

CSV is UTF-8 with a line of names. An empty cell is a field that the row lacks, and `null` is one
that is null. Lists and other nested values are JSON. A text that is empty, that is `null` or that
begins with a quotation mark is a JSON text. The kinds of the columns are beside the file, in
`FILE.columns.json`.

Parquet has a type for each kind, and the kinds of the columns in its schema's metadata. Where a
column has nulls of both meanings, the column `missing_fields` names those that a row lacks.
"""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from lantern_probe.errors import LanternError, named
from lantern_probe.records.columns import ABSENT, Column, as_json, to_columns, to_rows
from lantern_probe.records.json_files import explained, replace_file, write_json
from lantern_probe.records.rows import KEY, MANIFEST, Row, read_manifest, read_rows

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

Format = Literal["parquet", "csv"]

MISSING_FIELDS = "missing_fields"
"""Column of a Parquet file that tells fields that a row lacks from those that are null."""

NOTE = b"lantern_probe"
"""Key of the description of the columns in the metadata of a Parquet file."""

_TO_QUOTE = re.compile(r'[",\r\n]|^\s|\s$')


@dataclass(frozen=True)
class RunRows:
    """The rows of one run.

    Attributes:
        folder: Folder of the run.
        name: The folder, relative to the one that was asked for; `.` for that one itself.
        manifest: Content of `run.json`.
        rows: All rows, failed ones included.
    """

    folder: Path
    name: str
    manifest: Row
    rows: list[Row]

    @property
    def model(self) -> str:
        """The name of the model; the folder's where the run names none."""
        return str(self.manifest["config"].get("model") or self.folder.resolve().name)


def read_runs(folder: str | Path) -> list[RunRows]:
    """Read a run, or all runs in the folders within a folder, without locking them.

    Args:
        folder: Folder of a run, or of the runs of several models.

    Raises:
        LanternError: there is no run, none has a row, a file is corrupt, or the runs were made by
            different commands.
    """
    folder = Path(folder)
    with explained(folder):
        if not folder.is_dir():
            raise LanternError(f"there is no folder '{folder}'; give the --output of a command")
        found = [folder] if (folder / MANIFEST).exists() else _within(folder)
    if not found:
        raise LanternError(f"'{folder}' holds no run: there is no {MANIFEST} in it or below it")
    runs = [
        RunRows(one, one.relative_to(folder).as_posix(), read_manifest(one), read_rows(one))
        for one in found
    ]
    kinds = {str(run.manifest["config"].get("experiment")): run.name for run in runs}
    if len(kinds) > 1:
        raise LanternError(
            f"'{folder}' holds runs of {named(sorted(kinds))}, whose rows differ; give one of its "
            f"folders, such as '{folder / next(iter(kinds.values()))}'"
        )
    if not any(run.rows for run in runs):
        raise LanternError(f"the run in '{folder}' has no rows yet")
    return runs


def _within(folder: Path) -> list[Path]:
    paths = [path.parent for path in folder.rglob(MANIFEST)]
    shown = [p for p in paths if not any(x.startswith(".") for x in p.relative_to(folder).parts)]
    outer = [p for p in shown if not any(other in p.parents for other in shown)]
    return sorted(outer, key=lambda path: _natural(path.as_posix()))


def _natural(text: str) -> list[Any]:
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", text)]


def read_frame(folder: str | Path) -> pd.DataFrame:
    """The rows of a run, or of several models' runs, as one pandas frame with a column `model`.

        >>> from lantern_probe import Run
        >>> with Run.open("runs/framed", {"model": "faithful"}, overwrite=True) as run:
        ...     run.append({"sample": "1", "condition": "own", "status": "ok", "correct": True})
        >>> read_frame("runs/framed").columns.tolist()
        ['model', 'sample', 'condition', 'status', 'correct']

    Args:
        folder: Folder of a run, or of the runs of several models.

    Raises:
        LanternError: as for `read_runs`.
    """
    from lantern_probe.records.frame import to_frame  # pandas takes half a second

    runs = read_runs(folder)
    frame = to_frame([row for run in runs for row in run.rows])
    added = _added(runs, frame.columns)
    for place, (name, values) in enumerate(added.items()):
        frame.insert(place, name, values)
    return frame


def _added(runs: Sequence[RunRows], taken: Iterable[str]) -> dict[str, list[str]]:
    """The columns that say which run a row is from; a name that rows have gets an underscore."""
    values = {"model": [run.model for run in runs for _ in run.rows]}
    if len(runs) > 1:
        values["run"] = [run.name for run in runs for _ in run.rows]
    return {name + "_" * (name in set(taken)): found for name, found in values.items()}


def write_table(folder: str | Path, file: str | Path, to: Format) -> int:
    """Write the rows of a run, or of several, as one table, whole or not at all.

    Args:
        folder: Folder of a run, or of the runs of several models.
        file: File to write; one that exists is replaced.
        to: Format of the file.

    Returns:
        Number of rows.

    Raises:
        LanternError: the runs or the file cannot be used, or Parquet's package is not installed.
    """
    runs, file = read_runs(folder), Path(file)
    rows = [row for run in runs for row in run.rows]
    columns = to_columns(rows, KEY)
    added = _added(runs, (column.name for column in columns))
    columns = [Column((name,), list(values)) for name, values in added.items()] + columns
    note = {"added": list(added), "columns": [column.describe() for column in columns]}
    if to == "parquet":
        data = _parquet(columns, note)
    else:
        data = _csv(columns)
    with explained(file.parent):
        file.parent.mkdir(parents=True, exist_ok=True)
    if to == "csv":
        write_json(columns_file(file), note)
    replace_file(file, data)
    return len(rows)


def columns_file(file: Path) -> Path:
    """The file beside a CSV file that holds the kinds of its columns.

    Args:
        file: The CSV file.
    """
    return file.with_name(f"{file.name}.columns.json")


def read_table(file: str | Path) -> dict[str, list[Row]]:
    """Read back the rows of an exported table, by the run that they are from.

    Args:
        file: A file of `write_table`; CSV needs its `.columns.json` beside it.

    Returns:
        Rows as the runs have them, by folder of the run; `.` if there was one.

    Raises:
        LanternError: the file cannot be read, or was not written by `write_table`.
    """
    file = Path(file)
    with explained(file):
        data = file.read_bytes()
    columns, added = _from_parquet(data, file) if data[:4] == b"PAR1" else _from_csv(data, file)
    by_name = {column.name: column.cells for column in columns if column.name in added}
    rows = to_rows([column for column in columns if column.name not in added])
    runs = next((by_name[name] for name in added[1:]), ["."] * len(rows))
    found: dict[str, list[Row]] = {}
    for run, row in zip(runs, rows, strict=True):
        found.setdefault(str(run), []).append(row)
    return found


# -- CSV -------------------------------------------------------------------------------------------


def _csv(columns: Sequence[Column]) -> bytes:
    cells = [_csv_cells(column) for column in columns]
    lines = [[column.name for column in columns], *map(list, zip(*cells, strict=True))]
    return "".join(",".join(map(_quoted, line)) + "\n" for line in lines).encode()


def _quoted(cell: str) -> str:
    return '"' + cell.replace('"', '""') + '"' if _TO_QUOTE.search(cell) else cell


def _csv_cells(column: Column) -> list[str]:
    text = column.kind == "text"
    return [
        "" if cell is ABSENT else cell if text and _is_plain(cell) else as_json(cell)
        for cell in column.cells
    ]


def _is_plain(cell: Any) -> bool:
    """True for a text that is its own cell."""
    return isinstance(cell, str) and cell not in ("", "null") and not cell.startswith('"')


def _from_csv(data: bytes, file: Path) -> tuple[list[Column], list[str]]:
    note = _note_beside(file)
    csv.field_size_limit(sys.maxsize)
    try:
        lines = list(csv.reader(io.StringIO(data.decode(), newline=""), strict=True))
        head, *body = lines
        if head != [about["name"] for about in note["columns"]]:
            raise ValueError("its columns are others than those beside it")
        cells = list(zip(*body, strict=True)) or [()] * len(head)
        columns = [
            Column(tuple(about["path"]), [_csv_value(cell, about["kind"]) for cell in column])
            for about, column in zip(note["columns"], cells, strict=True)
        ]
    except (ValueError, csv.Error) as error:
        raise LanternError(f"'{file}' is not as it was exported: {error}") from None
    return columns, note["added"]


def _csv_value(cell: str, kind: str) -> Any:
    if cell == "":
        return ABSENT
    return cell if kind == "text" and _is_plain(cell) else json.loads(cell)


def _note_beside(file: Path) -> dict[str, Any]:
    beside = columns_file(file)
    with explained(beside):
        if not beside.exists():
            raise LanternError(f"'{file}' cannot be read back without '{beside.name}' beside it")
        note: dict[str, Any] = json.loads(beside.read_bytes())
    return note


# -- Parquet ---------------------------------------------------------------------------------------


def require_pyarrow() -> None:
    """Refuse to go on without the package that writes Parquet.

    Raises:
        LanternError: saying how to install it.
    """
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError:
        raise LanternError(
            "Parquet needs the package pyarrow; install lantern-probe[datasets], or export to csv"
        ) from None


def _types() -> dict[str, pa.DataType]:
    import pyarrow as pa

    plain = {
        "text": pa.large_string(),
        "integer": pa.int64(),
        "number": pa.float64(),
        "truth": pa.bool_(),
    }
    return {**plain, **{f"{kind}s": pa.list_(type_) for kind, type_ in plain.items()}}


def _parquet(columns: Sequence[Column], note: dict[str, Any]) -> bytes:
    require_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    types, arrays = _types(), {}
    mixed = [column for column in columns if column.empty == "mixed"]
    for column in columns:
        kind = column.kind
        cells = [None if cell is ABSENT else cell for cell in column.cells]
        if kind == "json":
            cells = [None if cell is None else as_json(cell) for cell in cells]
        arrays[column.name] = pa.array(cells, types.get(kind, types["text"]))
    if mixed:
        name = MISSING_FIELDS + "_" * (MISSING_FIELDS in arrays)
        lacking = [
            [column.name for column in mixed if column.cells[row] is ABSENT]
            for row in range(len(columns[0].cells))
        ]
        arrays[name] = pa.array(lacking, types["texts"])
        note = {**note, "missing_fields": name}
    table = pa.table(arrays).replace_schema_metadata({NOTE: json.dumps(note).encode()})
    buffer = io.BytesIO()
    pq.write_table(table, buffer, compression="zstd")
    return buffer.getvalue()


def _from_parquet(data: bytes, file: Path) -> tuple[list[Column], list[str]]:
    require_pyarrow()
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        table = pq.read_table(io.BytesIO(data))
        note = json.loads((table.schema.metadata or {})[NOTE])
    except (pa.ArrowException, OSError, KeyError) as error:
        raise LanternError(f"'{file}' is no table that was exported from a run: {error}") from None
    lacking = table[note["missing_fields"]].to_pylist() if "missing_fields" in note else None
    columns = []
    for about in note["columns"]:
        cells = table[about["name"]].to_pylist()
        if about["kind"] == "json":
            cells = [None if cell is None else json.loads(cell) for cell in cells]
        if about["empty"] == "missing":
            cells = [ABSENT if cell is None else cell for cell in cells]
        elif about["empty"] == "mixed" and lacking is not None:
            cells = [
                ABSENT if about["name"] in gone else cell
                for cell, gone in zip(cells, lacking, strict=True)
            ]
        columns.append(Column(tuple(about["path"]), cells))
    return columns, note["added"]
