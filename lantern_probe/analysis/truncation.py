"""Texts cut off at the token limit: their share, and a warning where two conditions differ in it.

A text that was cut off has no answer, or half of one. Counted as wrong it lowers an accuracy, and
counted as unparsed it looks like a loss of format; neither says what the model would have answered.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence

from lantern_probe.analysis.passes import share_of
from lantern_probe.records.rows import Row
from lantern_probe.stats import Proportion


def truncated_share(rows: Iterable[Row]) -> Proportion | None:
    """Count the texts that were cut off at the token limit, with a 95 % Wilson interval.

    Where images repeat, n is divided by the design effect. Several passes are averaged by sample.

    Args:
        rows: Rows that ran.

    Returns:
        None where a row does not record how its text ended, as in runs of format 1.
    """
    some = list(rows)
    if any(row.get("finish") is None for row in some):
        return None
    return share_of([(row, row["finish"] == "truncated") for row in some])


def truncation_notes(
    shares: Mapping[str, Proportion | None], pairs: Sequence[tuple[str, str]]
) -> list[str]:
    """Warn of comparisons whose two conditions differ in the share of texts that were cut off.

    Args:
        shares: Share by condition.
        pairs: Conditions that are compared.

    Returns:
        One sentence per pair that differs, with both counts.
    """
    notes = []
    for first, second in pairs:
        one, two = shares.get(first), shares.get(second)
        if one is None or two is None or not one.n or not two.n:
            continue
        if one.estimate != two.estimate:
            notes.append(
                f"{first}: {one.count:.9g} of {one.n} texts were cut off at the token limit, "
                f"under {second} {two.count:.9g} of {two.n}: their difference is partly one of "
                "length; raise --max-new-tokens"
            )
    return notes
