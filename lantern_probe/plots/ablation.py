"""Figures; every function draws on the axes it is given and returns them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.analysis.ablation import ConditionSummary
from lantern_probe.plots.style import ACCENT, INK, SOFT


def plot_accuracy(summaries: Sequence[ConditionSummary], ax: Axes) -> Axes:
    """Accuracy of one model under each condition, with 95 % intervals.

    The dashed line is `own`, the dotted one guessing; a ring is the likelihood reading, which
    needs no parsing; a diamond is the share of answers that are the donor's.
    """
    shown = [s for s in summaries if s.n]
    for height, summary in enumerate(reversed(shown)):
        color = INK if summary.condition == "own" else ACCENT
        ax.plot(
            [summary.accuracy.low, summary.accuracy.high], [height, height], color=color, lw=1.6
        )
        ax.plot([summary.accuracy.estimate], [height], "o", color=color, ms=5, clip_on=False)
        if summary.likelihood.n:
            ring: dict[str, Any] = {"mfc": "none", "mec": SOFT, "ms": 8, "clip_on": False}
            ax.plot([summary.likelihood.estimate], [height], "o", **ring)
        if summary.donor is not None:
            ax.plot([summary.donor.estimate], [height], "D", color=INK, ms=4, clip_on=False)
    own = next((s for s in shown if s.condition == "own"), None)
    if own is not None:
        ax.axvline(own.accuracy.estimate, color=INK, lw=0.8, ls="--", zorder=0)
    if shown and shown[0].chance is not None:
        ax.axvline(shown[0].chance, color=SOFT, lw=0.8, ls=":", zorder=0)
    ax.set_yticks(range(len(shown)), [s.condition for s in reversed(shown)])
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("accuracy (95 % Wilson interval)")
    ax.set_title(f"{shown[0].model}, n = {max(s.n for s in shown)}" if shown else "no sample ran")
    ax.spines[["top", "right"]].set_visible(False)
    ax.tick_params(axis="y", length=0)
    return ax


def ablation_figure(models: Sequence[Sequence[ConditionSummary]]) -> Figure:
    """One panel of `accuracy_by_condition` per model, side by side."""
    rows = max(len(summaries) for summaries in models)
    figure = Figure(figsize=(1.0 + 3.2 * len(models), 1.3 + 0.3 * rows), layout="constrained")
    axes = figure.subplots(1, len(models), sharey=False, squeeze=False)[0]
    for summaries, ax in zip(models, axes, strict=True):
        plot_accuracy(summaries, ax)
    figure.supxlabel(
        "dashed: own latents; dotted: guessing; ring: by likelihood; diamond: the donor's answer",
        fontsize=8,
    )
    return figure
