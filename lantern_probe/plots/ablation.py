"""Figures of an ablation: how accurate a model is under each condition."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.analysis.ablation import ConditionSummary
from lantern_probe.plots.style import (
    ACCENT,
    INK,
    SOFT,
    axes_or_new,
    bare,
    draw_interval,
    name_lines,
    new_figure,
)


def plot_accuracy(summaries: Sequence[ConditionSummary], ax: Axes | None = None) -> Axes:
    """Draw the accuracy of one model under each condition, first condition at the top.

    A dot is the accuracy and its line the 95 % Wilson interval: dark for `own`, red for all other
    conditions. The dashed line marks the accuracy of `own`, the dotted line guessing. A grey ring
    is the fraction of samples whose most probable candidate is right, which needs no parsing. A
    dark diamond is the fraction of answers that are the donor's. Conditions in which no sample
    counts are left out. At the right stands the fraction of texts that were cut off, if any was.

        >>> from lantern_probe.analysis.ablation import summarize
        >>> row = {"status": "ok", "emitted": True, "gold": "A", "candidates": 2, "logprobs": None}
        >>> right = {**row, "condition": "own", "answer": "A", "correct": True}
        >>> wrong = {**row, "condition": "zeros", "answer": "B", "correct": False}
        >>> rows = [{**one, "sample": i, "cluster": i} for i in "12" for one in (right, wrong)]
        >>> ax = plot_accuracy(summarize(rows, model="tiny"))
        >>> [label.get_text() for label in ax.get_yticklabels()]
        ['zeros', 'own']

    Args:
        summaries: Conditions of one model, as `analysis.ablation.summarize` returns them.
        ax: Axes to draw on; those of a new figure by default.
    """
    shown = [s for s in summaries if s.n]
    ax = axes_or_new(ax, height=1.2 + 0.32 * max(len(shown), 2))
    for height, summary in enumerate(reversed(shown)):
        color = INK if summary.condition == "own" else ACCENT
        found = summary.accuracy
        draw_interval(ax, height, found.estimate, found.low, found.high, color=color)
        if summary.likelihood.n:
            ring: dict[str, Any] = {"mfc": "none", "mec": SOFT, "ms": 8, "clip_on": False}
            ax.plot([summary.likelihood.estimate], [height], "o", **ring)
        if summary.donor is not None:
            rate = summary.donor.estimate
            ax.plot([rate], [height], "D", color=INK, ms=4, zorder=3, clip_on=False)
        _note_truncated(summary, height, ax)
    own = next((s for s in shown if s.condition == "own"), None)
    if own is not None:
        ax.axvline(own.accuracy.estimate, color=INK, lw=0.8, ls="--", zorder=0)
    if shown and shown[0].chance is not None:
        ax.axvline(shown[0].chance, color=SOFT, lw=0.8, ls=":", zorder=0)
    name_lines(ax, [s.name for s in reversed(shown)])
    ax.set_xlim(-0.03, 1.03)
    ax.set_xlabel("accuracy (95 % Wilson interval)")
    passes = max((s.passes for s in shown), default=1)
    several = f", mean of {passes} passes" if passes > 1 else ""
    n = max((s.n for s in shown), default=0)
    ax.set_title(f"{shown[0].model}, n = {n}{several}" if shown else "no sample ran")
    return bare(ax)


def ablation_figure(models: Sequence[Sequence[ConditionSummary]]) -> Figure:
    """Draw one panel of `plot_accuracy` per model, side by side, with a legend in words.

    Args:
        models: Conditions of each model, as `analysis.ablation.summarize` returns them.
    """
    rows = max(len(summaries) for summaries in models)
    longest = max((len(s.name) for summaries in models for s in summaries), default=0)
    # A character of a condition's name takes about 0.085 inches.
    figure = new_figure((2.8 + 0.085 * longest) * len(models), 1.5 + 0.3 * rows)
    axes = figure.subplots(1, len(models), squeeze=False)[0]
    for summaries, ax in zip(models, axes, strict=True):
        plot_accuracy(summaries, ax)
    figure.supxlabel(
        "dashed: own latents; dotted: guessing; ring: by likelihood; diamond: the donor's answer",
        fontsize=8,
    )
    return figure


def _note_truncated(summary: ConditionSummary, height: float, ax: Axes) -> None:
    """Write right of the axes what fraction of the texts was cut off; panels may share names."""
    cut = summary.truncated
    if cut is not None and cut.count:
        ax.annotate(
            f"{cut.estimate:.0%} cut off", (1, height), (4, 0), xycoords=ax.get_yaxis_transform(),
            textcoords="offset points", va="center", fontsize=7, annotation_clip=False,
        )  # fmt: skip
