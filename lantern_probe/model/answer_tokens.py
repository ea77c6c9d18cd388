"""Tokens of an answer: where it begins in a text, and how each candidate may be written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from lantern_probe.tasks.answers import TAG


@dataclass(frozen=True)
class AnswerPlace:
    """The place at which an answer begins in a sequence of tokens.

    Attributes:
        start: Index of the first token of the answer itself.
        lead: Characters of the tag that the tokenizer merged into that token; mostly none.
    """

    start: int
    lead: str = ""


def find_answer(tokenizer: Any, ids: Sequence[int]) -> AnswerPlace | None:
    """Find the answer's first token, after the last `<answer>` tag and any white space.

        >>> from lantern_probe.model import find_answer
        >>> output = lantern.generate(sample)
        >>> ids = output.sequences[0, output.prompt_length :]
        >>> place = find_answer(lantern.processor.tokenizer, ids.tolist())
        >>> lantern.text(ids[place.start : place.start + 1]) == sample.answer
        True

    Args:
        tokenizer: The tokenizer, which decodes single tokens.
        ids: Generated tokens.

    Returns:
        The place; None for a text without the tag. A text that ends with the tag has its place
        after its last token.
    """
    pieces = [tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in ids]
    text = "".join(pieces)
    tag = text.rfind(TAG)
    if tag < 0:
        return None
    end, position = tag + len(TAG), 0
    for index, piece in enumerate(pieces):
        after = position + len(piece)
        if after > end and piece[max(0, end - position) :].strip():
            return AnswerPlace(index, text[position:end] if position < end else "")
        position = after
    return AnswerPlace(len(pieces))


def find_tag(tokenizer: Any, ids: Sequence[int]) -> int | None:
    """Index of the token with which the last `<answer>` tag begins; None for a text without one.

    Args:
        tokenizer: The tokenizer, which decodes single tokens.
        ids: Generated tokens.
    """
    pieces = [tokenizer.decode([i], clean_up_tokenization_spaces=False) for i in ids]
    tag, position = "".join(pieces).rfind(TAG), 0
    for index, piece in enumerate(pieces):
        position += len(piece)
        if 0 <= tag < position:
            return index
    return None


def answer_forms(tokenizer: Any, candidate: str, lead: str = "") -> list[list[int]]:
    """The token sequences in which a candidate may be written: bare, or after a space.

    Args:
        tokenizer: The tokenizer.
        candidate: The answer's text.
        lead: Characters of the tag that the first token holds too, as in `AnswerPlace`.
    """
    forms = {
        tuple(tokenizer.encode(lead + space + candidate, add_special_tokens=False))
        for space in ("", " ")
    }
    return [list(form) for form in sorted(forms)]


def indistinct(forms: dict[str, list[list[int]]], unknown: int | None) -> bool:
    """True if the tokenizer cannot tell candidates apart, so that scores cannot either.

    Args:
        forms: By candidate, its token sequences, as `answer_forms` gives them.
        unknown: Id of the tokenizer's unknown token, if it has one.
    """
    written = [tuple(form) for of_one in forms.values() for form in of_one]
    return len(set(written)) < len(written) or any(unknown in form for form in written)
