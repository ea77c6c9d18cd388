"""Figures of latent exchange and mediation: when the donor's latents bring the donor's answer."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from lantern_probe.analysis.exchange import SHAM, Exchange
from lantern_probe.analysis.mediation import Mediation
from lantern_probe.analysis.slot_shares import SlotShare
from lantern_probe.plots.style import (
    ACCENT,
    INK,
    SOFT,
    axes_or_new,
    bare,
    draw_interval,
    legend_below,
    name_lines,
    whole_ticks,
)


def plot_donor_rates(items: Sequence[Exchange], ax: Axes | None = None) -> Axes:
    """Draw the fraction of answers that are the donor's, for each exchange.

    A dot is the fraction and its line the 95 % interval, clustered by pair: grey for the sham
    `self-swap`, red for all others.

    Args:
        items: Exchanges of one model, at least one, as `analysis.exchange.summarize` returns
            them; the first is drawn at the top.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax, height=1.2 + 0.32 * len(items))
    for height, item in enumerate(reversed(items)):
        rate = item.donor_rate
        color = SOFT if item.condition == SHAM else ACCENT
        draw_interval(ax, height, rate.estimate, rate.low, rate.high, color=color)
    name_lines(ax, [item.name for item in reversed(items)])
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("donor's answer (95 % interval)")
    ax.set_title(f"{items[0].model}, n = {max(item.n for item in items)}")
    return bare(ax)


def plot_donor_rates_by_count(
    counts: Sequence[int], rates: Sequence[Float[np.ndarray, " _"]], ax: Axes | None = None
) -> Axes:
    """Draw the fraction of answers that are the donor's against the number of exchanged slots.

    The line is the mean over all sets of that many slots, which is what a random choice of slots
    gives. The band reaches from the weakest set to the strongest.

        >>> rates = [np.array([0.0]), np.array([0.0, 0.5]), np.array([1.0])]
        >>> plot_donor_rates_by_count([0, 1, 2], rates).lines[0].get_ydata().tolist()
        [0.0, 0.25, 1.0]

    Args:
        counts: Numbers of exchanged slots, as `analysis.slot_shares.rates_by_count` returns them.
        rates: For each count, the fraction in each set of that many slots.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax)
    means = [float(r.mean()) for r in rates]
    ax.fill_between(
        counts, [r.min() for r in rates], [r.max() for r in rates], color=SOFT, alpha=0.3, lw=0
    )
    ax.plot(counts, means, "o-", color=INK, ms=4, lw=1.4)
    ax.set_ylim(-0.03, 1.03)
    whole_ticks(ax)
    ax.set_xlabel("slots exchanged")
    ax.set_ylabel("donor's answer")
    ax.set_title("sets of slots: mean and range", fontsize=9)
    return bare(ax)


def plot_slot_shares(shares: Sequence[SlotShare], ax: Axes | None = None) -> Axes:
    """Draw the part of each slot in an exchange, three ways, with 95 % intervals.

    Grey: the slot exchanged alone. Red: all slots exchanged, minus all but this one. Dark: the
    slot's Shapley share. The unit is that of the measure: the fraction of answers that are the
    donor's, or nats.

    Args:
        shares: Slots of one model in one measure, at least one, as
            `analysis.slot_shares.summarize` returns them.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax)
    ways = (("alone", SOFT), ("left_out", ACCENT), ("shapley", INK))
    for place, (way, color) in enumerate(ways):
        for share in shares:
            found = getattr(share, way)
            draw_interval(
                ax,
                share.slot + 0.22 * (place - 1),
                *(found.estimate, found.low, found.high),
                color=color,
                upright=True,
                width=1.4,
                size=4,
                label=way.replace("_", " ") if share is shares[0] else None,
            )
    ax.axhline(0, color=SOFT, lw=0.8, ls=":", zorder=0)
    whole_ticks(ax)
    ax.set_xlabel("slot")
    ax.set_ylabel("donor's answer" if shares[0].measure == "donor" else "margin, nats")
    legend_below(ax, ncols=3)
    return bare(ax)


def plot_effects(item: Mediation, ax: Axes | None = None) -> Axes:
    """Draw the total effect of an image and its parts, in nats of the gold answer's log-odds.

    A dot is a mean effect and its line the 95 % bootstrap interval. From the top: the total effect
    (TE, dark), the natural indirect effect through the latents (NIE), the natural direct effect
    past them (NDE), and the total indirect effect (TIE). The title has the mediated share TIE / TE.

    Args:
        item: Effects of one exchange, one of the results of `analysis.mediation.summarize`.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax, height=2.4)
    for height, name in enumerate(("tie", "nde", "nie", "te")):
        found = getattr(item, name)
        color = INK if name == "te" else ACCENT
        draw_interval(ax, height, found.estimate, found.low, found.high, color=color)
    ax.axvline(0, color=SOFT, lw=0.8, ls=":", zorder=0)
    name_lines(ax, ["TIE", "NDE", "NIE", "TE"])
    share = item.share
    said = (
        f"TIE / TE = {share.estimate:.2f} [{share.low:.2f}, {share.high:.2f}]"
        if share.defined
        else "TE may be zero: no share"
    )
    ax.set_title(f"n = {item.n}; {said}", fontsize=9)
    ax.set_xlabel("effect on log-odds, nats (95 % interval)")
    return bare(ax)
