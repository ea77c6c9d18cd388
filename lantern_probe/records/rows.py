"""Rows as they are read: from this version's runs and older ones, and which of them count."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from lantern_probe.errors import LanternError
from lantern_probe.records.format1 import modern_row
from lantern_probe.records.json_files import explained

FORMAT = 2
"""Version of the layout of a run; a reader takes older ones and refuses newer ones."""

KEY = ("sample", "condition")
"""The fields that every row has, and by which it is unique in its run."""

MANIFEST, ROWS_FILE, LOCK = "run.json", "rows.jsonl", ".lock"

Row = dict[str, Any]
"""One row as it is read; `records.schema` has the fields of each kind."""


def part_name(index: int, count: int) -> str:
    """Name the folder, within an output, of one of several processes.

    Args:
        index: 0-based index of the process.
        count: Number of processes that share the samples.
    """
    return f"shard-{index}-of-{count}"


def counts(row: Row, *, block: bool = True, graded: bool = True) -> bool:
    """Decide whether a row counts in an analysis; the one filter that all analyses use.

    Args:
        row: Any row.
        block: Require a latent block on which the condition acted. A text without a block makes
            every condition on the slots the same, so that it would dilute each comparison.
        graded: Require a right answer to compare with.
    """
    if row["status"] != "ok" or (graded and row.get("correct") is None):
        return False
    return not block or (bool(row.get("emitted")) and row.get("acted", True) is not False)


def leads(row: Row) -> bool:
    """True if the row's sample is the one of its pair from which the twin was made.

    Args:
        row: Any row of a run on pairs.
    """
    return bool(row.get("pair", row["cluster"]) == row["sample"])


def read_manifest(folder: str | Path) -> Row:
    """Read a run's `run.json`, without locking the run.

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
    """Read the rows of a run, finished or still being written, without locking it.

    Rows of older versions come in the present form.

        >>> from lantern_probe import Run
        >>> with Run.open("runs/read", {}, overwrite=True) as run:
        ...     run.append({"sample": "1", "condition": "own", "status": "ok"})
        >>> read_rows("runs/read")
        [{'sample': '1', 'condition': 'own', 'status': 'ok'}]

    Raises:
        LanternError: there is no run in the folder, or a line is corrupt (named by number).
    """
    read_manifest(folder)
    return rows_in(Path(folder) / ROWS_FILE)


def key_of(row: Row) -> tuple[Any, ...]:
    """Read the key of a row.

    Raises:
        LanternError: the row has no sample or no condition.
    """
    key = tuple(row.get(name) for name in KEY)
    if not all(isinstance(value, str | int) for value in key):
        raise LanternError(
            f"a row needs a 'sample' and a 'condition', text or whole numbers, not {key!r}"
        )
    return key


def unique_keys(path: Path, rows: Sequence[Row]) -> set[tuple[Any, ...]]:
    """Collect the keys of the rows of a file.

    Raises:
        LanternError: a row has no key, or two rows have the same (named by line).
    """
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
    """Read every whole line; a last one without its newline is torn, or still being written."""
    return [modern_row(row) for row in lines_in(path)]


def lines_in(path: Path) -> list[Row]:
    """Read the objects of a JSON lines file as they were written; a torn last line is left out.

    Raises:
        LanternError: the file cannot be read, or a whole line is no object (named by number).
    """
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
    """Give the row the answer that another parser read.

    Raises:
        LanternError: the row does not record that parser's reading.
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
