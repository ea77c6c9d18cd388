"""One style for all figures: colours, new axes, frames, intervals, and how a figure is saved."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from lantern_probe.errors import LanternError

INK = "#2b2d42"
"""Dark blue: own latents, the reference, and text on figures."""

ACCENT = "#d1495b"
"""Red: what is compared with the reference."""

SOFT = "#8d99ae"
"""Grey: chance, shams, and everything that is neither of the first two."""

TEAL = "#2a9d8f"
"""Teal: a third series beside `INK` and `ACCENT`."""

SERIES = (INK, ACCENT, TEAL, "#e9a23b", "#7b5ea7", SOFT)
"""Colours of series, in the order in which they are drawn; a seventh starts over."""


class Drawing(Figure):
    """A figure that Jupyter displays without pyplot, and that nothing keeps alive after its use."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png", dpi=100)
        return file.getvalue()


def new_figure(width: float, height: float) -> Figure:
    """Make an empty figure with constrained layout; pyplot does not know it.

    Args:
        width: Inches.
        height: Inches.
    """
    return Drawing(figsize=(width, height), layout="constrained")


def axes_or_new(ax: Axes | None, width: float = 4.8, height: float = 3.2) -> Axes:
    """Return the axes given, or those of a new figure.

    Args:
        ax: Axes to draw on, or None.
        width: Inches of a new figure.
        height: Inches of a new figure.
    """
    return new_figure(width, height).subplots() if ax is None else ax


def bare(ax: Axes, *more: str) -> Axes:
    """Hide the frame's lines at the top and at the right.

    Args:
        ax: Axes to change.
        more: Further lines to hide: `left`, `bottom`.
    """
    ax.spines[["top", "right", *more]].set_visible(False)
    return ax


def name_lines(ax: Axes, names: Sequence[str]) -> None:
    """Name heights 0, 1, 2 ... on the y axis, without tick marks, and show all of them.

    Args:
        ax: Axes to change.
        names: Names from the bottom up.
    """
    ax.set_yticks(range(len(names)), list(names))
    ax.set_ylim(-0.6, len(names) - 0.4)
    ax.tick_params(axis="y", length=0)


def whole_ticks(ax: Axes) -> None:
    """Put the ticks of the x axis, slots or layers, at whole numbers only."""
    ax.xaxis.set_major_locator(MaxNLocator("auto", integer=True, min_n_ticks=1))


def legend_below(ax: Axes, ncols: int = 2) -> None:
    """Draw the legend under the label of the x axis, where it covers no line.

    Args:
        ax: Axes with labelled artists.
        ncols: Number of columns of the legend.
    """
    ax.legend(
        loc="upper center", bbox_to_anchor=(0.5, 0), borderaxespad=5.2, ncols=ncols, frameon=False,
        fontsize=7, handlelength=3.5,
    )  # fmt: skip


def draw_interval(
    ax: Axes,
    at: float,
    estimate: float,
    low: float,
    high: float,
    *,
    color: str,
    upright: bool = False,
    width: float = 1.6,
    size: float = 5.0,
    filled: bool = True,
    label: str | None = None,
) -> None:
    """Draw an estimate as a dot on the line of its interval.

    Args:
        ax: Axes to draw on.
        at: Height of a horizontal interval, or place along the x axis of an upright one.
        estimate: Place of the dot.
        low: Lower end of the line.
        high: Upper end of the line.
        color: Colour of both.
        upright: Draw along the y axis instead of the x axis.
        width: Width of the line in points.
        size: Diameter of the dot in points.
        filled: Fill the dot with the colour; otherwise with white.
        label: Text of the dot in a legend; None for no entry.
    """
    ends, middle, there = [low, high], [estimate], [at, at]
    ax.plot(*((there, ends) if upright else (ends, there)), color=color, lw=width)
    dot = ([at], middle) if upright else (middle, [at])
    face = color if filled else "white"
    ax.plot(*dot, "o", mec=color, mfc=face, ms=size, zorder=3, clip_on=False, label=label)


def save_figure(figure: Figure, path: Path, dpi: int = 160) -> None:
    """Write a figure to a file, in the format of the file's suffix; text in a PDF stays text.

        >>> ax = axes_or_new(None, width=3, height=2)
        >>> save_figure(ax.figure, Path("empty.png"))

    Args:
        figure: Figure to write.
        path: File to write, such as `accuracy.png` or `accuracy.pdf`.
        dpi: Pixels per inch of formats made of pixels.

    Raises:
        LanternError: the file cannot be written.
    """
    try:
        with rc_context({"pdf.fonttype": 42}):
            figure.savefig(path, dpi=dpi)
    except OSError as error:
        raise LanternError(f"cannot write the figure '{path}': {error}") from None
