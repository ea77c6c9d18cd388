"""Result files of a run as tables: what its command wrote as JSON, in a form that people read."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from lantern_probe.analysis.estimands import ABOUT
from lantern_probe.analysis.format import interval, number
from lantern_probe.analysis.reading import UNDECIDED
from lantern_probe.records.json_files import explained
from lantern_probe.report.summary import Strip, strip

MOST_LINES, MOST_COLUMNS = 60, 12
"""Most lines and columns of a table made from a result file; the file has all of them."""

LARGEST = 50_000_000
"""Bytes of a result file above which it is only named."""

NOT_RESULTS = ("run.json", "card.json", "summary.json")
"""Files that are shown in another form."""

HIDDEN = {"level", "resamples", "seed", "design_effect", "discordant", "clusters", "method"}
"""Fields of intervals and tests that a table of many leaves out."""


@dataclass(frozen=True)
class ResultTable:
    """A table made from a result file."""

    title: str
    columns: Sequence[str]
    lines: Sequence[Sequence[str]]
    note: str = ""


@dataclass(frozen=True)
class CardLine:
    """One estimand of a card."""

    name: str
    n: str
    value: str
    strip: Strip | None
    about: str


@dataclass(frozen=True)
class CardView:
    """The card of a diagnosis as a page shows it."""

    title: str
    reading: str
    lines: Sequence[CardLine]
    reasons: Sequence[str]
    evidence: Sequence[tuple[str, str]]
    remarks: Sequence[str]


def read_result(path: Path) -> tuple[Any, str]:
    """Read a result file: its content, or None and a sentence that says why not.

    Args:
        path: The file.
    """
    with explained(path):
        size = path.stat().st_size
    if size > LARGEST:
        return None, f"{path.name} has {size / 1e6:.0f} MB, which is too much for a page."
    try:
        with explained(path):
            return json.loads(path.read_text(encoding="utf-8")), ""
    except (ValueError, RecursionError) as error:
        return None, f"{path.name} cannot be read ({error}); it is left out."


def card_view(card: Any) -> CardView | None:
    """Bring the content of `card.json` into the form of a page; None if it is no card.

    Args:
        card: Content of the file.
    """
    try:
        estimates = dict(card["estimates"])
        settings = dict(card.get("settings") or {})
        marks = [settings.get(name) for name in ("delta", "high")]
        known = [float(mark) for mark in marks if isinstance(mark, int | float)]
        if len(known) == 2:
            known.append(-known[0])
        return CardView(
            title=f"{card['model']} on {card['data']}",
            reading=str(card["reading"]),
            lines=[_card_line(name, found, known) for name, found in estimates.items()],
            reasons=[str(text) for text in card.get("reasons") or ()],
            evidence=[
                (str(item["verdict"]), str(item["statement"]))
                for item in card.get("evidence") or ()
            ],
            remarks=[*_remarks(card)],
        )
    except (TypeError, KeyError, ValueError, AttributeError):
        return None


def _card_line(name: str, found: Mapping[str, Any], marks: Sequence[float]) -> CardLine:
    ends = (found.get("simultaneous_low"), found.get("simultaneous_high"))
    outer = None if None in ends else (float(ends[0]), float(ends[1]))  # type: ignore[arg-type]
    value, low, high = (found.get(key) for key in ("value", "low", "high"))
    return CardLine(
        str(name),
        str(found.get("n", "-")),
        interval(value, low, high),
        strip(value, low, high, (-0.25, 1.0), marks, outer),
        ABOUT.get(name, ""),
    )


def _remarks(card: Mapping[str, Any]) -> Iterator[str]:
    if card["reading"] == UNDECIDED:
        yield f"remaining: {', '.join(map(str, card.get('remain') or ())) or 'none'}"
    yield from (f"disagrees: {text}" for text in card.get("disagrees") or ())
    if card.get("change"):
        yield str(card["change"])
    yield from (str(text) for text in card.get("supporting") or ())


def result_tables(content: Any, file: str) -> list[ResultTable]:
    """Make tables of a result: one of each list of records in it, and one of its other values.

    >>> (table,) = result_tables([{"slot": 0, "mean": {"estimate": 0.5, "low": 0, "high": 1}}], "x")
    >>> table.columns, table.lines
    (['slot', 'mean'], [['0', '.500 [.000, 1.000]']])

    Args:
        content: Content of the file.
        file: Name of the file.
    """
    found: list[ResultTable] = []
    facts: list[list[str]] = []
    for path, value in _parts(content, ()):
        if isinstance(value, list):
            found.append(_table(" › ".join(path), value, file))
        else:
            facts.append([" › ".join(path), _cell(value)])
    if facts:
        found.append(ResultTable("", ["", "value"], facts[:MOST_LINES], _more(len(facts), file)))
    return found


def _parts(value: Any, path: tuple[str, ...]) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Lists of records, and single values, with the way that leads to them."""
    if isinstance(value, list) and value and all(isinstance(item, dict) for item in value):
        inner = any(_is_records(part) for item in value for part in item.values())
        if not inner:
            yield path, value
            return
        for item in value:
            name = str(item.get("model", "")) if len(value) > 1 else ""
            yield from _parts(item, (*path, name) if name else path)
    elif isinstance(value, dict) and not _is_estimate(value):
        for name, inner_value in value.items():
            if len(path) < 4:
                yield from _parts(inner_value, (*path, str(name)))
    elif not isinstance(value, list):
        yield path, value


def _is_records(value: Any) -> bool:
    return isinstance(value, list) and bool(value) and all(isinstance(i, dict) for i in value)


def _is_estimate(value: Any) -> bool:
    return isinstance(value, dict) and {"estimate", "low", "high"} <= value.keys()


def _table(title: str, records: Sequence[Mapping[str, Any]], file: str) -> ResultTable:
    shown = [dict(_flat(record)) for record in records[:MOST_LINES]]
    names = [*dict.fromkeys(name for line in shown for name in line)]
    same = [
        name for name in names
        if len(shown) > 1 and len({line.get(name, "-") for line in shown}) == 1
    ]  # fmt: skip
    columns = [name for name in names if name not in same][:MOST_COLUMNS] or names[:MOST_COLUMNS]
    fixed = [f"{n} {shown[0][n]}" for n in same if shown[0].get(n, "-") != "-"][:8]
    note = ". ".join(part for part in (", ".join(fixed), _more(len(records), file)) if part)
    lines = [[line.get(name, "-") for name in columns] for line in shown]
    return ResultTable(title, columns, lines, note)


def _flat(record: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    for name, value in record.items():
        if isinstance(value, dict) and not _is_estimate(value):
            if "p" in value:
                yield f"{name} p", _cell(value["p"])
        elif not isinstance(value, list) and name not in HIDDEN:
            yield str(name), _cell(value)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if _is_estimate(value):
        ends = [value[key] for key in ("estimate", "low", "high")]
        if all(end is None or isinstance(end, int | float) for end in ends):
            return interval(*ends)
    if isinstance(value, float):
        return number(value) if abs(value) < 1000 else f"{value:.4g}"
    text = str(value)
    return text if len(text) <= 160 else f"{text[:160]}…"


def _more(count: int, file: str) -> str:
    return f"The first {MOST_LINES} of {count:,}; {file} has all" if count > MOST_LINES else ""
