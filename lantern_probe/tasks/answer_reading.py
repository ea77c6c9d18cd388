"""Reading of an answer's text: the one candidate that it names, or None.

A text names a candidate by its letter, by the option's words, or by both. It is read if all that it
names is the same candidate and nothing denies it. Marks around the answer, phrases that announce it
and an explanation after it do not matter.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lantern_probe.tasks.sample import Sample

# A sign and the marks inside a number are part of it: "1.5" is not "15", nor "-5" "5".
_WORD = re.compile(r"(?:(?<!\w)-(?=\d))?[^\W_]+(?:(?<=\d)[.,:/](?=\d)[^\W_]+)*")

_QUOTES = str.maketrans("‘’‛′ʼ“”„‟″", "'''''\"\"\"\"\"")

_IN_WORD = re.compile(r"(?<=\w)['`](?=\w)")

_TAG = re.compile(r"</?(?:b|i|u|s|p|em|strong|code|span|mark|br)\s*/?>")

_DENYING_MARKS = re.compile(r"[¬≠❌✗✘✖⛔🚫]|~~|!(?=\w)|</?(?:del|strike)>")

_LATEX_NOT = re.compile(r"\\(?:neg|lnot|neq?|not|sim|x?cancel|overline|bar)\b")

_LATEX = re.compile(r"\\(?:[A-Za-z]+|[()\[\],;!])")


def _set(words: str) -> frozenset[str]:
    return frozenset(words.split())


_NAMED = _set("answer answers option choice letter response solution ans")
"""Words that announce a letter."""

_FILLER = _NAMED | _set(
    "the is are was be it its this that one my your final correct right best true so thus "
    "therefore hence would should must will i id ill we think believe guess say choose chose pick "
    "select selected chosen go going with most likely probably here question to of"
)
"""Words that may stand around an answer without a say in it."""

_ARTICLES = _set("a an the")

_EXPLAINS = _set(
    "because since as it its this that there he she they we i which due given based so for "
    "explanation reason reasoning in from"
)
"""Words with which an explanation begins, in which parts of any option may occur."""

_DENIES = re.compile(
    r"\b(?:not|no|non|nor|never|neither|none|nothing|cannot|cant|aint|wont|dont|without|wrong|false"
    r"|incorrect|untrue|hardly|barely|scarcely|doubtful|except|excluding|excluded|either|both"
    r"|unlikely|impossible"
    r"|(?:is|are|was|were|do|does|did|could|would|should|has|have|had|must)nt"
    r"|(?:rather|other) than|instead of|(?:anything|all) but|far from|opposite of|ruled? out)\b"
    r"|\b(?:or|and)$"
)
"""Words that deny or leave open, and a text cut off before its second answer."""

# An "a" (or "I") is a letter where no word follows that it could be the article (pronoun) of.
_NO_ARTICLE = re.compile(
    r"[^\w\s]|[^\S\n]*(?:\n|$)|\s+[^\w\s]+(?:\s|$)|\s+(?:and|or|then)\b|\s+[^\w\s]*[^\W_]\b",
    re.IGNORECASE,
)

_SUBJECT = re.compile(r"\s+(?:because|since|is|was|as|seems|looks|would|due|given|for)\b")


_Form = Callable[[str], tuple[str, ...]]


@dataclass(frozen=True)
class _Text:
    """A text without its marks: the words in lower case, and where each stands in `plain`."""

    plain: str
    raw: tuple[str, ...]
    words: tuple[str, ...]
    spans: tuple[tuple[int, int], ...]

    @classmethod
    def of(cls, content: str) -> _Text:
        plain = plain_text(content)
        found = list(_WORD.finditer(plain))
        raw = tuple(match.group() for match in found)
        return cls(plain, raw, tuple(map(str.casefold, raw)), tuple(m.span() for m in found))


def read_letter(content: str, sample: Sample) -> str | None:
    """The letter that a text names, by itself, by its option or by both; None if not exactly one.

    Args:
        content: Text of the answer.
        sample: Sample that is answered by a letter.
    """
    letters = sample.candidates
    options = sample.options[: len(letters)]
    text = _Text.of(content)
    if _DENYING_MARKS.search(text.plain):
        return None
    alone = _lone_letter(text)
    if alone is not None:
        # The requested form, so it wins over an option that is itself a letter.
        return alone if alone in letters else None
    whole = {letters[index] for index in _equal(content, options, (_spaced, _folded))}
    whole |= _sentence_letter(text, letters, options)
    spans = _option_spans(text.words, options)
    places = _letters_at(text, spans, letters)
    named = {text.raw[at].upper() for at in places}
    alike = {letters[index] for index in _equal(content, options, (_words,))}
    readings = whole or (alike and alike | named)
    if readings:
        return readings.pop() if len(readings) == 1 else None
    found = {index for _, _, index in spans}
    if _denied(text, spans, options) or len(named) > 1:
        return None
    if not named:
        return letters[found.pop()] if len(found) == 1 else None
    (letter,) = named
    if letter not in letters:
        return None
    own = _core(options[letters.index(letter)])
    if any(_core(options[index]) != own for index in found):
        return None
    if not found and _contradicts(text, {*places}, own, options):
        return None
    return letter


def read_words(content: str, sample: Sample) -> str | None:
    """The option that a text is or contains as whole words; None if not exactly one.

    Args:
        content: Text of the answer.
        sample: Sample that is answered in words.
    """
    options = sample.options
    whole = _equal(content, options, (_spaced, _folded))
    text = _Text.of(content)
    if not whole and _DENYING_MARKS.search(text.plain):
        return None
    whole = whole or _equal(content, options, (_words,))
    if whole:
        return options[whole[0]] if len(whole) == 1 else None
    spans = _option_spans(text.words, options)
    found = {index for _, _, index in spans}
    if len(found) != 1 or _denied(text, spans, options):
        return None
    return options[found.pop()]


def plain_text(content: str) -> str:
    """The text without typeset quotes, wide letters, LaTeX commands and HTML tags."""
    text = unicodedata.normalize("NFKC", content.translate(_QUOTES)).translate(_QUOTES)
    text = _LATEX.sub(" ", _LATEX_NOT.sub(" not ", _TAG.sub(" ", text)))
    # An underscore is no letter, although a regular expression takes it for part of a word.
    return _IN_WORD.sub("", text).replace("_", "*")


def _equal(content: str, options: Sequence[str], forms: Sequence[_Form]) -> list[int]:
    """Indices of the options equal to the content, by the first form in which any is."""
    for form in forms:
        given = form(content)
        hits = [i for i, option in enumerate(options) if given and form(option) == given]
        if hits:
            return hits
    return []


def _spaced(text: str) -> tuple[str, ...]:
    return tuple(text.split())


def _folded(text: str) -> tuple[str, ...]:
    return tuple(text.casefold().split())


def _words(text: str) -> tuple[str, ...]:
    return _Text.of(text).words


def _core(text: str) -> tuple[str, ...]:
    """The words without an article before them."""
    words = _words(text)
    noun = len(words) > 1 and (len(words[1]) > 1 or words[1].isdecimal())
    return words[1:] if noun and words[0] in _ARTICLES else words


def _lone_letter(text: _Text) -> str | None:
    """The letter of a text that holds nothing else, or only words that announce it."""
    if not text.raw or len(text.raw[-1]) != 1 or not text.raw[-1].isascii():
        return None
    before = text.words[:-1]
    announced = set(before) <= _FILLER and (not before or not _NAMED.isdisjoint(before))
    return text.raw[-1].upper() if announced and text.raw[-1].isalpha() else None


def _option_spans(words: Sequence[str], options: Sequence[str]) -> list[tuple[int, int, int]]:
    """Start, stop and index of every option in the words, outside a longer option's words."""
    forms = {(form, i) for i, o in enumerate(options) for form in (_words(o), _core(o)) if form}
    spans = [
        (start, start + len(form), index)
        for form, index in sorted(forms)
        for start in range(len(words) - len(form) + 1)
        if tuple(words[start : start + len(form)]) == form
    ]
    return sorted(
        (start, stop, index)
        for start, stop, index in spans
        if not any(a <= start and stop <= b and b - a > stop - start for a, b, _ in spans)
    )


def _letters_at(
    text: _Text, spans: Sequence[tuple[int, int, int]], letters: Sequence[str]
) -> list[int]:
    """Indices of the words that name a letter, outside of options of more than a letter."""
    covered = {
        at
        for start, stop, _ in spans
        for at in range(start, stop)
        if stop - start > 1 or len(text.words[start]) > 1
    }
    return [at for at in range(len(text.words)) if _is_letter(text, at, at in covered, letters)]


def _is_letter(text: _Text, at: int, covered: bool, letters: Sequence[str]) -> bool:
    """True if the word names a letter: a capital, or a small one among the candidates."""
    raw, (start, stop) = text.raw[at], text.spans[at]
    if len(raw) != 1 or not (raw.isascii() and raw.isalpha()):
        return False
    if covered and (at > 0 or not re.match(r"[.:)\]}]", text.plain[stop:])):
        return False
    if raw.islower() and raw.upper() not in letters:
        return False
    if re.match(r"-\w\w", text.plain[stop:]) or re.search(r"\w\w-$", text.plain[:start]):
        return False  # part of a word, as in "T-shirt"
    if raw not in "aAiI":
        return True
    rest = text.plain[stop:]
    if _NO_ARTICLE.match(rest) or (at and text.words[at - 1] in {"option", "choice", "letter"}):
        return True
    return raw == "A" and _SUBJECT.match(rest) is not None


def _sentence_letter(text: _Text, letters: Sequence[str], options: Sequence[str]) -> set[str]:
    """The letter of "B dog" if its own option follows and makes up the rest.

    A small "a" before a noun is an article. A capital may be either, so both count.
    """
    if not text.raw or len(text.raw[0]) != 1 or text.raw[0] == "a":
        return set()
    letter = text.raw[0].upper()
    if letter not in letters:
        return set()
    own = options[letters.index(letter)]
    return {letter} if text.words[1:] in (_words(own), _core(own)) else set()


def _denied(text: _Text, spans: Sequence[tuple[int, int, int]], options: Sequence[str]) -> bool:
    """True if words outside the options deny or leave open.

    A denial that follows the option "no" agrees with it: "No, it is not".
    """
    words: list[str] = list(text.words)
    for start, stop, _ in spans:
        words[start:stop] = ["_"] * (stop - start)
    refusals = [stop for _, stop, index in spans if _words(options[index]) == ("no",)]
    if refusals:
        words = words[: min(refusals)]
    return _DENIES.search(" ".join(words)) is not None


def _contradicts(
    text: _Text, places: set[int], own: tuple[str, ...], options: Sequence[str]
) -> bool:
    """True if the words beside a letter name part of an option, and more than a part of its own.

    With "a blue cup" as option B, "B: a red cup" contradicts itself and "B: the cup" does not.
    """
    beside: list[str] = []
    for at, word in enumerate(text.words):
        if at in places:
            continue
        if word in _EXPLAINS and places and at > min(places):
            break
        beside.append(word)
    said = set(beside) - _FILLER - _ARTICLES
    known = {word for option in options for word in _core(option)} - _FILLER - _ARTICLES
    return not said <= set(own) and not said.isdisjoint(known)
