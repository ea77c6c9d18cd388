"""Rows of served answers, in the form of local ones."""

from __future__ import annotations

from typing import Any

from lantern_probe.model.prompting import Prompting
from lantern_probe.records.rows import Row
from lantern_probe.records.schema import ServedRow, failed_row
from lantern_probe.serving.markers import Markers
from lantern_probe.serving.question import Question
from lantern_probe.serving.reply import Reply
from lantern_probe.serving.scores import first_logprobs
from lantern_probe.serving.transport import Failure
from lantern_probe.tasks.answers import Parser, parse_answer, parsers
from lantern_probe.tasks.sample import Sample


def served_row(
    asking: Prompting,
    label: str,
    question: Question,
    reply: Reply,
    attempts: int,
    parser: Parser,
    emitted: bool | None,
) -> Row:
    """The row of a served answer.

    Args:
        asking: Processor of the model.
        label: The condition.
        question: The question as it was sent.
        reply: The reply.
        attempts: Number of requests it took.
        parser: Parser of the answers.
        emitted: True if the local own run opened a block; None without such a run, where the
            served text decides.
    """
    sample, markers = question.sample, Markers.of(asking)
    seen = markers.seen(reply, asking)
    text = markers.without_ends(reply.text)
    answer = parse_answer(text, sample, parser)
    read = {name: parse_answer(text, sample, name) for name in parsers(sample)} | {parser: answer}
    row: ServedRow = {
        "sample": sample.id,
        "condition": label,
        "status": "ok",
        "gold": sample.answer,
        "answer": answer,
        "correct": None if sample.answer is None else answer == sample.answer,
        "parsed": read,
        "candidates": len(sample.candidates),
        "emitted": seen["opened"] > 0 if emitted is None else emitted,
        "blocks": seen["opened"],
        "fed": [],
        "finish": "truncated" if reply.finish == "truncated" else "closed",
        "tokens": asking.count(text) if reply.tokens is None else reply.tokens,
        "cluster": sample.cluster,
        "category": sample.attributes.get("category"),
        "logprobs": None,
        "mass": None,
        "text": text,
        "kept": "-",
        "prompt_tokens": question.prompt_tokens,
        "served_prompt_tokens": reply.prompt_tokens,
        "attempts": attempts,
        "opened": seen["opened"],
        "opened_in_content": seen["opened_in_content"],
        "slot_tokens": seen["slot_tokens"],
        "missing_tokens": seen["missing_tokens"],
        "thoughts_apart": bool(reply.thoughts),
    }
    if reply.prompt_tokens != question.prompt_tokens:
        row["prompt_mismatch"] = True
    if reply.scores:
        row["first_logprobs"] = first_logprobs(
            asking.processor.tokenizer, reply.scores, sample.candidates
        )
    if "pair" in sample.attributes:
        row["pair"] = str(sample.attributes["pair"])
    return dict(row)


def failure_row(sample: Sample, label: str, error: Exception) -> Row:
    """The row of a question without an answer; it is asked again when the run goes on.

    Args:
        sample: The sample.
        label: The condition.
        error: Reason.
    """
    row: dict[str, Any] = dict(failed_row(sample.id, label, error))
    if isinstance(error, Failure):
        row |= {"failure": error.kind, "attempts": error.attempts}
    return row
