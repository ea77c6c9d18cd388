"""The rows of a run: their written form, how they are read, and which of them count."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, NoReturn

from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import explained

FORMAT = 1
"""Version of the layout described here; a reader refuses a higher one."""


KEY = ("sample", "condition")
"""The fields every row has, and by which it is unique in its run."""


MANIFEST, ROWS_FILE, LOCK = "run.json", "rows.jsonl", ".lock"


Row = dict[str, Any]


def read_manifest(folder: str | Path) -> Row:
    """The content of a run's `run.json`, without locking the run.

    Raises:
        LanternError: there is none, it is corrupt, or a newer version wrote it.
    """
    path = Path(folder) / MANIFEST
    with explained(path.parent):
        if not path.exists():
            raise LanternError(f"'{folder}' holds no run: there is no {MANIFEST} in it")
        data = path.read_bytes()
    try:
        manifest = json.loads(data.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        line = getattr(error, "lineno", 1)
        raise LanternError(
            f"{path}, line {line}: not valid JSON ({error}); restore the file, or start the run "
            "again with --overwrite or in another --output"
        ) from None
    if not isinstance(manifest, dict) or not isinstance(manifest.get("config"), dict):
        raise LanternError(f"{path}: not the record of a run (it has no 'config')")
    if not isinstance(manifest.get("format"), int) or manifest["format"] > FORMAT:
        raise LanternError(
            f"{path}: format {manifest.get('format')!r}, and this version reads up to {FORMAT}; "
            "update lantern-probe"
        )
    return manifest


def read_rows(folder: str | Path) -> list[Row]:
    """The rows of a run, finished or still being written, without locking it.

    Raises:
        LanternError: there is no run in the folder, or a line is corrupt (named by number).
    """
    read_manifest(folder)
    return rows_in(Path(folder) / ROWS_FILE)


def key_of(row: Row) -> tuple[Any, ...]:
    key = tuple(row.get(name) for name in KEY)
    if not all(isinstance(value, str | int) for value in key):
        raise LanternError(
            f"a row needs a 'sample' and a 'condition', text or whole numbers, not {key!r}"
        )
    return key


def unique_keys(path: Path, rows: list[Row]) -> set[tuple[Any, ...]]:
    keys: set[tuple[Any, ...]] = set()
    for number, row in enumerate(rows, start=1):
        try:
            key = key_of(row)
        except LanternError as error:
            raise LanternError(f"{path}, line {number}: {error}") from None
        if key in keys:
            raise LanternError(
                f"{path}, line {number}: a second row for sample {key[0]!r}, condition "
                f"{key[1]!r}; delete one of the two"
            )
        keys.add(key)
    return keys


def rows_in(path: Path) -> list[Row]:
    """Every whole line; a last one without its newline is torn, or still being written."""
    with explained(path):
        lines = path.read_bytes().split(b"\n")[:-1] if path.exists() else []
    rows = []
    for number, line in enumerate(lines, start=1):
        try:
            row = json.loads(line.decode("utf-8"), parse_constant=_not_json)
            if not isinstance(row, dict):
                raise ValueError("not an object")
        except (ValueError, RecursionError) as error:
            raise LanternError(
                f"{path}, line {number}: corrupt ({error}); delete the line, and its sample is "
                "run again"
            ) from None
        rows.append(row)
    return rows


def _not_json(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def reread(row: Row, parser: str, folder: Path) -> Row:
    """The row with its answer as another parser reads it.

    Raises:
        LanternError: the row does not say how.
    """
    if row["status"] != "ok":
        return row
    if parser not in row.get("parsed", {}):
        raise LanternError(
            f"the {parser!r} parser has not read the answers in '{folder}': it reads letters only; "
            "leave --parser out"
        )
    answer = row["parsed"][parser]
    return {**row, "answer": answer, "correct": answer == row["gold"]}
