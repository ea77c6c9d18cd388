"""Gains are drawn in percentage points, the whole gain marked."""

from __future__ import annotations

import pytest

from lantern_probe.analysis.decomposition import RetainedGain
from lantern_probe.plots.decomposition import plot_gains
from lantern_probe.plots.style import ACCENT, INK
from lantern_probe.stats import wilson


@pytest.fixture
def gains(difference, ratio) -> list[RetainedGain]:
    made = {"own": 0.5, "skip": 0.3, "direct": 0.0}
    return [
        RetainedGain("tiny", name, "", wilson(20, 40), None, difference(gain), ratio(2 * gain))
        for name, gain in made.items()
    ]


def test_gains_are_in_points_with_their_intervals(gains, ax) -> None:
    assert plot_gains(gains, ax) is ax
    assert [t.get_text() for t in ax.get_yticklabels()] == ["direct", "skip", "own"]
    dots = [line for line in ax.lines if line.get_marker() == "o"]
    assert [dot.get_xdata()[0] for dot in dots] == pytest.approx([0, 30, 50])
    assert [dot.get_markerfacecolor() for dot in dots] == [ACCENT, ACCENT, INK]
    spans = [line.get_xdata() for line in ax.lines if list(line.get_ydata()) == [1, 1]]
    assert list(spans[0]) == pytest.approx([20, 50])
    assert ax.get_xlabel() == "gain over the direct answer, percentage points"


def test_without_axes_the_whole_gain_and_none_are_marked(gains) -> None:
    ax = plot_gains(gains)
    assert ax.get_title() == "tiny, n = 40"
    marked = {line.get_linestyle(): line.get_xdata()[0] for line in ax.lines}
    assert marked["--"] == 50 and marked[":"] == 0
