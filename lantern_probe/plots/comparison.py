"""Figures of a paired comparison: differences with the band of equivalence (a forest plot)."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.analysis.comparison import Comparison, PairReport
from lantern_probe.plots.style import (
    ACCENT,
    INK,
    SOFT,
    axes_or_new,
    bare,
    draw_interval,
    name_lines,
    new_figure,
)


def plot_differences(comparison: Comparison, ax: Axes | None = None) -> Axes:
    """Draw each pair's accuracy difference in percentage points, first minus second condition.

    The thin line is the interval of level 1 - alpha (Tango's, clustered). The thick line is that of
    one equivalence test, of level 1 - 2 alpha; the shaded band is the margin. A filled red dot
    shows a difference (p after Holm at most alpha), a filled dark dot equivalence (TOST after
    Holm), an open grey dot neither. A diamond is the difference among
    the samples parsed under both conditions, drawn where some text was not parsed. At the right
    stand the samples that only the first and only the second condition gets right, and that p.

    Args:
        comparison: Result of `analysis.comparison.compare`.
        ax: Axes to draw on; those of a new figure by default.
    """
    pairs = list(reversed(comparison.pairs))
    ax = axes_or_new(ax, 7.0, 1.2 + 0.36 * len(pairs))
    margin = 100 * comparison.settings.margin
    ax.axvspan(-margin, margin, color=SOFT, alpha=0.2, lw=0, zorder=0)
    ax.axvline(0, color=INK, lw=0.8, zorder=0)
    for height, pair in enumerate(pairs):
        color, filled = _look(pair, comparison.settings.alpha)
        d, same, joint = pair.difference, pair.equivalence, pair.joint_difference
        ax.plot([100 * same.low, 100 * same.high], [height, height], color=color, lw=3)
        ends = (100 * d.low, 100 * d.high)
        draw_interval(
            ax, height, 100 * d.estimate, *ends, color=color, width=1, size=6, filled=filled
        )
        if 0 < joint.n < pair.n:
            place = [100 * joint.estimate], [height - 0.3]
            ax.plot(*place, "D", mec=color, mfc="none", ms=4, zorder=3)
    name_lines(ax, [f"{pair.first} − {pair.second}" for pair in pairs])
    ax.set_xlabel("accuracy difference, percentage points")
    right = ax.secondary_yaxis("right")
    right.set_yticks(
        range(len(pairs)), [f"{p.mcnemar.b}:{p.mcnemar.c}  p {p.p:.2g}" for p in pairs]
    )
    right.tick_params(axis="y", length=0)
    right.spines["right"].set_visible(False)
    return bare(ax, "left")


def comparison_figure(comparison: Comparison) -> Figure:
    """Draw `plot_differences` with a legend in words.

    Args:
        comparison: Result of `analysis.comparison.compare`.
    """
    settings = comparison.settings
    figure = new_figure(7.5, 1.5 + 0.32 * len(comparison.pairs))
    plot_differences(comparison, figure.subplots())
    figure.supxlabel(
        f"thin: {100 * (1 - settings.alpha):g} % interval (Tango); thick: "
        f"{100 * (1 - 2 * settings.alpha):g} % interval, of one test of equivalence within the "
        f"band of ±{100 * settings.margin:g}\nred: a difference, dark: equivalent (after Holm); "
        "grey: neither shown; diamond: among the jointly parsed",
        fontsize=8,
    )
    return figure


def _look(pair: PairReport, alpha: float) -> tuple[str, bool]:
    """The colour of a pair, and whether its dot is filled."""
    if pair.p is not None and pair.p <= alpha:
        return ACCENT, True
    return (INK, True) if pair.equivalent else (SOFT, False)
