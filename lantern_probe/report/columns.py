"""Rows as columns: every text once, the rest as numbers, so that a browser reads them fast."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

DIGITS = 6
"""Significant digits of the numbers on a page."""


class Strings:
    """Texts, each kept once and known by its index."""

    def __init__(self) -> None:
        self.texts: list[str] = []
        self._at: dict[str, int] = {}

    def at(self, text: str | None) -> int:
        """Index of a text, added if it is new; -1 for None.

        Args:
            text: The text.
        """
        if text is None:
            return -1
        if text not in self._at:
            self._at[text] = len(self.texts)
            self.texts.append(text)
        return self._at[text]


def rounded(value: Any) -> Any:
    """A plain value with its floats at `DIGITS` significant digits.

    >>> rounded({"mass": [0.123456789, 1]})
    {'mass': [0.123457, 1]}

    Args:
        value: Value of a row, as JSON has it.
    """
    if isinstance(value, float):
        return float(f"{value:.{DIGITS}g}")
    if isinstance(value, list):
        return [rounded(item) for item in value]
    if isinstance(value, dict):
        return {name: rounded(item) for name, item in value.items()}
    return value


def column(values: Sequence[Any], strings: Strings) -> dict[str, Any]:
    """Encode one field of many rows.

    >>> strings = Strings()
    >>> column(["red", None, "red"], strings), strings.texts
    ({'text': [0, -1, 0]}, ['red'])
    >>> column([{"red": -1.5, "blue": -0.25}, None], strings)
    {'keys': [[0, 1]], 'of': [0, -1], 'values': [[-1.5, -0.25], None]}

    Args:
        values: A value per row; None where the row has none.
        strings: Texts of the chunk.

    Returns:
        `text`, an index per row; `keys`, `of` and `values` of objects of numbers, in which the
        names are kept once; or `plain`, the values as they are.
    """
    if all(value is None or isinstance(value, str) for value in values):
        return {"text": [strings.at(value) for value in values]}
    if all(value is None or _is_numbers(value) for value in values):
        kinds: dict[tuple[str, ...], int] = {}
        of = [-1 if value is None else kinds.setdefault((*value,), len(kinds)) for value in values]
        return {
            "keys": [[strings.at(name) for name in names] for names in kinds],
            "of": of,
            "values": [None if v is None else rounded([*v.values()]) for v in values],
        }
    return {"plain": [rounded(value) for value in values]}


def _is_numbers(value: Any) -> bool:
    return isinstance(value, Mapping) and all(
        number is None or (isinstance(number, int | float) and not isinstance(number, bool))
        for number in value.values()
    )
