"""Figures of latent exchange and mediation, from their summaries alone."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from jaxtyping import Float
from matplotlib.axes import Axes

from lantern_probe.analysis.exchange import Exchange
from lantern_probe.analysis.mediation import Mediation
from lantern_probe.analysis.slot_shares import SlotShare
from lantern_probe.plots.style import ACCENT, INK, SOFT, bare


def plot_donor_rates(items: Sequence[Exchange], ax: Axes) -> Axes:
    """Share of answers that are the donor's, per exchange, with 95 % intervals."""
    for height, item in enumerate(reversed(items)):
        rate = item.donor_rate
        color = SOFT if item.condition == "self-swap" else ACCENT
        ax.plot([rate.low, rate.high], [height, height], color=color, lw=1.6)
        ax.plot([rate.estimate], [height], "o", color=color, ms=5, clip_on=False)
    ax.set_yticks(range(len(items)), [item.condition for item in reversed(items)])
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("donor's answer (95 % interval)")
    ax.set_title(f"{items[0].model}, n = {max(item.n for item in items)}")
    return bare(ax)


def plot_donor_rates_by_count(
    counts: Sequence[int], rates: Sequence[Float[np.ndarray, " _"]], ax: Axes
) -> Axes:
    """Donor's answer against the number of exchanged slots: mean over all sets of that size (what
    a random choice of slots does), and the range from the weakest to the strongest set."""
    means = [float(r.mean()) for r in rates]
    ax.fill_between(
        counts, [r.min() for r in rates], [r.max() for r in rates], color=SOFT, alpha=0.3, lw=0
    )
    ax.plot(counts, means, "o-", color=INK, ms=4, lw=1.4)
    ax.set_ylim(-0.03, 1.03)
    ax.set_xlabel("slots exchanged")
    ax.set_ylabel("donor's answer")
    ax.set_title("sets of slots: mean and range", fontsize=9)
    return bare(ax)


def plot_slot_shares(shares: Sequence[SlotShare], ax: Axes) -> Axes:
    """Per slot: exchanged alone, left out, and its Shapley share, with 95 % intervals."""
    ways = (("alone", SOFT), ("left_out", ACCENT), ("shapley", INK))
    for place, (way, color) in enumerate(ways):
        for share in shares:
            found = getattr(share, way)
            x = share.slot + 0.22 * (place - 1)
            ax.plot([x, x], [found.low, found.high], color=color, lw=1.4)
            label = way.replace("_", " ") if share.slot == shares[0].slot else None
            ax.plot([x], [found.estimate], "o", color=color, ms=4, label=label)
    ax.axhline(0, color=SOFT, lw=0.8, ls=":", zorder=0)
    ax.set_xlabel("slot")
    ax.set_ylabel("donor's answer" if shares[0].measure == "donor" else "margin, nats")
    ax.legend(frameon=False, fontsize=8)
    return bare(ax)


def plot_effects(item: Mediation, ax: Axes) -> Axes:
    """The total effect and its parts, in nats of the gold answer's log-odds."""
    for height, name in enumerate(("tie", "nde", "nie", "te")):
        found = getattr(item, name)
        ax.plot([found.low, found.high], [height, height], color=ACCENT, lw=1.6)
        ax.plot([found.estimate], [height], "o", color=INK if name == "te" else ACCENT, ms=5)
    ax.axvline(0, color=SOFT, lw=0.8, ls=":", zorder=0)
    ax.set_yticks(range(4), ["TIE", "NDE", "NIE", "TE"])
    share = item.share
    said = (
        f"TIE / TE = {share.estimate:.2f} [{share.low:.2f}, {share.high:.2f}]"
        if share.defined
        else "TE may be zero: no share"
    )
    ax.set_title(f"n = {item.n}; {said}", fontsize=9)
    ax.set_xlabel("effect on log-odds, nats (95 % interval)")
    return bare(ax)
