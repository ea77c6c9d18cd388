"""Options and answers as tables write them: lists, mappings, columns, strings; letters, numbers.

A string is read by `json` and `ast.literal_eval`, which run nothing. An answer is read only if all
readings that are possible agree.
"""

from __future__ import annotations

import ast
import io
import itertools
import json
import re
import string
import tokenize
from collections.abc import Mapping, Sequence
from typing import Any

from lantern_probe.errors import LanternError
from lantern_probe.tasks.tables import is_missing
from lantern_probe.vocabulary import AnswerForm

MOST = 26
"""Most options, one for each letter."""

_LONGEST = 100_000
"""Most characters of a string that is read as a list."""

_LETTERED = re.compile(r"\s*[(\[]?([A-Za-z])\s*[).:\]]+\s*(\S.*?)\s*", re.DOTALL)

_INLINE = re.compile(r"(?:^|\s)[(\[]?([A-Za-z])[).:\]]+\s")

_LETTER = re.compile(
    r"\s*(?:(?:the\s+)?(?:correct\s+)?(?:answer|option|choice)(?:\s+is)?\s*:?\s*)?"
    r"[(\[{]?\s*([A-Za-z])\s*[)\]}.:]*\s*",
    re.IGNORECASE,
)

_INDEX = re.compile(r"\s*(\d{1,2})(?:\.0+)?\s*")


def read_options(cells: Sequence[Any]) -> tuple[str, ...]:
    """Read the options of a row.

    Args:
        cells: The one cell that holds them all (a list, a mapping, or a string with either or with
            lettered lines), or one cell for each option, of which the last may be empty.

    Returns:
        Texts without letters; none for an empty list, which says that there are none.

    Raises:
        LanternError: they are missing, are fewer than 2 or more than 26, or are no texts.
    """
    value = cells[0] if len(cells) == 1 else _without_tail(cells)
    if is_missing(value) or (isinstance(value, str) and not value.strip()):
        raise LanternError("the options are empty; a question without options has an empty list")
    if isinstance(value, str):
        value = _from_string(value)
    if isinstance(value, Mapping):
        value = _from_mapping(value)
    if not isinstance(value, list | tuple):
        raise LanternError(f"the options are no list: {value!r:.80}")
    texts = [_option(text) for text in value]
    if texts and not 2 <= len(texts) <= MOST:
        raise LanternError(f"there must be 2 to {MOST} options, not {len(texts)}: {value!r:.80}")
    return _without_letters(texts)


def _without_tail(cells: Sequence[Any]) -> list[Any] | None:
    """Cells of option columns up to the last that is filled."""
    filled = [not is_missing(cell) and str(cell).strip() != "" for cell in cells]
    if not any(filled):
        return None
    last = len(filled) - filled[::-1].index(True)
    if not all(filled[:last]):
        raise LanternError(
            f"option {filled.index(False) + 1} of {last} is empty; fill it, or move up the others"
        )
    return list(cells[:last])


def _from_string(text: str) -> Any:
    stripped = text.strip()
    if stripped[0] in "[({" and not _LETTERED.fullmatch(stripped):
        return literal(stripped)
    if stripped.startswith(("array(", "Index(")):
        raise LanternError(_NUMPY.format(stripped[:60]))
    return _lettered_text(stripped)


_NUMPY = (
    "{!r} was printed by numpy or pandas, and is no list to read back; write a list, as tolist() "
    "makes it"
)


def literal(text: str) -> Any:
    """The value that a string spells, as JSON or as Python's own; it is never evaluated.

    Args:
        text: The string.

    Raises:
        LanternError: it spells nothing, or a list that numpy has printed without commas.
    """
    if len(text) > _LONGEST:
        raise LanternError(f"{text[:40]!r}... has {len(text)} characters, too many for one value")
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        pass
    try:
        value = ast.literal_eval(text)
    except (ValueError, SyntaxError, TypeError, RecursionError, MemoryError):
        if re.match(r"array\(|\[\s*array\(|\[[^\[\],]*\s[^\[\],]*\]$", text):
            raise LanternError(_NUMPY.format(text[:60])) from None
        raise LanternError(
            f"{text[:80]!r} is no list or mapping that can be read; write it as JSON"
        ) from None
    if _has_adjacent_strings(text):
        raise LanternError(_NUMPY.format(text[:60]))
    return value


def _has_adjacent_strings(text: str) -> bool:
    """True for strings without a comma between them, which Python would join into one."""
    kinds = [
        token.type
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in (tokenize.NL, tokenize.NEWLINE, tokenize.COMMENT)
    ]
    return any(one == other == tokenize.STRING for one, other in itertools.pairwise(kinds))


def _lettered_text(text: str) -> list[str]:
    """Options in one text, each after its letter: on lines of their own, or in a row."""
    lines = [line for line in text.splitlines() if line.strip()]
    marks = [_LETTERED.fullmatch(line) for line in lines]
    if len(lines) > 1 and all(marks):
        return lines
    found = list(_INLINE.finditer(text))
    letters = [match.group(1).upper() for match in found]
    in_order = letters == [*string.ascii_uppercase[: len(letters)]]
    if len(found) < 2 or not in_order or text[: found[0].start()].strip():
        raise LanternError(
            f"the options {text[:80]!r} are one text; write a list, one column for each option "
            "(--fields options=COL,COL), or a letter before each"
        )
    ends = [match.start() for match in found[1:]] + [len(text)]
    return [text[match.start() : end].strip() for match, end in zip(found, ends, strict=True)]


def _from_mapping(value: Mapping[Any, Any]) -> list[Any]:
    """Options by letter or number in order, or the texts of `{"label": ..., "text": ...}`."""
    if set(value) == {"label", "text"} and isinstance(value["text"], list):
        return _from_mapping(dict(zip(value["label"], value["text"], strict=False)))
    keys = [str(key).strip().upper() for key in value]
    runs = (
        [*string.ascii_uppercase],
        [str(n) for n in range(MOST)],
        [str(n + 1) for n in range(MOST)],
    )
    for run in runs:
        if sorted(keys) == sorted(run[: len(keys)]):
            by_key = {str(key).strip().upper(): text for key, text in value.items()}
            return _without_tail([by_key[key] for key in run[: len(keys)]]) or []
    raise LanternError(f"the options must have the letters from A on, not {list(value)!r:.60}")


def _option(text: Any) -> str:
    if isinstance(text, bool) or not isinstance(text, str | int | float) or is_missing(text):
        raise LanternError(f"an option must be a text or a number, not {text!r:.60}")
    written = str(text).strip()
    if not written:
        raise LanternError("an option is empty")
    return written


def _without_letters(texts: Sequence[str]) -> tuple[str, ...]:
    matches = [_LETTERED.fullmatch(text) for text in texts]
    found = [match for match in matches if match is not None]
    letters = [match.group(1).upper() for match in found]
    if len(found) == len(texts) and letters == [*string.ascii_uppercase[: len(texts)]]:
        return tuple(match.group(2) for match in found)
    return tuple(texts)


# -- answers -------------------------------------------------------------------------------------


def index_form(answers: Sequence[Any], options: Sequence[Sequence[str]]) -> AnswerForm | None:
    """The form of a column of answers that are numbers of options; None for letters or texts.

    Args:
        answers: Answers of the rows that have options.
        options: Options of the same rows.

    Raises:
        LanternError: they are numbers, and nothing says from where they count, or whether they are
            the texts of options.
    """
    known = [(a, texts) for a, texts in zip(answers, options, strict=True) if not is_missing(a)]
    numbers = [as_index(answer) for answer, _ in known]
    if not known or any(number is None for number in numbers):
        return None
    pairs = [(n, texts) for n, (_, texts) in zip(numbers, known, strict=True) if n is not None]
    from_0 = all(0 <= number < len(texts) for number, texts in pairs)
    from_1 = all(1 <= number <= len(texts) for number, texts in pairs)
    as_texts = [len(_by_text(answer, texts)) == 1 for answer, texts in known]
    if all(as_texts) and not (from_0 or from_1):
        return None
    says = "--answers index0, index1 or text says which"
    if all(as_texts) or (any(as_texts) and not (from_0 or from_1)):
        raise LanternError(f"the answers may be texts of options or their numbers; {says}")
    if any(number == 0 for number, _ in pairs):
        return "index0"
    if not from_0:
        return "index1"
    raise LanternError(
        f"the answers are numbers of options from {min(number for number, _ in pairs)} to "
        f"{max(number for number, _ in pairs)}, and may count from 0 or from 1; {says}"
    )


def as_index(answer: Any) -> int | None:
    """The whole number that an answer is, or None.

    Args:
        answer: Cell of an answer.
    """
    if isinstance(answer, bool):
        return None
    if isinstance(answer, int | float):
        return int(answer) if float(answer).is_integer() else None
    match = _INDEX.fullmatch(answer) if isinstance(answer, str) else None
    return int(match.group(1)) if match else None


def read_answer(answer: Any, options: Sequence[str], form: AnswerForm | None = None) -> int:
    """The index of the option that is the right answer, from 0.

    Args:
        answer: Cell of the answer.
        options: The options, without letters.
        form: Form of the answer; None (default) for a letter or a text, whichever it is.

    Raises:
        LanternError: it names no option, or different ones by its letter and by its text.
    """
    if isinstance(answer, list | tuple) and len(answer) == 1:
        answer = answer[0]
    if isinstance(answer, list | tuple | Mapping):
        raise LanternError(f"the answer {answer!r:.60} is not one option; each row has one")
    if isinstance(answer, bool) or not isinstance(answer, str | int | float):
        raise LanternError(f"the answer must be a letter, a number or a text, not {answer!r:.60}")
    if form in ("index0", "index1"):
        number = as_index(answer)
        index = -1 if number is None else number - (form == "index1")
        if not 0 <= index < len(options):
            first = int(form == "index1")
            raise LanternError(
                f"the answer {answer!r:.60} is no number from {first} to "
                f"{len(options) - 1 + first} (--answers)"
            )
        return index
    by_letter = _by_letter(str(answer), options) if form != "text" else set()
    by_text = _by_text(answer, options) if form != "letter" else set()
    found = by_letter | by_text
    if len(found) == 1:
        return found.pop()
    if len(found) > 1 and by_letter and by_text:
        raise LanternError(
            f"the answer {answer!r:.60} is the letter of one option and the text of another; "
            "--answers letter or text says which"
        )
    if found:
        raise LanternError(f"the answer {answer!r:.60} is the text of {len(found)} options")
    letters = string.ascii_uppercase[: len(options)]
    raise LanternError(
        f"the answer {answer!r:.60} is neither one of the letters {letters} nor one of the "
        f"options {list(options)!r:.120}"
    )


def _by_letter(answer: str, options: Sequence[str]) -> set[int]:
    """The index of a lone letter, or of a letter before its own option's text."""
    letters = string.ascii_uppercase[: len(options)]
    alone = _LETTER.fullmatch(answer)
    if alone:
        return (
            {letters.index(alone.group(1).upper())} if alone.group(1).upper() in letters else set()
        )
    marked = _LETTERED.fullmatch(answer)
    letter = marked.group(1).upper() if marked else ""
    if marked is None or letter not in letters:
        return set()
    index = letters.index(letter)
    return {index} if _folded(marked.group(2)) == _folded(options[index]) else set()


def _by_text(answer: Any, options: Sequence[str]) -> set[int]:
    """Indices of the options that are the answer: as written, else without case and spaces."""
    text = str(answer).strip()
    whole = isinstance(answer, float) and answer.is_integer()
    texts = {text, str(int(answer))} if whole else {text}
    exact = {index for index, option in enumerate(options) if option in texts}
    if exact:
        return exact
    return {index for index, option in enumerate(options) if _folded(option) == _folded(text)}


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())
