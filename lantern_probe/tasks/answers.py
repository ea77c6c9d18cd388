"""From generated text to an answer: one of a sample's candidates, or None.

There are three parsers. `default` is the one to use. `official` and `strict` reproduce published
figures, flaws included. They read letters only, and return the letter they find even if no option
has it, because the published figures distinguish "wrong" from "unparsed" in this way.
"""

from __future__ import annotations

import re
from difflib import SequenceMatcher
from typing import Literal, get_args

from lantern_probe.errors import LanternError
from lantern_probe.tasks.answer_reading import read_letter, read_words
from lantern_probe.tasks.free_text import read_free_text
from lantern_probe.tasks.sample import Sample

Parser = Literal["default", "official", "strict"]


_OPEN = re.compile(r"<answer>", re.IGNORECASE)


_CLOSE = re.compile(r"</answer", re.IGNORECASE)


_SPECIAL_TOKEN = re.compile(r"<\|[^<>|]*\|>")


_STANDALONE_LETTER = re.compile(r"\b([A-Za-z])\b")


_STRICT = re.compile(r"<answer>\s*\(?([A-Z])")


_OFFICIAL_THRESHOLD = 90


def parse_answer(text: str, sample: Sample, parser: Parser = "default") -> str | None:
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
        parser: Name of the parser: `default`, `official` or `strict`.

    Returns:
        One of `sample.candidates`, or None for a text that cannot be read. For an open question,
        which has no candidates, the right answer if the text agrees with it as `sample.match` says,
        else the text. `official` and `strict` may return a
        letter that is no candidate.

    Raises:
        LanternError: the parser is unknown, or reads letters and the sample is answered in words.
    """
    if parser not in get_args(Parser):
        raise LanternError(f"no answer parser {parser!r}; choose one of {list(get_args(Parser))}")
    if parser == "default":
        content = _answer_content(text)
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
    return get_args(Parser) if sample.lettered else ("default",)


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


def _answer_content(text: str) -> str | None:
    parts = _OPEN.split(text)
    if len(parts) == 1:
        return None
    # An answer cut off by the token limit may still carry the end-of-text token.
    content = _SPECIAL_TOKEN.sub(" ", _CLOSE.split(parts[-1])[0]).strip()
    return content or None


TAG = "<answer>"
