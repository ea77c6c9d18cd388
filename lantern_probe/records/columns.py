"""Rows as columns, and back: nested objects flattened in one stated, reversible way.

A field of an object in a row becomes a column of its own, named by its path with dots between:
`logprobs.A`. A dot or a backslash within a name is written with a backslash before it
(`moved.residual\\.3@slot`). Lists stay one cell. An object with more than `MOST_KEYS` different
names over all rows, such as one whose names are texts of the data, stays one cell too, and so does
an empty one. A field that a row lacks (`ABSENT`) is kept apart from one that is null.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from lantern_probe.records.rows import Row

MOST_KEYS = 64
"""Largest number of names, over all rows, of an object that becomes columns."""

ABSENT: Any = type("Absent", (), {"__repr__": lambda self: "absent"})()
"""Cell of a row that lacks the field; None is a field that is null."""

ColumnKind = Literal[
    "text", "integer", "number", "truth", "texts", "integers", "numbers", "truths", "json"
]
"""Kinds of cells: a value, a list of values, or anything else as JSON text."""

FieldPath = tuple[str, ...]
"""Names of the fields from the outside in."""

_LARGEST = 2**63 - 1
_EXACT = 2**53
"""Largest whole number up to which all have an exact form as a number with a fraction."""


@dataclass
class Column:
    """One column of a table.

    Attributes:
        path: Names of the fields from the outside in.
        cells: One value per row; `ABSENT` where the row lacks the field.
    """

    path: FieldPath
    cells: list[Any] = field(default_factory=list)

    @property
    def name(self) -> str:
        """The name of the column: its path, with dots between."""
        name = ".".join(part.replace("\\", "\\\\").replace(".", "\\.") for part in self.path)
        return name.encode("utf-8", "backslashreplace").decode()

    @property
    def kind(self) -> ColumnKind:
        """The kind of all cells that are neither absent nor null."""
        return _kind_of([cell for cell in self.cells if cell is not ABSENT and cell is not None])

    @property
    def empty(self) -> Literal["null", "missing", "mixed", "none"]:
        """The meaning of cells without a value."""
        null = any(cell is None for cell in self.cells)
        if any(cell is ABSENT for cell in self.cells):
            return "mixed" if null else "missing"
        return "null" if null else "none"

    def describe(self) -> dict[str, Any]:
        """Describe the column for a file: what leads back to the rows."""
        return {
            "name": self.name,
            "path": list(self.path),
            "kind": self.kind,
            "empty": self.empty,
        }


def to_columns(rows: Sequence[Row], first: Iterable[str] = ()) -> list[Column]:
    """Turn rows into columns, all as long as the rows.

        >>> columns = to_columns([{"sample": "1", "logprobs": {"A": -0.5}}, {"sample": "2"}])
        >>> [column.name for column in columns], columns[1].cells
        (['sample', 'logprobs.A'], [-0.5, absent])

    Args:
        rows: Rows as they are read.
        first: Fields whose columns come first; the others follow in the order of appearance.
    """
    whole = _kept_whole(rows)
    columns: dict[FieldPath, Column] = {(name,): Column((name,)) for name in first}
    for number, row in enumerate(rows):
        for path, value in _leaves(row, (), whole):
            column = columns.setdefault(path, Column(path))
            column.cells += [ABSENT] * (number - len(column.cells))
            column.cells.append(value)
    for column in columns.values():
        column.cells += [ABSENT] * (len(rows) - len(column.cells))
    return _beside(list(columns.values()))


def to_rows(columns: Sequence[Column]) -> list[Row]:
    """Turn columns back into rows.

    Args:
        columns: Columns of equal length.
    """
    rows: list[Row] = [{} for _ in columns[0].cells] if columns else []
    for column in columns:
        for row, cell in zip(rows, column.cells, strict=True):
            if cell is ABSENT:
                continue
            inner = row
            for name in column.path[:-1]:
                inner = inner.setdefault(name, {})
            inner[column.path[-1]] = cell
    return rows


def _leaves(
    value: Mapping[str, Any], path: FieldPath, whole: set[FieldPath]
) -> Iterable[tuple[FieldPath, Any]]:
    for name, inner in value.items():
        here = (*path, name)
        if isinstance(inner, Mapping) and inner and here not in whole:
            yield from _leaves(inner, here, whole)
        else:
            yield here, inner


def _kept_whole(rows: Sequence[Row]) -> set[FieldPath]:
    """The paths of objects that stay one cell, because they have too many names."""
    names: dict[FieldPath, set[str]] = {}

    def note(value: Mapping[str, Any], path: FieldPath) -> None:
        for name, inner in value.items():
            if isinstance(inner, Mapping):
                here = (*path, name)
                there = names.setdefault(here, set())
                there.update(inner)
                if len(there) <= MOST_KEYS:
                    note(inner, here)

    for row in rows:
        note(row, ())
    return {path for path, found in names.items() if len(found) > MOST_KEYS}


def _beside(columns: list[Column]) -> list[Column]:
    """Columns of one field side by side, in the order in which the fields appear."""
    order: dict[str, int] = {}
    for column in columns:
        order.setdefault(column.path[0], len(order))
    return sorted(columns, key=lambda column: order[column.path[0]])


def _kind_of(values: Sequence[Any]) -> ColumnKind:
    if not values:
        return "text"
    if all(isinstance(value, list) for value in values):
        inner = [item for value in values for item in value if item is not None]
        listed: dict[str, ColumnKind] = {
            "text": "texts", "integer": "integers", "number": "numbers", "truth": "truths"
        }  # fmt: skip
        return listed.get(_scalar_kind(inner), "json")
    return _scalar_kind(values)


def _scalar_kind(values: Sequence[Any]) -> ColumnKind:
    kinds = {type(value) for value in values}
    if not kinds or kinds == {str}:
        return "text" if all(is_encodable(value) for value in values) else "json"
    if kinds == {bool}:
        return "truth"
    if kinds == {int}:
        return "integer" if max(map(abs, values)) <= _LARGEST else "json"
    if kinds == {float}:
        return "number"
    if kinds == {int, float} and all(abs(v) <= _EXACT for v in values if isinstance(v, int)):
        return "number"
    return "json"


def is_encodable(text: str) -> bool:
    """True if a text has no half character, so that UTF-8 can hold it.

    Args:
        text: Any text.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def as_json(value: Any) -> str:
    """JSON text of a value, readable where UTF-8 can hold it.

    Args:
        value: Any plain value.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False)
    return text if is_encodable(text) else json.dumps(value, allow_nan=False)
