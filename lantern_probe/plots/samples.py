"""Samples as they are asked: their images with the boxes of evidence, the question, the answer."""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle

from lantern_probe.errors import LanternError
from lantern_probe.plots.style import ACCENT, INK, axes_or_new
from lantern_probe.tasks.images import open_image
from lantern_probe.tasks.printable import printable
from lantern_probe.tasks.sample import Sample

LONGEST_SIDE = 1200
"""Longest side of an image in a drawing, in pixels; larger ones are made smaller."""

MOST_IMAGES = 8
"""Most images of a sample that are drawn."""

WIDTH, MOST_LINES = 58, 4
"""Characters of a line above an image, and most lines of one text."""


def plot_sample(sample: Sample, ax: Axes | None = None, *, image: int = 0) -> Axes:
    """Draw one image of a sample, and on the first its boxes; an unreadable one gives its message.

    Args:
        sample: The sample.
        ax: Axes to draw on; those of a new figure by default.
        image: 0-based index of the image, default 0.

    Returns:
        The axes.
    """
    ax = axes_or_new(ax)
    ax.axis("off")
    if not sample.images:
        return _say(ax, "no image")
    try:
        picture = open_image(sample.images[image], sample.id)
    except LanternError as error:
        return _say(ax, str(error))
    width, height = picture.size
    picture.thumbnail((LONGEST_SIDE, LONGEST_SIDE))
    # The image is stretched to its own size, so that boxes are drawn in its pixels.
    ax.imshow(picture, extent=(0, width, height, 0), interpolation="nearest")
    for left, top, right, bottom in sample.boxes if image == 0 else ():
        box = Rectangle((left, top), right - left, bottom - top, fill=False)
        box.set(edgecolor=ACCENT, linewidth=2.0)
        ax.add_patch(box)
    return ax


def samples_figure(samples: Sequence[Sample]) -> Figure:
    """Draw a row per sample and a column per image, under the question and the right answer.

    Args:
        samples: Samples to draw, at least one.

    Raises:
        LanternError: there are none.
    """
    if not samples:
        raise LanternError("there are no samples to draw")
    columns = max(1, *(len(sample.images[:MOST_IMAGES]) for sample in samples))
    figure = Figure(figsize=(4.8 * columns, 4.6 * len(samples)), layout="constrained")
    axes = figure.subplots(len(samples), columns, squeeze=False)
    for sample, row in zip(samples, axes, strict=True):
        for number, ax in enumerate(row):
            if number < max(1, len(sample.images)):
                plot_sample(sample, ax, image=number)
            else:
                ax.axis("off")
        row[0].set_title(_heading(sample), fontsize=8, loc="left", color=INK, parse_math=False)
    return figure


def _heading(sample: Sample) -> str:
    """The id, the question and the right answer, in few lines."""
    answer = "not known" if sample.answer is None else sample.answer
    texts = [sample.id, str(sample.question), f"right answer: {answer}"]
    if len(sample.images) > MOST_IMAGES:
        texts.append(f"the first {MOST_IMAGES} of {len(sample.images)} images")
    return "\n".join(line for text in texts for line in _lines(text))


def _lines(text: str) -> list[str]:
    lines = textwrap.wrap(printable(text), WIDTH) or [""]
    return lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], "..."]


def _say(ax: Axes, message: str) -> Axes:
    text = "\n".join(textwrap.wrap(printable(message), WIDTH))
    ax.text(0.5, 0.5, text, ha="center", va="center", fontsize=8, color=ACCENT, parse_math=False)
    return ax
