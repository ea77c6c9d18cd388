"""Free texts held against the right answer: exactly, in normal form, or as numbers."""

from __future__ import annotations

import re
from decimal import Decimal, InvalidOperation

from lantern_probe.errors import LanternError
from lantern_probe.tasks.answer_reading import plain_text
from lantern_probe.tasks.sample import Sample
from lantern_probe.vocabulary import Match

YES_NO = ("yes", "no")
"""Options of a question whose right answer is yes or no and that has none of its own."""

_NUMBER_WORDS = {
    word: str(number)
    for number, word in enumerate(
        [
            "zero",
            "one",
            "two",
            "three",
            "four",
            "five",
            "six",
            "seven",
            "eight",
            "nine",
            "ten",
            "eleven",
            "twelve",
            "thirteen",
            "fourteen",
            "fifteen",
            "sixteen",
            "seventeen",
            "eighteen",
            "nineteen",
            "twenty",
        ]
    )
}

_NUMBER = re.compile(r"(?<![\w.,])[-+\u2212]?(?:\d[\d,]*(?:\.\d+)?|\.\d+)(?:[eE][-+]?\d+)?")

_THOUSANDS = re.compile(r"\d{1,3}(?:,\d{3})+|\d+")

_CHANGES = re.compile(
    r"\b(?:not|no|never|neither|hundred|thousand|million|billion|trillion|dozen|half|percent|minus"
    r"|negative)\b|\w+n't\b|%",
    re.IGNORECASE,
)
"""Words that deny a number or make it another one."""

_ARTICLES = {"a", "an", "the"}

_WORD = re.compile(r"(?:(?<!\w)-(?=\d))?[^\W_]+(?:(?<=\d)[.,:/](?=\d)[^\W_]+)*|[%+<>=°$€£]")


def read_free_text(content: str, sample: Sample) -> str:
    """The right answer of an open question if a text agrees with it, else the text.

    Args:
        content: Text of the answer.
        sample: Sample without options. `accepted` texts count as its answer.
    """
    said = content.strip()
    right = () if sample.answer is None else (sample.answer, *sample.accepted)
    return str(sample.answer) if any(agrees(said, one, sample.match) for one in right) else said


def agrees(said: str, right: str, match: Match) -> bool:
    """True if a text is the right answer.

    Args:
        said: Text of an answer.
        right: Text of the right answer.
        match: `exact` compares the texts without spaces around them. `normalised` leaves out case,
            articles, punctuation and further spaces, and writes "two" as 2. `numeric` compares the
            one number of each; a text with two numbers, a denial or a word such as "million" or
            "percent" that the right answer lacks agrees with nothing. There is no tolerance.
    """
    if match == "exact":
        return said.strip() == right.strip()
    if match == "normalised":
        return normal_form(said) == normal_form(right)
    number = number_of(said)
    return number is not None and number == number_of(right) and _changed(said) == _changed(right)


def normal_form(text: str) -> tuple[str, ...]:
    """The words of a text without case, articles and punctuation; all of it if no word is left.

    Args:
        text: Any text.
    """
    words = _WORD.findall(plain_text(text).casefold())
    kept = tuple(_NUMBER_WORDS.get(word, word) for word in words if word not in _ARTICLES)
    return kept or tuple(words) or tuple(text.casefold().split())


def number_of(text: str) -> Decimal | None:
    """The one number in a text; None if there is none, or more than one.

    Args:
        text: Any text. Commas may part thousands ("1,234"), and zero to twenty may be words.
    """
    text = plain_text(text)
    found: list[Decimal | None] = [_value(match.group()) for match in _NUMBER.finditer(text)]
    words = re.findall(r"[a-z]+", text.casefold())
    found += [Decimal(_NUMBER_WORDS[word]) for word in words if word in _NUMBER_WORDS]
    # Digits beside the numbers found belong to something that is none, as in "3rd" or "1/2/3".
    rest = _NUMBER.sub(" ", text)
    return found[0] if len(found) == 1 and not re.search(r"\d", rest) else None


def _value(text: str) -> Decimal | None:
    whole = re.split(r"[.eE]", text.lstrip("-+\u2212"))[0]
    if whole and not _THOUSANDS.fullmatch(whole):
        return None
    try:
        return Decimal(text.replace(",", "").replace("\u2212", "-"))
    except InvalidOperation:
        return None


def _changed(text: str) -> list[str]:
    return sorted(match.group().casefold() for match in _CHANGES.finditer(plain_text(text)))


def check_right_answer(answer: str, match: Match) -> None:
    """Refuse a right answer with which no text can agree.

    Args:
        answer: The right answer.
        match: The comparison.

    Raises:
        LanternError: there is not exactly one number in an answer that is compared as one.
    """
    if match == "numeric" and number_of(answer) is None:
        raise LanternError(
            f"the answer {answer!r:.60} does not have exactly one number; compare it by "
            "match='normalised' (--match normalised)"
        )
