"""Prompts made from templates: `{question}`, `{options}`, `{hint}` or the name of a column.

A template is parsed here and not by `str.format`: no attribute of a value can be reached, and
braces in the data mean nothing.
"""

from __future__ import annotations

import re
import string
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from lantern_probe.errors import LanternError
from lantern_probe.tasks.sample import IMAGE_MARK
from lantern_probe.vocabulary import OptionStyle

LETTERED, IN_WORDS, OPEN = "{question}\nOptions:\n{options}", "{question}\n{options}", "{question}"
"""Default templates: of options with letters (that of the official evaluation), of options in
words, and of questions without options."""

PLACES = ("question", "options", "hint")
"""Placeholders of every template, beside the names of columns."""

_PIECE = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")

_AROUND_MARK = re.compile(rf"\n?{re.escape(IMAGE_MARK)}\n?")


@dataclass(frozen=True)
class Template:
    r"""A prompt with placeholders, line by line.

    Attributes:
        text: Template as given, with `\n` for a line break.
        lines: Literal texts and names of placeholders of each line; a name is in a tuple.
    """

    text: str
    lines: tuple[tuple[str | tuple[str], ...], ...]

    @property
    def places(self) -> frozenset[str]:
        """Names of the placeholders."""
        return frozenset(piece[0] for line in self.lines for piece in line if _is_place(piece))

    def filled(self, values: Mapping[str, str]) -> str:
        """The prompt with its placeholders filled; a line of empty placeholders only is left out.

        Args:
            values: Text of every placeholder.
        """
        lines = []
        for line in self.lines:
            texts = [values[piece[0]] if _is_place(piece) else str(piece) for piece in line]
            if "".join(texts).strip() or not any(map(_is_place, line)):
                lines.append("".join(texts))
        return "\n".join(lines)


def _is_place(piece: str | tuple[str]) -> bool:
    return isinstance(piece, tuple)


def parse_template(text: str, columns: Iterable[str] = ()) -> Template:
    r"""Read a template.

    Args:
        text: Text with `{question}`, `{options}`, `{hint}` or `{COLUMN}`; doubled braces are plain
            ones, and `\n` is a line break.
        columns: Names of the columns.

    Raises:
        LanternError: a placeholder is unknown, a brace is alone, or there is no placeholder.
    """
    known = (*PLACES, *(name for name in columns if name not in PLACES))
    lines = []
    for line in text.replace("\\n", "\n").split("\n"):
        pieces: list[str | tuple[str]] = []
        end = 0
        for match in _PIECE.finditer(line):
            pieces.append(line[end : match.start()])
            end = match.end()
            name = match.group(1)
            if name is not None and name in known:
                pieces.append((name,))
            elif name is not None:
                raise LanternError(
                    f"the prompt has no placeholder {{{name}}}; there are "
                    f"{', '.join(f'{{{one}}}' for one in known)} (--prompt)"
                )
            elif len(match.group()) == 2:
                pieces.append(match.group()[0])
            else:
                raise LanternError(
                    f"the prompt has a single {match.group()!r}; write it twice to have it in the "
                    "text (--prompt)"
                )
        pieces.append(line[end:])
        lines.append(tuple(piece for piece in pieces if piece != ""))
    template = Template(text, tuple(lines))
    if not template.places:
        raise LanternError(
            f"the prompt {text!r:.60} would ask the same of every sample; put {{question}} into it "
            "(--prompt)"
        )
    return template


def written_as(options: Sequence[str], style: OptionStyle) -> str:
    """The options as lines of a prompt.

    Args:
        options: Texts of the options.
        style: With letters before them, or without.
    """
    if style == "words":
        return "\n".join(options)
    marked = zip(string.ascii_uppercase, options, strict=False)
    return "\n".join(f"{letter}. {text}" for letter, text in marked)


def placed_images(prompt: str, images: int) -> tuple[str, bool]:
    """The prompt, and True if `<image>` in it marks the place of each image.

    A line break beside a mark belongs to the mark and is left out.

    Args:
        prompt: Text of a prompt.
        images: Number of the sample's images.

    Raises:
        LanternError: there are marks, and not one for each image.
    """
    marks = prompt.count(IMAGE_MARK)
    if not marks:
        return prompt, False
    if marks != images:
        raise LanternError(
            f"the prompt has {marks} marks {IMAGE_MARK} for {images} images; give one mark for "
            "each image, or none to have all images before the text"
        )
    return _AROUND_MARK.sub(IMAGE_MARK, prompt), True
