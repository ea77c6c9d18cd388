"""Figures of fed states: their norm against ordinary embeddings, their drift to the end marker."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.analysis.fed_states import MEASURES, FedState
from lantern_probe.plots.style import (
    ACCENT,
    INK,
    SOFT,
    TEAL,
    axes_or_new,
    bare,
    draw_interval,
    legend_below,
    new_figure,
    whole_ticks,
)

COLORS = dict(zip(MEASURES, (INK, ACCENT, TEAL), strict=True))


def plot_norm_regime(found: Sequence[FedState], ax: Axes | None = None) -> Axes:
    """Draw the norm of what is fed at each slot, as a multiple of ordinary embeddings' norms.

    Dark: over the median norm of the prompt's text embeddings; red: over that of its merged image
    tokens. A dot is a mean over samples and its line the 95 % bootstrap interval, on a logarithmic
    scale. The dotted line is 1, a state as long as an ordinary embedding. States of norm 0 are left
    out.

    Args:
        found: Fed states of one model and one condition, as `analysis.fed_states.summarize` returns
            them.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax)
    for measure in MEASURES[:2]:
        _dots(ax, [item for item in found if item.measure == measure and item.mean.estimate > 0])
    ax.axhline(1, color=SOFT, lw=0.8, ls=":", zorder=0)
    ax.set_yscale("log")
    whole_ticks(ax)
    ax.set_xlabel("slot")
    ax.set_ylabel("norm of the fed state")
    legend_below(ax)
    return bare(ax)


def plot_end_cosines(found: Sequence[FedState], ax: Axes | None = None) -> Axes:
    """Draw the cosine of what is fed at each slot to the end marker's embedding.

    A dot is a mean over samples and its line the 95 % bootstrap interval; the dotted line is 0.

    Args:
        found: Fed states of one model and one condition, as `analysis.fed_states.summarize` returns
            them.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax)
    _dots(ax, [item for item in found if item.measure == MEASURES[2]])
    ax.axhline(0, color=SOFT, lw=0.8, ls=":", zorder=0)
    ax.set_ylim(-1.05, 1.05)
    whole_ticks(ax)
    ax.set_xlabel("slot")
    ax.set_ylabel(MEASURES[2])
    return bare(ax)


def fed_states_figure(found: Sequence[FedState]) -> Figure:
    """Draw the norm regime above the cosine to the end marker, one column per model.

    Args:
        found: Fed states of one condition, at least one.
    """
    models = list(dict.fromkeys(item.model for item in found))
    figure = new_figure(3.2 * len(models), 5.4)
    axes = figure.subplots(2, len(models), sharey="row", squeeze=False)
    for model, (above, below) in zip(models, axes.T, strict=True):
        some = [item for item in found if item.model == model]
        plot_norm_regime(some, above)
        plot_end_cosines(some, below)
        n = max(item.mean.n for item in some)
        above.set_title(f"{model}: {some[0].condition}, n = {n}", fontsize=9)
    return figure


def _dots(ax: Axes, found: Sequence[FedState]) -> None:
    """Draw the slots of one measure; a model of a single slot has its mean alone."""
    slots = [item for item in found if item.slot is not None] or list(found)
    for item in slots:
        mean = item.mean
        ends = (mean.estimate,) * 2 if mean.method == "undefined" else (mean.low, mean.high)
        draw_interval(
            ax,
            item.slot or 0,
            mean.estimate,
            *ends,
            color=COLORS[item.measure],
            upright=True,
            width=1.4,
            size=4,
            label=item.measure if item is slots[0] else None,
        )
