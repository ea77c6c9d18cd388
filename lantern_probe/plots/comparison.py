"""The forest plot of paired differences, with the band of equivalence."""

from __future__ import annotations

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.analysis.comparison import Comparison, PairReport
from lantern_probe.plots.style import ACCENT, INK, SOFT


def plot_differences(comparison: Comparison, ax: Axes) -> Axes:
    """One line per pair: the accuracy difference in percentage points, first minus second.

    Thin line: bootstrap interval at 1 - alpha. Thick line: the interval of the equivalence test
    at 1 - 2 alpha, to be compared with the shaded band of the margin. Red and filled: a
    difference is shown. Dark and filled: equivalent. Grey and open: neither. Diamond: the
    difference among the jointly parsed, where parsing failed for any.
    """
    pairs = list(reversed(comparison.pairs))
    margin = 100 * comparison.settings.margin
    ax.axvspan(-margin, margin, color=SOFT, alpha=0.2, lw=0, zorder=0)
    ax.axvline(0, color=INK, lw=0.8, zorder=0)
    for height, pair in enumerate(pairs):
        color, filled = _look(pair, comparison.settings.alpha)
        d, same, joint = pair.difference, pair.equivalence, pair.joint_difference
        ax.plot([100 * d.low, 100 * d.high], [height, height], color=color, lw=1)
        ax.plot([100 * same.low, 100 * same.high], [height, height], color=color, lw=3)
        face = color if filled else "white"
        ax.plot([100 * d.estimate], [height], "o", mec=color, mfc=face, ms=6, zorder=3)
        if 0 < joint.n < pair.n:
            place = [100 * joint.estimate], [height - 0.3]
            ax.plot(*place, "D", mec=color, mfc="none", ms=4, zorder=3)
    names = [f"{pair.first} − {pair.second}" for pair in pairs]
    ax.set_yticks(range(len(pairs)), names)
    ax.set_ylim(-0.7, len(pairs) - 0.3)
    ax.set_xlabel("accuracy difference, percentage points")
    right = ax.secondary_yaxis("right")
    right.set_yticks(
        range(len(pairs)), [f"{p.mcnemar.b}:{p.mcnemar.c}  p {p.p:.2g}" for p in pairs]
    )
    for axis in (ax, right):
        axis.tick_params(axis="y", length=0)
    right.spines["right"].set_visible(False)
    ax.spines[["top", "right", "left"]].set_visible(False)
    return ax


def comparison_figure(comparison: Comparison) -> Figure:
    """`forest` with a legend in words."""
    settings = comparison.settings
    figure = Figure(figsize=(7.5, 1.5 + 0.32 * len(comparison.pairs)), layout="constrained")
    plot_differences(comparison, figure.subplots())
    figure.supxlabel(
        f"thin: {100 * (1 - settings.alpha):g} % bootstrap interval; thick: "
        f"{100 * (1 - 2 * settings.alpha):g} % interval, equivalent if inside the band of "
        f"±{100 * settings.margin:g}\nred: a difference (p after Holm); dark: equivalent; "
        "grey: neither shown; diamond: among the jointly parsed",
        fontsize=8,
    )
    return figure


def _look(pair: PairReport, alpha: float) -> tuple[str, bool]:
    if pair.p is not None and pair.p <= alpha:
        return ACCENT, True
    return (INK, True) if pair.equivalence.equivalent else (SOFT, False)
