"""The audit of discordant pairs: which of them hinge on how a text is read."""

from __future__ import annotations

from typing import Any

from lantern_probe.analysis.discordant import as_records, discordant_pairs, in_doubt
from lantern_probe.tasks.answers import parse_answer
from lantern_probe.tasks.sample import Sample

SAMPLE = Sample(
    id="1",
    images=(),
    question="Who is in front?",
    options=("the dog", "a man", "a cat", "nobody"),
    answer="B",
    lettered=True,
)


def row(condition: str, text: str, parser: str = "official", **more: Any) -> dict[str, Any]:
    """A row as an ablation writes it, under a parser of the run."""
    read = {p: parse_answer(text, SAMPLE, p) for p in ("default", "official", "strict")}
    answer = read[parser]
    return {
        "sample": "1",
        "condition": condition,
        "status": "ok",
        "gold": "B",
        "text": text,
        "parsed": read,
        "answer": answer,
        "correct": answer == "B",
        "logprobs": None,
        **more,
    }


def test_an_article_read_as_a_letter_is_a_dispute_and_no_change_of_mind() -> None:
    """V_COT: 18 of 22 discordant pairs were such failures."""
    own = row("own", "<answer>B</answer>")
    banned = row("ban", "<answer>a man</answer>")
    (pair,) = discordant_pairs([own], [banned])
    assert (pair.first.correct, pair.second.correct) == (True, False)
    assert pair.second.answer == "a" and pair.second.parsed["default"] == "B"
    assert pair.doubt == "disputed" and in_doubt([pair]) == 1


def test_a_text_without_an_answer_is_unread_and_a_change_of_mind_is_none_of_both() -> None:
    own = row("own", "<answer>B</answer>", "default")
    (unread,) = discordant_pairs([own], [row("ban", "<answer>", "default")])
    assert unread.doubt == "unread" and unread.second.answer is None
    scores = {"A": -3.0, "B": -2.0, "C": -0.1, "D": -4.0}
    (changed,) = discordant_pairs(
        [own], [row("ban", "<answer>C</answer>", "default", logprobs=scores)]
    )
    assert changed.doubt == "none" and changed.second.likeliest == "C"
    (record,) = as_records([changed], model="m")
    assert record["model"] == "m" and record["second_text"] == "<answer>C</answer>"
    assert record["first_parsed"]["strict"] == "B" and record["second_correct"] is False


def test_pairs_that_agree_and_rows_that_failed_are_no_pairs() -> None:
    own = row("own", "<answer>B</answer>")
    assert discordant_pairs([own], [own]) == []
    assert discordant_pairs([own], [{**row("ban", "<answer>C</answer>"), "status": "failed"}]) == []
    assert discordant_pairs([own], [{**row("ban", "<answer>C</answer>"), "correct": None}]) == []
