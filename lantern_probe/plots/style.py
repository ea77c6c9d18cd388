"""One style for all figures: colours, frames, and how a figure is saved."""

from __future__ import annotations

from pathlib import Path

from matplotlib import rc_context
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.errors import LanternError


def bare(ax: Axes) -> Axes:
    """Without the frame that says nothing."""
    ax.spines[["top", "right"]].set_visible(False)
    return ax


INK, ACCENT, SOFT = "#2b2d42", "#d1495b", "#8d99ae"


def save_figure(figure: Figure, path: Path, dpi: int = 160) -> None:
    """Write a figure in the format of its suffix; text in a PDF stays text.

    Raises:
        LanternError: the file cannot be written.
    """
    try:
        with rc_context({"pdf.fonttype": 42}):
            figure.savefig(path, dpi=dpi)
    except OSError as error:
        raise LanternError(f"cannot write the figure '{path}': {error}") from None
