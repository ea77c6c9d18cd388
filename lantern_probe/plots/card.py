"""Figure of a diagnosis: every estimand with its intervals, and the reading above them."""

from __future__ import annotations

from matplotlib.axes import Axes

from lantern_probe.analysis.card import Card
from lantern_probe.plots.style import ACCENT, INK, SOFT, axes_or_new, bare, name_lines


def plot_card(card: Card, ax: Axes | None = None) -> Axes:
    """Draw the estimates of a card.

    A dot is the value, the thick line its own 95 % interval and the thin one the interval that
    holds together with all others. Dotted lines stand at the thresholds, plus and minus delta and
    high. Estimands of the evidence are red, the others grey; those without a value have no mark.

    Args:
        card: Card of a model.
        ax: Axes to draw on; those of a new figure by default.
    """
    names = list(card.estimates)
    ax = axes_or_new(ax, height=1.4 + 0.32 * max(len(names), 1))
    deciding = {item.estimand for item in card.evidence}
    for height, name in enumerate(reversed(names)):
        found = card.estimates[name]
        if found.value is None:
            continue
        color = ACCENT if name in deciding else SOFT
        ends = [found.simultaneous_low, found.simultaneous_high]
        ax.plot(ends, [height, height], color=color, linewidth=1)
        ax.plot([found.low, found.high], [height, height], color=color, linewidth=3)
        ax.plot(found.value, height, "o", color=color, markersize=5)
    for bound in (-card.settings["delta"], card.settings["delta"], card.settings["high"]):
        ax.axvline(bound, color=INK, linewidth=0.7, linestyle=":")
    name_lines(ax, [f"{name} (n {card.estimates[name].n})" for name in reversed(names)])
    ax.set_xlim(
        min([-0.15, *(e.simultaneous_low - 0.03 for e in card.estimates.values() if e.n)]), 1.03
    )
    ax.set_xlabel("share (thick: 95 %, thin: simultaneous)")
    ax.set_title(f"{card.model}: {card.reading}")
    return bare(ax)
