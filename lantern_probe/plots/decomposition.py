"""Figures of a decomposition: what the gain over a direct answer is made of."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from lantern_probe.analysis.decomposition import FULL, RetainedGain
from lantern_probe.plots.style import (
    ACCENT,
    INK,
    SOFT,
    axes_or_new,
    bare,
    draw_interval,
    name_lines,
)


def plot_gains(gains: Sequence[RetainedGain], ax: Axes | None = None) -> Axes:
    """Draw each condition's gain in accuracy over the direct answer, in percentage points.

    A dot is the gain and its line the paired 95 % interval (Tango's): dark for `own`, which has
    everything, red for conditions that take something away. The dashed line marks the whole gain
    of `own`, the dotted line none.

    Args:
        gains: Conditions of one model, as `analysis.decomposition.summarize` returns them; the
            first is drawn at the top.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax, height=1.2 + 0.32 * len(gains))
    for height, item in enumerate(reversed(gains)):
        found = [100 * value for value in (item.gain.estimate, item.gain.low, item.gain.high)]
        draw_interval(ax, height, *found, color=INK if item.condition == FULL else ACCENT)
    whole = next(item for item in gains if item.condition == FULL)
    ax.axvline(100 * whole.gain.estimate, color=INK, lw=0.8, ls="--", zorder=0)
    ax.axvline(0, color=SOFT, lw=0.8, ls=":", zorder=0)
    name_lines(ax, [item.condition for item in reversed(gains)])
    ax.set_xlabel("gain over the direct answer, percentage points")
    ax.set_title(f"{whole.model}, n = {whole.accuracy.n}")
    return bare(ax)
