"""Figures of what a gain is made of."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from lantern_probe.analysis.decomposition import FULL, RetainedGain
from lantern_probe.plots.style import ACCENT, INK, SOFT


def plot_gains(gains: Sequence[RetainedGain], ax: Axes) -> Axes:
    """Each condition's gain over the base in points, with its interval; the dashed line is all."""
    for height, item in enumerate(reversed(gains)):
        low, high = 100 * item.gain.low, 100 * item.gain.high
        color = INK if item.condition == FULL else ACCENT
        ax.plot([low, high], [height, height], color=color, lw=1.6)
        ax.plot([100 * item.gain.estimate], [height], "o", color=color, ms=5)
    whole = next(item for item in gains if item.condition == FULL)
    ax.axvline(100 * whole.gain.estimate, color=INK, lw=0.8, ls="--", zorder=0)
    ax.axvline(0, color=SOFT, lw=0.8, ls=":", zorder=0)
    ax.set_yticks(range(len(gains)), [item.condition for item in reversed(gains)])
    ax.set_xlabel("gain over the base, points")
    ax.set_title(f"{whole.model}, n = {whole.accuracy.n}")
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax
