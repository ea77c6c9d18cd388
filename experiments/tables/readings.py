"""Confusion matrices of readings: what came out, against what is right."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from rich.console import Console

from ..console import print_table, titled_table

Record = Mapping[str, Any]
"""One cell of readings.json: evaluations of one size from one pool or mixture."""


def confusion(records: Sequence[Record], n: int) -> dict[str, Counter[str]]:
    """Numbers of evaluations of one size by right reading and by reading.

    Args:
        records: Content of readings.json.
        n: Number of pairs of an evaluation.

    Returns:
        Counts of readings by right reading; two right ones are joined by "or".
    """
    found: dict[str, Counter[str]] = {}
    for one in records:
        if one["n"] == n:
            found.setdefault(" or ".join(one["right"]), Counter()).update(one["readings"])
    return found


def columns(matrix: Mapping[str, Counter[str]]) -> list[str]:
    """Readings of a confusion matrix, `undecided` at the end."""
    names = {word for counts in matrix.values() for word in counts} - {"undecided"}
    return [*sorted(names), "undecided"]


def bound_of_organisms(records: Sequence[Record], n: int) -> tuple[int, int, float]:
    """Organisms with a wrong reading, all organisms, and the 95 % upper bound of their share.

    The organism is the unit: draws from one pool, and mixtures of one model's families, are not
    independent organisms. The bound is the exact one of Clopper & Pearson (1934), one-sided.

    Args:
        records: Content of readings.json.
        n: Number of pairs of an evaluation.
    """
    from lantern_probe.stats.fractions import exact_share

    wrong: dict[str, int] = {}
    for one in records:
        if one["n"] == n:
            wrong[one["name"]] = wrong.get(one["name"], 0) + one["wrong"]
    bad = sum(count > 0 for count in wrong.values())
    return bad, len(wrong), exact_share(bad, len(wrong), 0.05)[1]


def totals(records: Sequence[Record], n: int) -> dict[str, int]:
    """Numbers of evaluations of one size: all, right, undecided and wrong ones.

    Args:
        records: Content of readings.json.
        n: Number of pairs of an evaluation.
    """
    some = [one for one in records if one["n"] == n]
    return {
        name: sum(one[name] for one in some) for name in ("draws", "hits", "undecided", "wrong")
    }


def verdict(records: Sequence[Record], n: int) -> str:
    """A sentence on how many evaluations of one size are read wrong.

    Args:
        records: Content of readings.json.
        n: Number of pairs of an evaluation.
    """
    total, (bad, organisms, bound) = totals(records, n), bound_of_organisms(records, n)
    return (
        f"At {n} pairs {total['wrong']:,} of {total['draws']:,} evaluations are read wrong and "
        f"{total['undecided']:,} are undecided. The organism is the unit: {bad} of {organisms} "
        f"have a wrong reading, and the exact upper 95 % bound of that share is {bound:.2f}."
    )


def print_confusion(records: Sequence[Record], n: int, console: Console) -> None:
    """Print the confusion matrix of one size.

    Args:
        records: Content of readings.json.
        n: Number of pairs of an evaluation.
        console: Console to print on.
    """
    matrix = confusion(records, n)
    names = columns(matrix)
    table = titled_table(f"evaluations of {n} pairs, by right reading and by reading")
    table.add_column("right", overflow="fold")
    for name in names:
        table.add_column(name, justify="right", overflow="fold")
    for right in sorted(matrix):
        table.add_row(right, *(str(matrix[right][name] or "-") for name in names))
    print_table(table, console)
    console.print(verdict(records, n), markup=False, highlight=False)
