"""Samples and answers of a run as tables for the browser: an index of all, chunks with the rest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from lantern_probe.analysis.ablation import reference
from lantern_probe.records.rows import PASS, Row
from lantern_probe.report.columns import Strings, column
from lantern_probe.report.marks import marks_of
from lantern_probe.report.runs import ReportRun

CHUNK_SAMPLES, CHUNK_CHARACTERS = 64, 1_000_000
"""Most samples of a chunk, and characters above which no further sample goes into it."""

SHORT = 200
"""Most characters of a question and of an answer in the index; the chunks have all of them."""

LEFT_OUT = {
    *("sample", "condition", "status", "cluster", "gold", "category", "candidates"),
    *("prompt", "continuation", "pass"),
}
"""Fields of rows that the sample says, that the index has, or that nobody reads."""


@dataclass(frozen=True)
class Laid:
    """The rows of a run by sample and column."""

    labels: Sequence[str]
    """Label of every column: a condition, with its pass where there are several."""
    samples: Sequence[str]
    """Ids of all samples: the recorded ones in their order, then those that only rows name."""
    cells: Mapping[str, Mapping[int, Row]]
    """Rows by sample and column."""
    own: Sequence[int | None]
    """Column with which each is compared; None if there is none, or if it is the column itself."""


def lay_out(run: ReportRun) -> Laid:
    """Sort the rows of a run by sample and column; `own` comes first.

    Args:
        run: The run.
    """
    seen: dict[tuple[str, int], None] = {}
    for row in run.rows:
        seen.setdefault((row["condition"], row.get(PASS, 0)))
    order = sorted(seen, key=lambda key: (key[1], key[0].partition("@")[0] != "own"))
    several = any(number for _, number in seen)
    place = {key: index for index, key in enumerate(order)}
    cells: dict[str, dict[int, Row]] = {key: {} for key in run.samples}
    for row in run.rows:
        key = (row["condition"], row.get(PASS, 0))
        cells.setdefault(row["sample"], {})[place[key]] = row
    own = [place.get((reference(label), number)) for label, number in order]
    labels = [f"{label}, pass {number}" if several else label for label, number in order]
    return Laid(
        labels,
        [*cells],
        cells,
        [None if to == index else to for index, to in enumerate(own)],
    )


def index_of(run: ReportRun, laid: Laid, starts: Sequence[int]) -> dict[str, Any]:
    """Columns that a browser needs of all samples at once, to list, filter, sort and search them.

    Args:
        run: The run.
        laid: Its rows by sample and column.
        starts: Index of the first sample of every chunk.
    """
    strings = Strings()
    records = [run.samples.get(key, {}) for key in laid.samples]
    rows = [next(iter(laid.cells[key].values()), {}) for key in laid.samples]
    columns = []
    for place, own in enumerate(laid.own):
        some = [laid.cells[key].get(place) for key in laid.samples]
        others = [None if own is None else laid.cells[key].get(own) for key in laid.samples]
        columns.append(
            {
                "answer": [_short(row and row.get("answer"), strings) for row in some],
                "marks": [
                    0 if row is None else marks_of(row, other)
                    for row, other in zip(some, others, strict=True)
                ],
            }
        )
    return {
        "name": run.name,
        "labels": list(laid.labels),
        "ids": list(laid.samples),
        "question": [_short(record.get("question"), strings) for record in records],
        "gold": [
            _short(_first(record.get("answer"), row.get("gold")), strings)
            for record, row in zip(records, rows, strict=True)
        ],
        "category": [
            _short(_first(record.get("category"), row.get("category")), strings)
            for record, row in zip(records, rows, strict=True)
        ],
        "columns": columns,
        "starts": list(starts),
        "strings": strings.texts,
    }


def _first(recorded: Any, written: Any) -> Any:
    """Value of a sample, or that of its row where the sample has none."""
    return written if recorded is None else recorded


def _short(text: Any, strings: Strings) -> int:
    if text is None:
        return -1
    text = text if isinstance(text, str) else str(text)
    return strings.at(text if len(text) <= SHORT else f"{text[:SHORT]}…")


def chunk_bounds(laid: Laid) -> list[tuple[int, int]]:
    """First sample and end of every chunk.

    Args:
        laid: Rows by sample and column.
    """
    bounds: list[tuple[int, int]] = []
    start, size = 0, 0
    for place, key in enumerate(laid.samples):
        own = sum(300 + len(str(row.get("text") or "")) for row in laid.cells[key].values())
        if place > start and (place - start >= CHUNK_SAMPLES or size + own > CHUNK_CHARACTERS):
            bounds.append((start, place))
            start, size = place, 0
        size += own
    if laid.samples:
        bounds.append((start, len(laid.samples)))
    return bounds


def chunk_of(
    run: ReportRun,
    laid: Laid,
    bounds: tuple[int, int],
    images: Mapping[str, Any],
    layers: Mapping[str, Any],
) -> dict[str, Any]:
    """Everything about some samples that the index has not.

    Args:
        run: The run.
        laid: Its rows by sample and column.
        bounds: First sample, and end.
        images: Images of each sample, as the page shows them.
        layers: Overlays of each sample.
    """
    strings = Strings()
    keys = laid.samples[slice(*bounds)]
    records = [run.samples.get(key, {}) for key in keys]
    rows = [*_rows(keys, laid)]
    names = dict.fromkeys(name for _, _, row in rows for name in row if name not in LEFT_OUT)
    of_sample = ("question", "prompt", "answer", "category", "cluster")
    plain = ("options", "lettered", "boxes", "attributes", "accepted", "match")
    return {
        "first": bounds[0],
        "samples": {
            **{name: column([_text(r.get(name)) for r in records], strings) for name in of_sample},
            **{name: {"plain": [r.get(name) for r in records]} for name in plain},
            "images": {"plain": [images.get(key, []) for key in keys]},
            "layers": {"plain": [layers.get(key, []) for key in keys]},
        },
        "of": [place for place, _, _ in rows],
        "at": [at for _, at, _ in rows],
        "status": column([_text(row.get("status")) for _, _, row in rows], strings),
        "rows": {name: column([row.get(name) for _, _, row in rows], strings) for name in names},
        "strings": strings.texts,
    }


def _rows(keys: Sequence[str], laid: Laid) -> Iterator[tuple[int, int, Row]]:
    for place, key in enumerate(keys):
        yield from ((place, at, row) for at, row in sorted(laid.cells[key].items()))


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else str(value)
