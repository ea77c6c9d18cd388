"""Figures of triggers: what a block brings on the same samples."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.analysis.triggers import Triggers
from lantern_probe.plots.style import (
    ACCENT,
    SOFT,
    axes_or_new,
    bare,
    draw_interval,
    name_lines,
    new_figure,
)


def plot_triggers(found: Triggers, ax: Axes | None = None) -> Axes:
    """Draw the effect of a block on the same samples, in percentage points of accuracy.

    A dot is the difference of two conditions and its line the paired 95 % interval. The title has
    the association of emission and correctness, which is no effect.

    Args:
        found: Triggers of one model, as `analysis.triggers.summarize` returns them.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax, height=2.2)
    effects = [effect for effect in found.effects if effect.n]
    for height, effect in enumerate(reversed(effects)):
        one = effect.difference
        draw_interval(
            ax, height, *(100 * v for v in (one.estimate, one.low, one.high)), color=ACCENT
        )
    ax.axvline(0, color=SOFT, lw=0.8, ls=":", zorder=0)
    name_lines(
        ax,
        [f"{e.samples}, n = {e.n}:\n{e.first} - {e.second}" for e in reversed(effects)],
    )
    ax.set_xlabel("accuracy, percentage points (95 % interval)")
    emission, odds = found.emission, found.association
    related = f"p = {odds.p:.2g}" if odds.odds_ratio == odds.odds_ratio else "not testable"
    ax.set_title(
        f"{found.model}: a block in {emission.count} of {emission.n}; emission and correctness, "
        f"{related}",
        fontsize=9,
    )
    return bare(ax)


def triggers_figure(found: Sequence[Triggers]) -> Figure:
    """Draw one panel of `plot_triggers` per model, one below the other.

    Args:
        found: Triggers, one per model, at least one.
    """
    figure = new_figure(6.2, 2.2 * len(found))
    axes = figure.subplots(len(found), 1, squeeze=False, sharex=True)[:, 0]
    for item, ax in zip(found, axes, strict=True):
        plot_triggers(item, ax)
    return figure
