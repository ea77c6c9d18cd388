"""Images with the answers that they were given beside them, condition by condition."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence

from matplotlib.figure import Figure
from PIL.Image import Image

from lantern_probe.plots.style import ACCENT, INK, new_figure

WIDTH = 58
"""Characters of a line of text."""


def answers_figure(
    title: str, answers: Sequence[tuple[Image | None, str, Mapping[str, tuple[str, bool]]]]
) -> Figure:
    """Draw images one below the other, each with its answers beside it.

    Answers that are marked, as differing from that with the own latents, are red and say so.

    Args:
        title: The question.
        answers: For each image its pixels (None for one that could not be read), its name, and by
            condition the text of its answer and True to mark it.
    """
    lines = [_lines(name, given) for _, name, given in answers]
    heights = [max(1.6, 0.22 * (len(some) + 1)) for some in lines]
    figure = new_figure(9.0, sum(heights) + 0.6)
    figure.suptitle(_plain(textwrap.fill(title, 90)), ha="left", x=0.02, color=INK)
    grid = figure.subplots(
        len(answers), 2, squeeze=False, width_ratios=(1, 2.6), height_ratios=heights
    )
    for (left, right), (image, _, _), some in zip(grid, answers, lines, strict=True):
        left.axis("off")
        right.axis("off")
        if image is not None:
            left.imshow(image)
        for number, (text, colour, weight) in enumerate(some):
            height = 1 - (number + 0.5) / (len(some) + 0.5)
            right.text(
                *(0, height, _plain(text)),
                color=colour,
                fontweight=weight,
                fontsize=9,
                va="center",
                family="DejaVu Sans",
                transform=right.transAxes,
            )
    return figure


def _plain(text: str) -> str:
    """The text with dollar signs that do not begin a formula."""
    return text.replace("$", r"\$")


def _lines(name: str, given: Mapping[str, tuple[str, bool]]) -> list[tuple[str, str, str]]:
    """Lines of text, each with its colour and weight."""
    found = [(textwrap.shorten(name, WIDTH, placeholder="..."), INK, "bold")]
    for condition, (answer, marked) in given.items():
        colour = ACCENT if marked else INK
        said = f"{condition}: {answer}" + (" (not as own)" if marked else "")
        wrapped = textwrap.wrap(said, WIDTH, subsequent_indent="    ")[:4]
        found += [(line, colour, "normal") for line in wrapped or [condition]]
    return found
