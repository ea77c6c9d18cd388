"""Published and measured values stand side by side, told apart by mark and colour."""

from __future__ import annotations

import numpy as np
import pytest

from lantern_probe.analysis.literature.accuracies import AccuracyComparison, AccuracyLine, PairLine
from lantern_probe.analysis.literature.figures import ALL, Value, published_figure
from lantern_probe.analysis.literature.ranks import RetrievalComparison, RetrievalLine
from lantern_probe.geometry.retrieval_tests import rank_test_from_summary
from lantern_probe.plots.literature import (
    accuracy_figure,
    plot_mean_ranks,
    plot_published_accuracies,
    plot_published_pairs,
    plot_recall,
    retrieval_figure,
)
from lantern_probe.plots.style import ACCENT, INK
from lantern_probe.stats import wilson


def line(condition: str, low: float, high: float, split: str = ALL) -> AccuracyLine:
    known = wilson(round(100 * low), 100) if low == high else None
    value = Value("accuracy", condition, split, low, high, 100 if low == high else None)
    return AccuracyLine(value, known, wilson(20, 40), None, True)


def pair(first: str, second: str, low: float, high: float) -> PairLine:
    return PairLine(first, second, low, high, None, None, None, None, None)


def marked(ax, marker: str) -> list[tuple[float, float]]:
    return [
        (line.get_xdata()[0], line.get_ydata()[0])
        for line in ax.lines
        if line.get_marker() == marker
    ]


@pytest.fixture
def comparison() -> AccuracyComparison:
    lines = (line("own", 0.8, 0.8), line("zeros", 0.6, 0.7), line("own", 0.5, 0.5, "counting"))
    return AccuracyComparison(lines, (pair("own", "zeros", 0.125, 0.125),), 40, 0, ())


@pytest.fixture
def retrieval() -> RetrievalComparison:
    """Own latents that find their oracle in half of the cases."""
    shares = {"R@1": 0.5, "R@5": 0.5, "R@10": 0.5, "mean rank": 75.0}
    lines = [
        RetrievalLine(name, 0.1, 0.5, 0.1, share, share - 0.25, share + 0.25, 300, None)
        for name, share in shares.items()
    ]
    known, found = rank_test_from_summary(300, 134.0), rank_test_from_summary(300, 75.0)
    return RetrievalComparison("own", tuple(lines), known, found, None, 0)


def test_measured_is_above_and_published_below_each_line(comparison, ax) -> None:
    assert plot_published_accuracies(comparison.lines, ax) is ax
    assert [text.get_text() for text in ax.get_yticklabels()] == ["own", "zeros", "own"]
    assert [text.get_text() for text in ax.texts] == ["counting"]
    measured, published = marked(ax, "o"), marked(ax, "D")
    assert [x for x, _ in measured] == [0.5, 0.5, 0.5]
    assert [x for x, _ in published] == [0.8, 0.5]
    assert measured[0][1] > 0 > published[0][1] > measured[1][1]
    (span,) = [line for line in ax.lines if line.get_linewidth() == 4]
    assert list(span.get_xdata()) == [0.6, 0.7] and span.get_color() == ACCENT
    thin = [tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 0.7]
    interval = wilson(80, 100)
    assert thin[0] == (interval.low, interval.high)
    alone = plot_published_accuracies(comparison.lines)
    assert marked(alone, "D") == published


def test_pairs_are_in_percentage_points(comparison, ax) -> None:
    assert plot_published_pairs(comparison.pairs, ax) is ax
    for one in (ax, plot_published_pairs(comparison.pairs)):
        assert [text.get_text() for text in one.get_yticklabels()] == ["own − zeros"]
        assert marked(one, "D") == [(12.5, -0.12)] and marked(one, "o") == []
        assert one.get_xlabel() == "difference, percentage points"


def test_the_figure_of_accuracies_says_what_is_dotted(comparison) -> None:
    figure = accuracy_figure(comparison, "Tiny\nsource", {"the ceiling": 0.9})
    left, right = figure.axes
    assert (left.get_xlabel(), right.get_xlabel()) == ("accuracy", "difference, percentage points")
    assert [x.get_xdata()[0] for x in left.lines if x.get_linestyle() == ":"] == [0.9]
    assert figure.get_supxlabel().endswith("dotted: the ceiling: 0.9")
    assert figure.get_suptitle() == "Tiny\nsource"


def test_recall_is_in_per_cent_beside_its_k(retrieval, ax) -> None:
    published = published_figure("retrieval-sft")
    assert plot_recall(published, [retrieval], ax) is ax
    for one in (ax, plot_recall(published, [retrieval])):
        known = next(x for x in one.lines if x.get_marker() == "D")
        assert list(known.get_xdata()) == [1, 5, 10]
        np.testing.assert_allclose(known.get_ydata(), [0.667, 3.33, 5.67])
        assert [y for _, y in marked(one, "o")] == [50, 50, 50]
        legend = [text.get_text() for text in one.get_legend().get_texts()]
        assert legend == ["own", "published"]
        assert one.get_ylabel() == "recall at k, %"


def test_mean_ranks_are_fractions_of_n(retrieval, ax) -> None:
    published = published_figure("retrieval-sft")
    assert plot_mean_ranks(published, [retrieval], ax) is ax
    for one in (ax, plot_mean_ranks(published, [retrieval])):
        assert marked(one, "D") == [(134 / 300, 0.85)]
        assert [x for x, _ in marked(one, "o")] == [75 / 300]
        said = [text.get_text() for text in one.texts]
        assert said == ["own", "z = -3.3, p = 0.00097"]


def test_a_second_kind_of_query_is_an_open_square(retrieval) -> None:
    figure = retrieval_figure(published_figure("retrieval-sft"), [retrieval] * 2, "Tiny")
    for ax in figure.axes:
        (first, *_), (second, *_) = (
            [line for line in ax.lines if line.get_marker() == mark] for mark in "os"
        )
        assert (first.get_markerfacecolor(), second.get_markerfacecolor()) == (INK, "white")
    assert figure.get_suptitle() == "Tiny"
