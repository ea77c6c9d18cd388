"""The figure of differences shows what each pair of conditions was found to be."""

from __future__ import annotations

from typing import Any

import pytest

from lantern_probe.analysis.comparison import CompareSettings, Comparison, compare
from lantern_probe.plots.comparison import comparison_figure, plot_differences
from lantern_probe.plots.style import ACCENT, INK, SOFT


def rows(outcomes: str) -> list[dict[str, Any]]:
    """`+`, `-` and `?` for right, wrong and unparsed."""
    return [
        {
            "sample": str(i), "cluster": str(i), "condition": "own", "status": "ok", "gold": "A",
            "answer": {"+": "A", "-": "B", "?": None}[sign], "correct": sign == "+",
            "emitted": True, "candidates": 2, "logprobs": None,
        }
        for i, sign in enumerate(outcomes)
    ]  # fmt: skip


@pytest.fixture(scope="module")
def comparison() -> Comparison:
    own = "+" * 300 + "-" * 100
    some = {"own": rows(own), "zeros": rows("-" * 200 + own[200:]), "same": rows(own)}
    some["few"] = rows("?----" + own[5:-9] + "+" * 9)
    pairs = [("own", "zeros"), ("own", "same"), ("own", "few")]
    return compare(some, pairs, CompareSettings(resamples=200))


def test_a_pair_is_red_dark_or_grey_by_what_was_shown(comparison, ax) -> None:
    assert plot_differences(comparison, ax) is ax
    names = [label.get_text() for label in ax.get_yticklabels()]
    assert names == ["own − few", "own − same", "own − zeros"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx([-1, 0, 50])
    assert [dot.get_markeredgecolor() for dot in dots] == [SOFT, INK, ACCENT]
    assert [dot.get_markerfacecolor() for dot in dots] == ["white", INK, ACCENT]
    few, same, zeros = reversed(comparison.pairs)
    thick = [tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 3]
    thin = [tuple(line.get_xdata()) for line in ax.lines if line.get_linewidth() == 1]
    for spans, attribute in ((thick, "equivalence"), (thin, "difference")):
        ends = [getattr(pair, attribute) for pair in (few, same, zeros)]
        assert spans == [(100 * one.low, 100 * one.high) for one in ends]


def test_the_jointly_parsed_and_the_counts_stand_beside_it(comparison) -> None:
    ax = plot_differences(comparison)
    (diamond,) = [line for line in ax.lines if line.get_marker() == "D"]
    few = comparison.pairs[-1]
    assert few.joint_n == 399
    assert diamond.get_xdata()[0] == pytest.approx(100 * few.joint_difference.estimate)
    (right,) = ax.child_axes
    said = [label.get_text() for label in right.get_yticklabels()]
    assert said == [f"{p.mcnemar.b}:{p.mcnemar.c}  p {p.p:.2g}" for p in reversed(comparison.pairs)]
    assert said[1] == "0:0  p 1"


def test_the_figure_has_a_legend_in_words_inside_its_edges(comparison) -> None:
    figure = comparison_figure(comparison)
    assert len(figure.axes) == 1
    assert "thin: 95 % interval (Tango); thick: 90 % interval" in figure.get_supxlabel()
    assert "band of ±2" in figure.get_supxlabel()
    figure._repr_png_()  # which lays it out
    extent = figure._supxlabel.get_window_extent()
    assert extent.x0 >= 0 and extent.x1 <= figure.bbox.width
