"""Figures of sensitivity: how far latents move when the input changes."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.analysis.sensitivity import Sensitivity
from lantern_probe.errors import LanternError
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

LATENTS = "latent@slot"
"""Site whose slots are drawn as dots; other sites are references."""


def plot_sensitivity(found: Sequence[Sensitivity], change: str, ax: Axes | None = None) -> Axes:
    """Draw how far each slot's latents move under one change of the input.

    The y axis is the distance moved as a fraction of the mean distance between samples: 0 if the
    change does nothing, 1 if it makes the latents those of another sample. A dot is a slot and its
    line the 95 % bootstrap interval. Dashed lines are reference sites, three at most, such as the
    mean over the image tokens. Fractions that are not defined are left out.

    Args:
        found: Sites of one model, as `analysis.sensitivity.summarize` returns them.
        change: Change of the input to draw; those of other changes are left out.
        ax: Axes to draw on; those of a new figure by default.

    Raises:
        LanternError: there is nothing of this change.
    """
    some = [item for item in found if item.change == change]
    if not some:
        there = ", ".join(dict.fromkeys(item.change for item in found)) or "none"
        raise LanternError(f"no sensitivity to {change!r} to draw; there are {there}")
    ax = axes_or_new(ax)
    for item in some:
        if item.site == LATENTS and item.slot is not None and item.share.defined:
            share = (item.share.estimate, item.share.low, item.share.high)
            draw_interval(ax, item.slot, *share, color=INK, upright=True, width=1.4, size=4)
    references = [i for i in some if i.slot is None and i.site != LATENTS and i.share.defined]
    for item, color in zip(references, (SOFT, ACCENT, TEAL), strict=False):
        label = item.site.partition("@")[2]
        ax.axhline(item.share.estimate, color=color, lw=1, ls="--", label=label)
    whole_ticks(ax)
    ax.set_title(change, fontsize=9)
    ax.set_xlabel("slot")
    ax.set_ylabel("moved / between samples")
    if references:
        legend_below(ax, ncols=3)
    return bare(ax)


def sensitivity_figure(found: Sequence[Sensitivity]) -> Figure:
    """Draw one panel of `plot_sensitivity` per change, side by side on one scale.

    Args:
        found: Sites of one model, at least one, as `analysis.sensitivity.summarize` returns them.
    """
    changes = list(dict.fromkeys(item.change for item in found))
    figure = new_figure(2.6 * len(changes), 3.0)
    axes = figure.subplots(1, len(changes), sharey=True, squeeze=False)[0]
    for change, ax in zip(changes, axes, strict=True):
        plot_sensitivity(found, change, ax)
        ax.label_outer()
        if ax.get_legend():
            ax.get_legend().remove()
    handles, labels = axes[0].get_legend_handles_labels()
    if handles:
        place: Any = "outside lower center"
        figure.legend(handles, labels, loc=place, ncols=3, frameon=False, fontsize=7)
    n = max(item.moved.n for item in found)
    figure.suptitle(f"{found[0].model}, n = {n}; dots: latents, 95 % intervals", fontsize=9)
    return figure
