"""Tokens of an answer: where it begins in a text, and how each candidate may be written."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations
from typing import Any

from lantern_probe.tasks.answers import TAG

ENDS = ("</answer>", " </answer>", "\n", ".")
"""Texts with which an answer may end; the first token of each is scored."""

LETTER_ENDS = (")", ":", ",", ";")
"""Further texts that may follow a letter."""

_LONGEST_CHARACTER = 4
"""Most bytes of a character in UTF-8."""

_CLOSING = {"(": ")", "[": "]", "{": "}", "“": "”", "‘": "’", "「": "」", "«": "»", "（": "）"}

_MARKS = "([{*_\"'`$“‘「«（"

_STEPS = (
    re.compile(r"\s+"),
    re.compile(rf"[{re.escape(_MARKS)}]"),
    re.compile(r"\\(?:(?:boxed|fbox|text|textbf|mathrm|mathbf)\s*\{|[(\[])"),
    re.compile(
        r"(?:(?:so|thus|therefore|hence)\b,?\s*)?(?:(?:the|my|final|correct|best|right)\s+)*"
        r"(?:answer|option|choice|letter)\b"
        r"(?:\s+(?:is|would be|should be|must be|option|choice|letter)\b)*\s*[:=]?",
        re.IGNORECASE,
    ),
)
"""Steps between the tag and the answer itself: white space, marks, an announcement."""


@dataclass(frozen=True)
class AnswerPlace:
    """The place at which an answer begins in a sequence of tokens.

    Attributes:
        start: Index of the first token of the answer itself.
        lead: Characters before the answer that the tokenizer merged into that token; mostly none.
        opening: Text between the tag and the answer, such as `**` or `Answer: (`; mostly none.
        ends: Texts with which the answer may end; default `ENDS`, those of a tag.
    """

    start: int
    lead: str = ""
    opening: str = ""
    ends: tuple[str, ...] = ENDS


def find_answer(
    tokenizer: Any, ids: Sequence[int], candidates: Sequence[str] = (), *, lead: str = TAG
) -> AnswerPlace | None:
    """Find the answer's first token, after the last `<answer>` tag and what may open an answer.

    White space, marks such as `(` and `**`, and an announcement such as `Answer:` are skipped, so
    that the place of "(B)" is at "B".

        >>> from lantern_probe.model import find_answer
        >>> output = lantern.generate(sample)
        >>> ids = output.sequences[0, output.prompt_length :]
        >>> place = find_answer(lantern.processor.tokenizer, ids.tolist())
        >>> lantern.text(ids[place.start : place.start + 1]) == sample.answer
        True

    Args:
        tokenizer: The tokenizer, which decodes single tokens.
        ids: Generated tokens.
        candidates: Answers to tell apart; with what one of them begins is not skipped.
        lead: Text after which the answer stands; default the tag.

    Returns:
        The place; None for a text without the tag. A text that ends with the tag has its place
        after its last token.
    """
    pieces = _pieces(tokenizer, ids)
    text = "".join(pieces)
    tag = text.rfind(lead)
    if tag < 0:
        return None
    opening = _opening(text[tag + len(lead) :], candidates).rstrip()
    end, position = tag + len(lead) + len(opening), 0
    for index, piece in enumerate(pieces):
        after = position + len(piece)
        if after > end and piece[max(0, end - position) :].strip():
            merged = text[position:end] if position < end else ""
            return AnswerPlace(index, merged, opening.lstrip(), _ends(tokenizer, lead))
        position = after
    return AnswerPlace(len(pieces), "", opening.lstrip(), _ends(tokenizer, lead))


def _ends(tokenizer: Any, lead: str) -> tuple[str, ...]:
    """The texts with which an answer may end: by its lead's bracket, or by the text's own end."""
    if lead == TAG:
        return ENDS
    if closing := _CLOSING.get(lead.rstrip()[-1:]):
        return (closing, f" {closing}")
    return ("\n", ".", *filter(None, [tokenizer.eos_token]))


def _pieces(tokenizer: Any, ids: Sequence[int]) -> list[str]:
    """The text that each token adds; the last token of a split character adds the whole of it."""
    pieces: list[str] = []
    open_ids: list[int] = []
    for i in ids:
        open_ids.append(i)
        text = tokenizer.decode(open_ids, clean_up_tokenization_spaces=False)
        if text.endswith("\ufffd") and len(open_ids) < _LONGEST_CHARACTER:
            pieces.append("")
        else:
            pieces.append(text)
            open_ids = []
    if open_ids:
        pieces[-1] = tokenizer.decode(open_ids, clean_up_tokenization_spaces=False)
    return pieces


def _opening(text: str, candidates: Sequence[str]) -> str:
    """The beginning of a text that is not yet its answer."""
    at = 0
    while at < len(text):
        rest = text[at:]
        if any(re.match(rf"{re.escape(c)}(?!\w)", rest, re.IGNORECASE) for c in candidates):
            break
        found = next((match for step in _STEPS if (match := step.match(rest))), None)
        if found is None or _begins(found.group(), candidates):
            break
        at += found.end()
    return text[:at]


def _begins(step: str, candidates: Sequence[str]) -> bool:
    """True if a candidate begins with the same mark or word."""
    first = re.match(r"\w+|\S", step)
    return first is not None and any(
        re.match(rf"{re.escape(first.group())}(?!\w)", c.lstrip(), re.IGNORECASE)
        if first.group().isalnum()
        else c.lstrip().startswith(first.group())
        for c in candidates
    )


def find_tag(tokenizer: Any, ids: Sequence[int], lead: str = TAG) -> int | None:
    """Index of the token with which the last `<answer>` tag begins; None for a text without one.

    Args:
        tokenizer: The tokenizer, which decodes single tokens.
        ids: Generated tokens.
        lead: Text after which the answer stands; default the tag.
    """
    pieces = _pieces(tokenizer, ids)
    tag, position = "".join(pieces).rfind(lead), 0
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


def closed_forms(
    tokenizer: Any, candidates: Sequence[str], place: AnswerPlace | None = None
) -> dict[str, list[list[int]]]:
    """The token sequences in which each candidate may be written, up to the first token behind it.

    A form has the end of the answer, so that "orange" is not part of "orange circle": the closing
    tag, white space, a full stop, or the marks that close those of `place.opening`; after a letter
    also the marks of `LETTER_ENDS`. An end with which another candidate goes on is left out.

    Args:
        tokenizer: The tokenizer.
        candidates: Answers to tell apart.
        place: Place of the answer, as `find_answer` gives it; without opening by default.
    """
    place = place or AnswerPlace(0)
    unknown = getattr(tokenizer, "unk_token_id", None)
    bare = {c: answer_forms(tokenizer, c, place.lead) for c in candidates}
    longer = {tuple(form[:k]) for some in bare.values() for form in some for k in range(len(form))}
    longer |= {tuple(form) for some in bare.values() for form in some}
    closed: dict[str, list[list[int]]] = {}
    for candidate in candidates:
        ends = [*place.ends, *_closing(place.opening)]
        ends += LETTER_ENDS if len(candidate) == 1 and candidate.isalpha() else ()
        found = {
            form
            for space in ("", " ")
            for end in ends
            if (form := _closed(tokenizer, place.lead + space + candidate, end, unknown))
        }
        kept = sorted(form for form in found if form not in longer)
        closed[candidate] = [list(form) for form in kept] or bare[candidate]
    return closed


def _closing(opening: str) -> Iterator[str]:
    """The marks that close an opening, alone and with the closing tag."""
    for mark in dict.fromkeys(mark for mark in opening if mark in _MARKS):
        for closing in (_CLOSING.get(mark, mark), 2 * _CLOSING.get(mark, mark)):
            yield closing
            yield closing + "</answer>"


def _closed(tokenizer: Any, text: str, end: str, unknown: int | None) -> tuple[int, ...] | None:
    """The tokens of a text and the first token behind it; None if there is no such token."""
    bare = tokenizer.encode(text, add_special_tokens=False)
    ids = tokenizer.encode(text + end, add_special_tokens=False)
    if unknown is not None and unknown in ids and unknown not in bare:
        return None
    inside = len("".join(text.split()))
    for stop in range(1, len(ids) + 1):
        decoded = tokenizer.decode(ids[:stop], clean_up_tokenization_spaces=False)
        if len("".join(decoded.split())) > inside:
            return tuple(ids[:stop])
    return tuple(ids) if len(ids) > len(bare) else None


def indistinct_pairs(
    forms: Mapping[str, Sequence[Sequence[int]]], unknown: int | None
) -> list[tuple[str, str]]:
    """Pairs of candidates of which a form of one begins, or is, a form of the other.

    Scores cannot tell them apart. A candidate with an unknown token is paired with every other.

    Args:
        forms: By candidate, its token sequences.
        unknown: Id of the tokenizer's unknown token, if it has one.
    """
    written = {name: [tuple(form) for form in some] for name, some in forms.items()}
    vague = {name for name, some in written.items() if any(unknown in form for form in some)}

    def alike(one: str, two: str) -> bool:
        return any(a[: len(b)] == b or b[: len(a)] == a for a in written[one] for b in written[two])

    return [
        (one, two)
        for one, two in combinations(written, 2)
        if one in vague or two in vague or alike(one, two)
    ]


def indistinct(forms: dict[str, list[list[int]]], unknown: int | None) -> bool:
    """True if the tokenizer cannot tell candidates apart, so that scores cannot either.

    Args:
        forms: By candidate, its token sequences, as `answer_forms` gives them.
        unknown: Id of the tokenizer's unknown token, if it has one.
    """
    alone = any(unknown in form for some in forms.values() for form in some)
    return alone or bool(indistinct_pairs(forms, unknown))
