"""Figures of an exchange's controls: image and latents crossed, and the shifts of every swap."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.axes import Axes

from lantern_probe.analysis.crossed import CELLS, Crossed
from lantern_probe.analysis.exchange import SHAM
from lantern_probe.analysis.swap_controls import SwapShift
from lantern_probe.plots.style import (
    ACCENT,
    INK,
    SOFT,
    axes_or_new,
    bare,
    draw_interval,
    legend_below,
    name_lines,
)


def plot_crossed(found: Crossed, ax: Axes | None = None) -> Axes:
    """Draw the accuracy in the four cells of image and latents, with 95 % intervals.

    Dark: clean latents; red: the twin's. From the top: the clean image with either, then the
    twin's.

    Args:
        found: Cells of one model, as `analysis.crossed.summarize` returns them.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax, height=2.2)
    for height, cell in enumerate(reversed(found.cells)):
        color = INK if (len(CELLS) - 1 - height) % 2 == 0 else ACCENT
        draw_interval(ax, height, cell.estimate, cell.low, cell.high, color=color)
    name_lines(ax, list(reversed(CELLS)))
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("the sample's right answer (95 % interval)")
    ax.set_title(f"{found.model}, n = {found.n}", fontsize=9)
    return bare(ax)


def plot_swap_shifts(found: Sequence[SwapShift], ax: Axes | None = None) -> Axes:
    """Draw the shift of the right answer's margin under each swap, in nats.

    A dot is a mean and its line the 95 % bootstrap interval. Filled: the signed shift; hollow: the
    absolute one. Grey: the sham.

    Args:
        found: Swaps of one model, at least one, as `analysis.swap_controls.summarize` returns
            them; the first is drawn at the top.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax, height=1.2 + 0.32 * len(found))
    for height, item in enumerate(reversed(found)):
        color = SOFT if item.condition.partition(":")[0] == SHAM else ACCENT
        for lift, shift, filled, name in (
            (0.14, item.signed, True, "signed"),
            (-0.14, item.absolute, False, "absolute"),
        ):
            known = shift.method != "undefined"
            ends = (shift.low, shift.high) if known else (shift.estimate, shift.estimate)
            draw_interval(
                ax,
                height + lift,
                shift.estimate,
                *ends,
                color=color,
                filled=filled,
                size=4,
                label=name if item is found[0] else None,
            )
    ax.axvline(0, color=SOFT, lw=0.8, ls=":", zorder=0)
    name_lines(ax, [f"{item.name}, {item.direction}" for item in reversed(found)])
    ax.set_xlabel("shift of the right answer's margin, nats")
    legend_below(ax)
    return bare(ax)
