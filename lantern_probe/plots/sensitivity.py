"""Figures of how far latents move when the input changes."""

from __future__ import annotations

from collections.abc import Sequence

from matplotlib.figure import Figure

from lantern_probe.analysis.sensitivity import Sensitivity
from lantern_probe.plots.style import ACCENT, INK, SOFT


def sensitivity_figure(found: Sequence[Sensitivity]) -> Figure:
    """Per change, the share of the distance between samples: by slot, and the references."""
    changes = list(dict.fromkeys(item.change for item in found))
    figure = Figure(figsize=(2.6 * len(changes), 2.8), layout="constrained")
    axes = figure.subplots(1, len(changes), sharey=True, squeeze=False)[0]
    for change, ax in zip(changes, axes, strict=True):
        some = [item for item in found if item.change == change]
        slots = [i for i in some if i.slot is not None and i.share.defined]
        for item in slots:
            ax.plot([item.slot] * 2, [item.share.low, item.share.high], color=INK, lw=1.4)
        ax.plot([i.slot for i in slots], [i.share.estimate for i in slots], "o", color=INK, ms=4)
        references = [i for i in some if i.slot is None and i.site != "latent@slot"]
        for item, color in zip(references, (SOFT, ACCENT, "#2a9d8f"), strict=False):
            if item.share.defined:
                label = item.site.partition("@")[2]
                ax.axhline(item.share.estimate, color=color, lw=1, ls="--", label=label)
        ax.set_title(change, fontsize=9)
        ax.set_xlabel("slot")
        ax.spines[["top", "right"]].set_visible(False)
    axes[0].set_ylabel("moved / between samples")
    axes[-1].legend(frameon=False, fontsize=7)
    n = max(item.moved.n for item in found)
    figure.suptitle(f"{found[0].model}, n = {n}; dots: latents, 95 % intervals", fontsize=9)
    return figure
