"""Parser audit: every pair of texts of which only one is right, and how each was read.

A difference between two conditions rests on its discordant pairs, and a parser's slip makes one as
well as a change of mind does: in one published study 18 of 22 discordant pairs were parser failures
(V_COT; docs/methods.md, Triggers). Here is every pair with both texts, the reading of every parser,
and the candidate that the scores prefer.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from lantern_probe.analysis.passes import unit_of
from lantern_probe.analysis.scores import most_probable
from lantern_probe.records.rows import PASS, Row

Doubt = Literal["unread", "disputed", "none"]


@dataclass(frozen=True)
class Reading:
    """One text of a discordant pair, and how it was read.

    Attributes:
        condition: Label of the condition.
        text: The generated text.
        answer: Answer as the run's parser reads it; None where it reads none.
        correct: True if it is the right one.
        parsed: Answer as each parser reads it.
        likeliest: Candidate of the highest score; None without scores.
    """

    condition: str
    text: str | None
    answer: str | None
    correct: bool
    parsed: Mapping[str, str | None]
    likeliest: str | None


@dataclass(frozen=True)
class Discordant:
    """One sample that only one of two conditions gets right.

    Attributes:
        sample: Id of the sample.
        gold: The right answer.
        first: The text under the first condition.
        second: The text under the second condition.
        doubt: `unread` (a text has no readable answer), `disputed` (the parsers disagree on whether
            a text is right) or `none`.
        number: Index of the pass; None in greedy decoding.
    """

    sample: str
    gold: str | None
    first: Reading
    second: Reading
    doubt: Doubt
    number: int | None = None


def discordant_pairs(first: Sequence[Row], second: Sequence[Row]) -> list[Discordant]:
    """Collect the samples that only one of two conditions gets right, in the order of the first.

    Of sampled decoding these are texts, paired by sample and pass.

        >>> from lantern_probe.analysis.discordant import discordant_pairs
        >>> row = {"status": "ok", "sample": "1", "condition": "own", "gold": "A", "answer": "A",
        ...        "correct": True, "text": "A", "parsed": {"default": "A"}, "logprobs": None}
        >>> other = {**row, "condition": "zeros", "answer": None, "correct": False, "text": "?"}
        >>> [pair.doubt for pair in discordant_pairs([row], [other])]
        ['unread']

    Args:
        first: Rows of one condition; those without a right answer are left out.
        second: Rows of the other.
    """
    other = {unit_of(row): row for row in second if _graded(row)}
    return [
        _pair(row, other[unit])
        for row in first
        if _graded(row)
        and (unit := unit_of(row)) in other
        and bool(row["correct"]) != bool(other[unit]["correct"])
    ]


def as_records(pairs: Sequence[Discordant], **about: Any) -> list[dict[str, Any]]:
    """Flatten pairs into plain objects for `discordant.jsonl`.

    Args:
        pairs: Discordant pairs.
        **about: Fields that all of them get, such as the model.
    """
    return [
        {
            **about,
            "sample": pair.sample,
            **({} if pair.number is None else {"pass": pair.number}),
            "gold": pair.gold,
            "doubt": pair.doubt,
            **_fields("first", pair.first),
            **_fields("second", pair.second),
        }
        for pair in pairs
    ]


def in_doubt(pairs: Sequence[Discordant]) -> int:
    """Number of pairs that hinge on how a text is read."""
    return sum(pair.doubt != "none" for pair in pairs)


def _graded(row: Row) -> bool:
    return row["status"] == "ok" and row.get("correct") is not None


def _pair(first: Row, second: Row) -> Discordant:
    gold = first["gold"]
    one, two = _reading(first), _reading(second)
    doubt: Doubt = "none"
    if one.answer is None or two.answer is None:
        doubt = "unread"
    elif any(
        (answer == gold) != reading.correct
        for reading in (one, two)
        for answer in reading.parsed.values()
    ):
        doubt = "disputed"
    return Discordant(first["sample"], gold, one, two, doubt, first.get(PASS))


def _reading(row: Row) -> Reading:
    return Reading(
        condition=row["condition"],
        text=row.get("text"),
        answer=row["answer"],
        correct=bool(row["correct"]),
        parsed=row.get("parsed") or {},
        likeliest=most_probable(row),
    )


def _fields(name: str, reading: Reading) -> dict[str, Any]:
    return {
        f"{name}_condition": reading.condition,
        f"{name}_answer": reading.answer,
        f"{name}_correct": reading.correct,
        f"{name}_parsed": dict(reading.parsed),
        f"{name}_likeliest": reading.likeliest,
        f"{name}_text": reading.text,
    }
