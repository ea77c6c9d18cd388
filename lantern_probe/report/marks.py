"""Facts about one answer by which a reader filters samples, as bits of one number."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

MARKS = {
    "changed": "answer changed",
    "donor": "became the donor's",
    "right": "right",
    "wrong": "wrong",
    "unread": "no readable answer",
    "no-block": "no block",
    "truncated": "truncated",
    "failed": "failed or left out",
}
"""Every mark with its words on the page; the bit of a mark is its place here, and bit 8 says that
there is a row at all."""

_BIT = {name: 1 << place for place, name in enumerate(MARKS)}

PRESENT = 1 << len(MARKS)
"""Bit of a row that is there."""


def marks_of(row: Mapping[str, Any], own: Mapping[str, Any] | None) -> int:
    """The marks of a row, as a sum of bits with `PRESENT`.

    Args:
        row: The row.
        own: Row of the same sample and pass with own latents, under the same corruption of the
            image; None if there is none, or if it is this row.
    """
    if row.get("status", "ok") != "ok":
        return PRESENT | _BIT["failed"]
    answer, found = row.get("answer"), PRESENT
    if own is not None and own.get("status", "ok") == "ok" and "answer" in row and "answer" in own:
        donor = row.get("donor_answer")
        if answer != own["answer"]:
            found |= _BIT["changed"]
            if donor is not None and answer == donor:
                found |= _BIT["donor"]
    if row.get("correct") in (True, False) and answer is not None:
        found |= _BIT["right" if row["correct"] else "wrong"]
    if "answer" in row and answer is None:
        found |= _BIT["unread"]
    if row.get("emitted") is False:
        found |= _BIT["no-block"]
    if row.get("finish") == "truncated":
        found |= _BIT["truncated"]
    return found
