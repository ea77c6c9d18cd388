"""Pools of pairs as small tables: what evaluations of readings need of the rows of a run.

A table is a gzip-compressed CSV file, `NAME.csv.gz`, with a line of names and a line for each
sample and condition. An empty cell is a value that is not known. Equal rows make equal files.
"""

from __future__ import annotations

import csv
import gzip
import io
import zlib
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from lantern_probe.analysis.battery import CONDITIONS
from lantern_probe.analysis.scores import probability_of
from lantern_probe.errors import LanternError
from lantern_probe.records.json_files import replace_file
from lantern_probe.records.rows import Row, refuse_passes

COLUMNS = (
    *("sample", "twin", "cluster", "category", "condition"),
    *("block", "answer", "right", "likelihood"),
)
"""Columns of a table: ids of the sample, of its twin and of its image; category of the question;
label of the condition; 1 if a latent block came and the condition acted on it, else 0; the parsed
answer; the right answer; probability of the right answer among the candidates."""


def write_pool(rows: Iterable[Row], path: Path) -> int:
    """Write the rows of a run on pairs of twins as a table, and return its number of lines.

    Args:
        rows: Rows of the run; failed ones and conditions that no estimand reads are left out.
        path: File of the table.

    Raises:
        LanternError: the rows are of several passes, hold no exchange between twins, or the file
            cannot be written.
    """
    kept = [row for row in rows if row["status"] == "ok" and row["condition"] in CONDITIONS]
    refuse_passes(kept, "a pool")
    twins = {row["sample"]: row.get("donor") for row in kept if row["condition"] == "twin"}
    if not twins:
        raise LanternError(
            f"{path.name}: the run has no exchange between twins; a pool is made from a run of "
            "exchange_latents or diagnose"
        )
    kept.sort(key=lambda row: (row["sample"], CONDITIONS.index(row["condition"])))
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(_cells(row, twins) for row in kept)
    # Without a time in it, the file is the same whenever it is made.
    replace_file(path, gzip.compress(text.getvalue().encode(), mtime=0))
    return len(kept)


def _cells(row: Row, twins: dict[str, str | None]) -> list[str]:
    acted = bool(row.get("emitted")) and row.get("acted", True) is not False
    likelihood = probability_of(row, row.get("gold"))
    known = (
        *(row["sample"], twins.get(row["sample"]), row["cluster"], row.get("category")),
        *(row["condition"], int(acted), row["answer"], row.get("gold")),
        None if likelihood is None else f"{likelihood:.3f}",
    )
    return ["" if value is None else str(value) for value in known]


def read_pool(path: Path) -> list[Row]:
    """Read a table back as rows from which all estimands are computed.

    Args:
        path: File of the table.

    Raises:
        LanternError: the file is not such a table.
    """
    try:
        text = gzip.decompress(path.read_bytes()).decode()
    except FileNotFoundError:
        raise LanternError(f"there is no table {str(path)!r}") from None
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise LanternError(f"{str(path)!r} is no table of a pool: {error}") from None
    lines = list(csv.reader(io.StringIO(text)))
    if not lines or tuple(lines[0]) != COLUMNS:
        raise LanternError(
            f"{str(path)!r} is no table of a pool: its first line is not {','.join(COLUMNS)}"
        )
    return list(_rows(lines[1:], path))


def _rows(lines: Sequence[Sequence[str]], path: Path) -> Iterator[Row]:
    found: list[dict[str, str | None]] = []
    seen: set[tuple[str | None, str | None]] = set()
    for number, line in enumerate(lines, start=2):
        cells = {name: cell or None for name, cell in zip(COLUMNS, line, strict=False)}
        key = cells.get("sample"), cells.get("condition")
        if len(line) != len(COLUMNS) or None in key or cells["block"] not in ("0", "1"):
            raise LanternError(f"{str(path)!r}: line {number} is not one of a pool; make it again")
        if key in seen:
            raise LanternError(f"{str(path)!r}: line {number} repeats {key[0]} under {key[1]}")
        seen.add(key)
        found.append(cells)
    gold = {cells["sample"]: cells["right"] for cells in found}
    for cells in found:
        right, answer = cells["right"], cells["answer"]
        likelihood = cells["likelihood"]
        yield {
            "sample": cells["sample"],
            "condition": cells["condition"],
            "status": "ok",
            "emitted": cells["block"] == "1",
            "answer": answer,
            "gold": right,
            "correct": None if right is None else answer == right,
            "cluster": cells["cluster"],
            "category": cells["category"],
            "donor": cells["twin"],
            "donor_answer": gold.get(cells["twin"]),
            "likelihood": None if likelihood is None else _number(likelihood, path),
        }


def _number(text: str, path: Path) -> float:
    try:
        return float(text)
    except ValueError:
        raise LanternError(f"{str(path)!r}: likelihood {text!r} is not a number") from None
