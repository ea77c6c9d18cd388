"""Figures for a paper: published figures next to measured ones."""

from __future__ import annotations

import textwrap
from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lantern_probe.analysis.literature.accuracies import AccuracyComparison, AccuracyLine, PairLine
from lantern_probe.analysis.literature.figures import ALL, PublishedFigure
from lantern_probe.analysis.literature.ranks import RetrievalComparison
from lantern_probe.plots.style import (
    ACCENT,
    INK,
    SOFT,
    axes_or_new,
    bare,
    draw_interval,
    new_figure,
)

LEGEND = (
    "dark: measured, with its 95 % interval; red diamond: published (a bar is a range, a thin line "
    "the 95 % Wilson interval of its n)"
)
"""The marks of `accuracy_figure` in words, drawn under it."""


def accuracy_figure(
    found: AccuracyComparison, heading: str, references: Mapping[str, float]
) -> Figure:
    """Draw a panel for each measure with more than one value, and one for paired differences.

    Args:
        found: Result of `analysis.literature.accuracies.compare_accuracies`.
        heading: Title of the whole figure, a line or two.
        references: Accuracies to mark by dotted lines, each with its name for the legend.
    """
    by_measure: dict[str, list[AccuracyLine]] = {}
    for line in found.lines:
        by_measure.setdefault(line.published.measure, []).append(line)
    shown = {name: lines for name, lines in by_measure.items() if len(lines) > 1}
    tall = max([len(found.pairs), *(_room(lines) for lines in shown.values())])
    panels = len(shown) + 1
    drawn = new_figure(0.6 + 3.3 * panels, 1.6 + 0.26 * tall)
    axes = drawn.subplots(1, panels, squeeze=False)[0]
    for (measure, lines), ax in zip(shown.items(), axes, strict=False):
        plot_published_accuracies(lines, ax)
        ax.set_xlabel(measure)
        for share in references.values() if measure == "accuracy" else ():
            ax.axvline(share, color=SOFT, lw=0.8, ls=":", zorder=0)
    plot_published_pairs(found.pairs, axes[-1])
    dotted = "; ".join(f"{name}: {share:.3g}" for name, share in references.items())
    return _titled(drawn, heading, LEGEND + (f"\ndotted: {dotted}" if references else ""))


def plot_published_accuracies(lines: Sequence[AccuracyLine], ax: Axes | None = None) -> Axes:
    """Draw one fraction by condition, published and measured; splits one below the other.

    A dark dot is measured, its line the 95 % Wilson interval. A red diamond is published, with a
    thin line for the 95 % Wilson interval of its n. A red bar is a published range.

    Args:
        lines: Lines of one measure: `AccuracyComparison.lines`.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax, 4.0, 1.2 + 0.26 * _room(lines))
    height, names, places = 0.0, [], []
    for split, some in groupby(sorted(lines, key=_split_first), lambda v: v.published.split):
        if split != ALL:
            height -= 0.4
            ax.text(0.02, height - 0.1, split, transform=ax.get_yaxis_transform(), fontsize=7)
            height -= 0.9
        for line in some:
            _share(line, height, ax)
            names.append(line.published.condition)
            places.append(height)
            height -= 1
    ax.set_yticks(places, names)
    ax.set_ylim(height + 0.4, 0.6)
    return _plain(ax)


def plot_published_pairs(pairs: Sequence[PairLine], ax: Axes | None = None) -> Axes:
    """Draw paired differences of accuracies in percentage points, first minus second condition.

    A dark dot is measured, its line the 95 % bootstrap interval. A red diamond is published, a red
    bar a published range.

    Args:
        pairs: Pairs of conditions: `AccuracyComparison.pairs`.
        ax: Axes to draw on; those of a new figure by default.
    """
    ax = axes_or_new(ax, 4.0, 1.2 + 0.26 * len(pairs))
    ax.axvline(0, color=SOFT, lw=0.8, zorder=0)
    for height, pair in enumerate(reversed(pairs)):
        if pair.measured:
            d = pair.measured.difference
            _measured(100 * d.estimate, 100 * d.low, 100 * d.high, height, ax)
        _published(100 * pair.low, 100 * pair.high, height - 0.12, ax)
    ax.set_yticks(range(len(pairs)), [f"{p.first} − {p.second}" for p in reversed(pairs)])
    ax.set_ylim(-0.7, len(pairs) - 0.3)
    ax.set_xlabel("difference, percentage points")
    return _plain(ax)


def retrieval_figure(
    figure: PublishedFigure, found: Sequence[RetrievalComparison], heading: str
) -> Figure:
    """Draw both readings of a retrieval: recall against k / n, and the test of the mean rank.

    Args:
        figure: Published figure of retrieval.
        found: One or two results of `analysis.literature.ranks.compare_retrieval`, such as those
            of own and of teacher-forced queries.
        heading: Title of the whole figure, a line or two.
    """
    drawn = new_figure(7.4, 3.1)
    left, right = drawn.subplots(1, 2)
    plot_recall(figure, found, left)
    plot_mean_ranks(figure, found, right)
    return _titled(
        drawn,
        heading,
        "shaded: 95 % of what random pairing gives; red diamond: published; dark: measured, with "
        "its 95 % interval, beside its k",
    )


def plot_recall(
    figure: PublishedFigure, found: Sequence[RetrievalComparison], ax: Axes | None = None
) -> Axes:
    """Draw recall at k in per cent, published and measured, next to that of random pairing.

    This is the reading of the authors. The grey line is k / n, the band around it 95 % of what
    random pairing gives (binomial). A red diamond is published. A dark dot is measured, beside
    its k, with its 95 % interval; that of a second kind of query is an open square.

    Args:
        figure: Published figure of retrieval.
        found: One or two results of `analysis.literature.ranks.compare_retrieval`.
        ax: Axes to draw on; those of a new figure by default.
    """
    from scipy.stats import binom  # loads for a while

    ax = axes_or_new(ax)
    n = figure.n[ALL]
    ks = np.arange(1, 11)
    low, high = (binom.ppf(tail, n, ks / n) / n for tail in (0.025, 0.975))
    ax.fill_between(ks, 100 * low, 100 * high, color=SOFT, alpha=0.25, lw=0)
    ax.plot(ks, 100 * ks / n, color=SOFT, lw=0.8)
    for shift, (comparison, mark) in enumerate(zip(found, "os", strict=False)):
        for line in comparison.lines:
            if line.measure.startswith("R@") and line.n == n:
                k = int(line.measure.removeprefix("R@"))
                at = k + 0.25 * (shift + 1)
                style: dict[str, Any] = {"color": INK, "clip_on": False}
                ax.plot([at, at], [100 * line.low, 100 * line.high], lw=1.2, **style)
                style |= {"label": comparison.query if k == 1 else None, "mfc": _face(shift)}
                ax.plot([at], [100 * line.measured], mark, ms=4, **style)
    recall = figure.retrieval.recall if figure.retrieval else {}
    shares = [100 * share for share in recall.values()]
    ax.plot(list(recall), shares, "D", color=ACCENT, ms=5, clip_on=False, label="published")
    ax.legend(frameon=False, fontsize=7, loc="center right")
    ax.set_xticks([1, 5, 10])
    # Roots, as a model that retrieves is far above chance, and one that does not near zero.
    ax.set_yscale("function", functions=(lambda y: np.sqrt(np.clip(y, 0, None)), np.square))
    ax.set_yticks([0, 1, 5, 10, 25, 50, 100])
    ax.set_ylim(0, 105)
    ax.set_xlabel("k")
    ax.set_ylabel("recall at k, %")
    ax.set_title("recall against k / n", fontsize=8)
    return _plain(ax)


def plot_mean_ranks(
    figure: PublishedFigure, found: Sequence[RetrievalComparison], ax: Axes | None = None
) -> Axes:
    """Draw the mean rank as a fraction of n, published and measured, next to random pairing.

    The curve is the distribution of the mean rank under random pairing, the band 95 % of it. A
    red diamond is published, with its z and p. A dark dot is measured, with its 95 % interval;
    that of a second kind of query is an open square.

    Args:
        figure: Published figure of retrieval.
        found: One or two results of `analysis.literature.ranks.compare_retrieval`.
        ax: Axes to draw on; those of a new figure by default.
    """
    from scipy.stats import norm  # loads for a while

    ax = axes_or_new(ax)
    n = figure.n[ALL]
    middle, sd = (n + 1) / 2, ((n * n - 1) / (12 * n)) ** 0.5
    ax.axvspan((middle - 1.96 * sd) / n, (middle + 1.96 * sd) / n, color=SOFT, alpha=0.25, lw=0)
    grid = np.linspace(middle - 4 * sd, middle + 4 * sd, 201)
    density = norm.pdf(grid, middle, sd)
    ax.fill_between(grid / n, density / density.max(), color=SOFT, alpha=0.5, lw=0)
    for height, (comparison, mark) in enumerate(zip(found, "os", strict=False)):
        line = next(line for line in comparison.lines if line.measure == "mean rank")
        at = 0.55 - 0.3 * height
        ax.plot([line.low / line.n, line.high / line.n], [at, at], color=INK, lw=1.2)
        ax.plot([line.measured / line.n], [at], mark, color=INK, ms=4, mfc=_face(height))
        ax.annotate(
            comparison.query,
            (line.high / line.n, at),
            (5, 0),
            textcoords="offset points",
            fontsize=7,
            va="center",
        )
    published = found[0].published_test
    ax.plot([published.estimate / n], [0.85], "D", color=ACCENT, ms=5)
    ax.annotate(
        f"z = {published.z:.1f}, p = {published.p:.2g}",
        (published.estimate / n, 0.85),
        (-6, 0),
        textcoords="offset points",
        fontsize=7,
        color=ACCENT,
        ha="right",
        va="center",
    )
    ax.set_yticks([])
    ax.set_xlim(0, 0.62)
    ax.set_ylim(0, 1.05)
    ax.set_xlabel("mean rank / n (0 is best)")
    ax.set_title("rank test", fontsize=8)
    return _plain(ax)


def _titled(drawn: Figure, heading: str, legend: str) -> Figure:
    """Add heading and legend, broken at the width of the figure."""
    width = drawn.get_figwidth()

    def broken(text: str, per_inch: float) -> str:
        lines = text.splitlines()
        return "\n".join(textwrap.fill(line, int(per_inch * width)) for line in lines)

    drawn.suptitle(broken(heading, 14), fontsize=9)
    drawn.supxlabel(broken(legend, 19), fontsize=7)
    return drawn


def _face(index: int) -> str:
    return "white" if index else INK


def _room(lines: Sequence[AccuracyLine]) -> float:
    return len(lines) + 1.3 * (len({line.published.split for line in lines}) - 1)


def _split_first(line: AccuracyLine) -> tuple[bool, str]:
    return line.published.split != ALL, line.published.split


def _share(line: AccuracyLine, height: float, ax: Axes) -> None:
    if line.measured:
        m = line.measured
        _measured(m.estimate, m.low, m.high, height, ax)
    if line.published_interval:
        p = line.published_interval
        ax.plot([p.low, p.high], [height - 0.12] * 2, color=ACCENT, lw=0.7)
    _published(line.published.low, line.published.high, height - 0.12, ax)


def _measured(estimate: float, low: float, high: float, height: float, ax: Axes) -> None:
    """Draw just above the height, as published values are just below."""
    draw_interval(ax, height + 0.12, estimate, low, high, color=INK, width=1.4, size=4)


def _published(low: float, high: float, height: float, ax: Axes) -> None:
    if low == high:
        ax.plot([low], [height], "D", color=ACCENT, ms=4, clip_on=False)
    else:
        ax.plot([low, high], [height, height], color=ACCENT, lw=4, alpha=0.6)


def _plain(ax: Axes) -> Axes:
    ax.tick_params(axis="both", labelsize=7)
    ax.tick_params(axis="y", length=0)
    ax.xaxis.label.set_fontsize(8)
    ax.yaxis.label.set_fontsize(8)
    return bare(ax)
