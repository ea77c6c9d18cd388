"""From generated text to an answer: one of a sample's candidates, or None.

There are three parsers. `default` is the one to use. `official` and `strict` reproduce published
figures, flaws included. They read letters only, and return the letter they find even if no option
has it, because the published figures distinguish "wrong" from "unparsed" in this way.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from difflib import SequenceMatcher
from functools import cache

from lantern_probe import extensions
from lantern_probe.errors import LanternError
from lantern_probe.tasks.answer_reading import read_letter, read_words
from lantern_probe.tasks.free_text import read_free_text
from lantern_probe.tasks.sample import Sample

Parser = str
"""Name of a parser: one of `PARSERS`, or one that another package adds."""

PARSERS = ("default", "official", "strict")
"""Parsers of this package."""


_OPEN = re.compile(r"<answer>", re.IGNORECASE)


_CLOSE = re.compile(r"</answer", re.IGNORECASE)


_SPECIAL_TOKEN = re.compile(r"<\|[^<>|]*\|>")


_STANDALONE_LETTER = re.compile(r"\b([A-Za-z])\b")


_STRICT = re.compile(r"<answer>\s*\(?([A-Z])")


_OFFICIAL_THRESHOLD = 90


TAG = "<answer>"
"""Text after which an answer stands, unless a reasoner writes it otherwise."""


def parse_answer(
    text: str, sample: Sample, parser: Parser = "default", *, lead: str = TAG
) -> str | None:
    r"""Read the answer from a generated text.

    `default` reads the text after the last `<answer>`, closed or cut off, if all that it names is
    one candidate: by a letter ("B", "(b)", "**B**", "\boxed{B}", "The answer is B."), by an option
    ("a dog", "the dog", "it is a dog") or by both ("B. a dog", "a dog (B)"). Text after a letter
    may explain it ("B, because ..."). A text that names two candidates ("B and C", "B. a cat"),
    contradicts its letter, or denies ("not B", "it isn't red") gives None.

    `official` is the parser of the LanteRn evaluation (docs/methods.md, The official system;
    repository GuilhermeViveiros/LanteRn, commit 65f64b2). It takes the first standalone letter, in
    its own case, after the last `<answer>`, or of the whole text if there is none. Without a letter
    it takes the option that is more than 90 % alike. So "a man" gives "a", which equals no right
    letter.

    `strict` is the regular expression for published result files (docs/methods.md, Statistics). It
    takes the capital right after the first `<answer>` that has one.

    Args:
        text: Decoded generation; special tokens may be left in.
        sample: Sample whose candidates are read: letters if it is `lettered`, else its options.
        parser: Name of the parser: `default`, `official`, `strict`, or one that another package
            adds.
        lead: Text after which the reasoner writes its answer, which `default` looks for before the
            tag: `\boxed{` or words such as "final answer is"; default the tag.

    Returns:
        One of `sample.candidates`, or None for a text that cannot be read. For an open question,
        which has no candidates, the right answer if the text agrees with it as `sample.match` says,
        else the text. `official` and `strict` may return a
        letter that is no candidate.

    Raises:
        LanternError: the parser is unknown, or reads letters and the sample is answered in words.
    """
    added = extensions.look_up("parsers", parser, PARSERS)
    if added is not None:
        return _read_by(added, text, sample)
    if parser == "default":
        content = answer_content(text, lead)
        if content is None:
            return None
        if not sample.options:
            return read_free_text(content, sample) or None
        return read_letter(content, sample) if sample.lettered else read_words(content, sample)
    if not sample.lettered:
        raise LanternError(
            f"sample {sample.id!r} is answered in words, and the {parser!r} parser reads letters "
            "only; use parser='default'"
        )
    return _official(text, sample.options) if parser == "official" else parse_strict(text)


def parsers(sample: Sample) -> tuple[Parser, ...]:
    """The parsers that can read this sample's answers."""
    return PARSERS if sample.lettered else ("default",)


def check_parser(parser: Parser) -> None:
    """Refuse a parser that does not exist, or that cannot be loaded.

    Args:
        parser: Name of the parser.

    Raises:
        LanternError: naming the parsers that there are.
    """
    if (added := extensions.look_up("parsers", parser, PARSERS)) is not None:
        _loaded(added)


@cache
def _loaded(added: extensions.Extension) -> Callable[[str, Sample], str | None]:
    function: Callable[[str, Sample], str | None] = added.load()
    if not callable(function):
        raise added.refuse("is no function of a text and a sample")
    return function


def _read_by(added: extensions.Extension, text: str, sample: Sample) -> str | None:
    """The answer as a parser of another package reads it."""
    answer = extensions.checked_call(added, _loaded(added), text, sample)
    if answer is not None and not isinstance(answer, str):
        raise added.refuse(f"read {answer!r:.60} for sample {sample.id!r}; it gives text or None")
    return answer


def parse_strict(text: str) -> str | None:
    """Read the capital right after `<answer>` (first match), without checking it against a sample.

    It serves result files that keep the text but not the options; see `parse_answer`.
    """
    match = _STRICT.search(text)
    return match.group(1) if match else None


def _official(text: str, options: tuple[str, ...]) -> str | None:
    given = text.split("<answer>")[-1].split("</answer")[0].strip()
    # The official expression also admits "Answer:" before the letter and brackets around it;
    # neither changes which letter is found first.
    match = _STANDALONE_LETTER.search(given)
    if match:
        return match.group(1)
    ratios = [_fuzzy_ratio(given.lower(), option.lower()) for option in options[:26]]
    if not ratios or max(ratios) <= _OFFICIAL_THRESHOLD:
        return None
    return chr(ord("A") + ratios.index(max(ratios)))


def _fuzzy_ratio(first: str, second: str) -> int:
    # Equality first: SequenceMatcher drops frequent characters of long strings, and can then
    # rate a long string as unlike itself.
    if first == second:
        return 100
    return round(100 * SequenceMatcher(None, first, second).ratio())


def answer_content(text: str, lead: str = TAG) -> str | None:
    """The text of an answer, from its last lead to its end; None where there is none.

    Without the lead the tag is looked for.

    Args:
        text: Decoded generation; special tokens may be left in.
        lead: Text after which the answer stands; an opening bracket at its end is closed by its
            counterpart, and words end with their line. Default the tag.
    """
    parts = re.split(re.escape(lead), text, flags=re.IGNORECASE) if lead != TAG else [text]
    if len(parts) > 1:
        inside = _inside(parts[-1], "{", "}") if lead.endswith("{") else _line(parts[-1])
    else:
        parts = _OPEN.split(text)
        inside = _CLOSE.split(parts[-1])[0]
    if len(parts) == 1:
        return None
    # An answer cut off by the token limit may still carry the end-of-text token.
    return _SPECIAL_TOKEN.sub(" ", inside).strip() or None


def _inside(text: str, opening: str, closing: str) -> str:
    """The text up to the bracket that closes one opened before it."""
    depth = 1
    for index, character in enumerate(text):
        depth += (character == opening) - (character == closing)
        if not depth:
            return text[:index]
    return text


def _line(text: str) -> str:
    """The first line of a text that has anything on it but a colon."""
    return text.lstrip(" \t\r\n:*").partition("\n")[0]
